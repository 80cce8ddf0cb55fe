"""Bilinear operations whose kernel cotangent is a sum of squares.

Where y[p,c] = sum_k a[p,k] w[k,c], the gradient of one example n in w is
G_n = a_n^T delta_n with delta = d loss / d y. Under `vmap` over examples the
functions here hand back sum_n G_n * G_n (elementwise) in place of N gradients,
so that no array of N kernels is ever made. Derivation and counts of operations
and bytes: docs/fisher.md.

Each takes a scalar `one` that has to differ from example to example as far as
`vmap` can see, so that a gradient that is the same for all of them is counted
for each.
"""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from gzjax.models import layers, onednn

# (x, kernel) -> y, linear in each.
Bilinear = Callable[[jax.Array, jax.Array], jax.Array]
# (x f[N,...], delta f[N,...]) -> f32 like the kernel: the sum of squares.
SquareRule = Callable[[jax.Array, jax.Array], jax.Array]


class Strategy(NamedTuple):
  """How a platform sums the squares of a layer's per-example gradients."""

  # Up to so many output positions, products of pairs of positions are summed
  # (one matrix product) in place of gradients.
  pair_positions: int
  pair_bytes: int  # for those products, of one chunk of examples
  gradient_bytes: int  # for patches and gradients of a chunk; 0: one example
  unroll: int  # chunks between two sweeps over the sum, at most,
  unroll_bytes: int  # and so many that their gradients fit here


# A CPU squares each gradient while it is in the cache. The figures behind
# these numbers are in docs/fisher.md.
STRATEGIES = {
  "cpu": Strategy(8, 2**25, 0, 4, 20 * 2**20),
  "accelerator": Strategy(8, 2**29, 2**29, 1, 2**29),
}

# The same as `pair_positions`, where the calls of models/onednn.py are there.
_ONEDNN_PAIR_POSITIONS = 2


@jax.custom_batching.custom_vmap
def _square(gradient, one):
  del one
  return jnp.square(gradient)


@_square.def_vmap
def _sum_of_squares(axis_size, in_batched, gradient, one):
  del one
  if not in_batched[0]:
    return axis_size * jnp.square(gradient), False
  return jnp.sum(jnp.square(gradient), axis=0), False


@jax.custom_vjp
def tap(parameter: jax.Array, one: jax.Array) -> jax.Array:
  """The identity, with a squared cotangent; under `vmap` their sum.

  Right for whatever the parameter is used for, but the gradients of all
  examples are in memory at once.
  """
  del one
  return parameter


tap.defvjp(
  lambda parameter, one: (parameter, one),
  lambda one, gradient: (_square(gradient, one), jnp.zeros_like(one)),
)


def squaring(
  operation: Bilinear, rule: SquareRule | None
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
  """`operation` of one example, with squares as cotangents of the kernel.

  Returns:
    (x, kernel, one) -> y, to differentiate and then to `vmap` over examples:
    the cotangent of the kernel is their sum of squares, the same for all, by
    the rule, or for None one example after the other.
  """

  def square(x, kernel, delta, one):
    del one
    (gradient,) = jax.vjp(lambda k: operation(x, k), kernel)[1](delta)
    return jnp.square(gradient)

  def one_by_one(x, kernel, delta):
    def add(total, one):
      return total + square(one[0], kernel, one[1], None), None

    return lax.scan(add, jnp.zeros_like(kernel), (x, delta))[0]

  squares = jax.custom_batching.custom_vmap(square)

  @squares.def_vmap
  def _(axis_size, in_batched, x, kernel, delta, one):
    del one
    x, delta = (
      value if batched else jnp.broadcast_to(value, (axis_size, *value.shape))
      for value, batched in ((x, in_batched[0]), (delta, in_batched[2]))
    )
    return rule(x, delta) if rule else one_by_one(x, kernel, delta), False

  def backward(residuals, delta):
    x, kernel, one = residuals
    with jax.named_scope("input_gradient"):
      (gradient,) = jax.vjp(lambda x: operation(x, kernel), x)[1](delta)
    with jax.named_scope("weight_gradient"):
      total = squares(x, kernel, delta, one)
    return gradient, total, jnp.zeros_like(one)

  squared = jax.custom_vjp(lambda x, kernel, one: operation(x, kernel))
  squared.defvjp(
    lambda x, kernel, one: (operation(x, kernel), (x, kernel, one)), backward
  )
  return squared


def dot_rule(
  dimension_numbers: Any, kernel_shape: tuple[int, ...], *, kernel_first: bool
) -> SquareRule | None:
  """The rule of `lax.dot_general` with a kernel; None if it has batch axes.

  With `kernel_first` the kernel is the left operand, not the right one.
  """
  contracted, batch_axes = dimension_numbers
  if any(batch_axes):
    return None
  inputs, kernel_inputs = contracted[::-1] if kernel_first else contracted
  outputs = [a for a in range(len(kernel_shape)) if a not in kernel_inputs]
  order = [*kernel_inputs, *outputs]

  def rule(x, delta):
    columns = [axis + 1 for axis in inputs]
    positions = [a for a in range(1, x.ndim) if a not in columns]
    width = math.prod(x.shape[a] for a in columns)
    rows = x.transpose(0, *positions, *columns).reshape(len(x), -1, width)
    if kernel_first:
      count = len(outputs)
      delta = jnp.moveaxis(delta, range(1, 1 + count), range(-count, 0))
    delta = delta.reshape(*rows.shape[:2], -1)
    if _is_onednns(rows, delta, rows.shape[1]):
      # Positions are those of an image of one line.
      total = onednn.sum_of_squares(
        rows[:, None, None],
        delta[:, None, None],
        (1, 1, width, delta.shape[-1]),
        strides=(1, 1),
        padding=((0, 0), (0, 0)),
      )
    else:
      total = _sum_squared_products(rows, delta, lambda rows: rows)
    total = total.reshape([kernel_shape[a] for a in order])
    return total.transpose(np.argsort(order))

  return rule


# Of a convolution of NHWC images and a HWIO kernel.
_USUAL: dict[str, Any] = {
  "dimension_numbers": ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)),
  "lhs_dilation": (1, 1),
  "rhs_dilation": (1, 1),
  "feature_group_count": 1,
  "batch_group_count": 1,
}


def conv_rule(
  params: dict[str, Any], kernel_shape: tuple[int, ...]
) -> SquareRule | None:
  """The rule of a convolution; None unless of NHWC images and HWIO kernel.

  `params` are those of the primitive `lax.conv_general_dilated_p`, or some of
  them; the others are as usual.
  """
  params = _USUAL | params
  if (
    tuple(params["dimension_numbers"]) != _USUAL["dimension_numbers"]
    or params["lhs_dilation"] != (1, 1)
    or params["batch_group_count"] != 1
    or min(map(min, params["padding"])) < 0
  ):
    return None

  def rule(x, delta):
    groups = params["feature_group_count"]
    strides, padding = params["window_strides"], params["padding"]
    depthwise = 1 < groups == x.shape[-1] == delta.shape[-1]
    is_known = params["rhs_dilation"] == (1, 1) and (groups == 1 or depthwise)
    if is_known and _is_onednns(x, delta, math.prod(delta.shape[1:-1])):
      return onednn.sum_of_squares(
        *(x, delta, kernel_shape, strides, padding, groups)
      )
    delta = delta.reshape(len(delta), -1, delta.shape[-1])

    def rows(images):
      """f[n,b,H,W,I] -> f[n,b*H'*W',h*w*I]."""
      patches = layers.patches(
        images.reshape(-1, *images.shape[2:]),
        kernel_shape[:2],
        strides,
        padding,
        params["rhs_dilation"],
      )
      return patches.reshape(len(images), delta.shape[1], -1)

    total = _sum_squared_products(x, delta, rows, groups, kernel_shape[2])
    return total.reshape(kernel_shape)

  return rule


def _is_onednns(x, delta, positions):
  """Whether those calls are the fastest at the squares of a product."""
  float32 = x.dtype == delta.dtype == jnp.float32
  return positions > _ONEDNN_PAIR_POSITIONS and layers.has_onednn(float32)


def _sum_squared_products(x, delta, rows, groups=1, group_inputs=0):
  """sum_n (rows(x)_n^T delta_n)^2 in chunks that fit the memory budget.

  x f[N,...], delta f[N,P,C] and rows, x[n] -> f[n,P,K], give f32[K,C]. With
  groups, of columns, a group of rows goes with that of delta's columns and has
  `group_inputs` columns for one pixel: f32[pixels,group_inputs,C].
  """
  count, positions, channels = delta.shape
  width = jax.eval_shape(rows, x[:1]).shape[-1]
  strategy = STRATEGIES.get(jax.default_backend(), STRATEGIES["accelerator"])
  if groups == 1 and positions <= strategy.pair_positions:
    terms, budget = _pair_products, strategy.pair_bytes
    size = positions * (positions + 1) // 2 * (width + channels)
  else:
    terms = _grouped_products(groups, group_inputs) if groups > 1 else _products
    budget = strategy.gradient_bytes
    size = positions * width + width // groups * channels
  chunk = min(max(1, budget // (4 * size)), count)
  if chunk == count:
    return terms(rows(x), delta)

  def add(total, part):
    return total + terms(rows(part[0]), part[1]), None

  parts = in_chunks(x, chunk), in_chunks(delta, chunk)
  like = jax.eval_shape(lambda p: terms(rows(p[0][0]), p[1][0]), parts)
  start = jnp.zeros(like.shape, jnp.float32)
  fit = strategy.unroll_bytes // (4 * chunk * start.size)
  unroll = max(1, min(strategy.unroll, fit))
  return lax.scan(add, start, parts, unroll=unroll)[0]


def in_chunks(values: jax.Array, size: int) -> jax.Array:
  """[n,...] -> [chunks,size,...]; what is missing is padded with zeros."""
  return padded(values, size).reshape(-1, size, *values.shape[1:])


def padded(values: jax.Array, size: int) -> jax.Array:
  """[n,...] with zeros up to a multiple of `size`."""
  missing = -len(values) % size
  return jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))


def _products(rows, delta):
  """The gradients, squared and added."""
  if len(rows) == 1:
    return jnp.square(_dot(rows[0], delta[0]))
  gradients = jnp.einsum(
    "npk,npc->nkc", rows, delta, preferred_element_type=jnp.float32
  )
  return jnp.sum(jnp.square(gradients), axis=0)


def _pair_products(rows, delta):
  """(sum_p a_p d_p)^2 = sum_{p<=q} w_pq (a_p a_q)(d_p d_q), one product.

  w_pq is 1 where p == q, else 2. Rounding may leave a zero slightly negative.
  """
  first, second = np.triu_indices(delta.shape[1])
  weight = np.where(first == second, 1, 2).astype(np.float32)[:, None]
  rows, delta = rows.astype(jnp.float32), delta.astype(jnp.float32)
  left = rows[:, first] * rows[:, second]
  right = delta[:, first] * delta[:, second] * weight[None]
  left, right = (x.reshape(-1, x.shape[-1]) for x in (left, right))
  return jnp.maximum(_dot(left, right), 0)


def _grouped_products(groups, group_inputs):
  def products(rows, delta):
    rows = rows.reshape(*rows.shape[:2], -1, groups, group_inputs)
    delta = delta.reshape(*delta.shape[:2], groups, -1)
    if group_inputs == 1 and delta.shape[-1] == 1:
      # Depthwise: a sum, not a product of matrices.
      gradients = jnp.sum(
        rows * delta[:, :, None], axis=1, dtype=jnp.float32
      ).swapaxes(-1, -2)
    else:
      gradients = jnp.einsum(
        "npkgi,npgo->nkigo", rows, delta, preferred_element_type=jnp.float32
      )
    squares = jnp.sum(jnp.square(gradients), axis=0)
    return squares.reshape(*squares.shape[:2], -1)

  return products


def _dot(rows, delta):
  """rows^T delta, f32[K,C]."""
  return lax.dot_general(
    rows, delta, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
  )
