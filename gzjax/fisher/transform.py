"""Function transforms: sums of squared per-example gradients.

`square_grad` is to a per-example loss what `jax.grad` is to a mean loss. The
exact estimator finds, in the jaxpr of one example, where each parameter is
used; so it does not matter with which library the network is written, and no
axis has to be guessed to be that of the examples.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
from jax.extend import core
import jax.numpy as jnp

from gzjax.errors import UserError
from gzjax.fisher import squares
from gzjax.types import PyTree

# Operations that only rename the entries of a kernel.
_LAYOUT = ("copy", "reshape", "squeeze", "transpose")
# Operations on single entries: the gradients of one example have at most the
# size of its activations.
_ELEMENTWISE = ("add", "sub", "mul", "div", "max", "min", "broadcast_in_dim")
_CONVOLUTIONS = ("conv_general_dilated", "conv_output")  # see models/onednn.py
_BILINEAR = (*_CONVOLUTIONS, "dot_general")
# Operations that hold a function to look into. (Rematerialisation is dropped:
# it changes memory, not numbers.)
_CALLS = ("jit", "pjit", "closed_call", "remat2", "checkpoint")
# Those with a backward pass of their own, which squares would have no use for.
_CUSTOM_CALLS = ("custom_vjp_call", "custom_jvp_call")


Estimator = Literal["exact", "vmap"]


class UnknownUseError(UserError):
  """A parameter enters the network in a way that has no exact fast rule."""


class _Kernel(NamedTuple):
  """A parameter whose entries were only renamed since it entered."""

  path: tuple[Any, ...]  # of the parameter
  value: jax.Array
  dtype: jnp.dtype  # that the function sees


def square_grad(
  loss: Callable[[PyTree, PyTree], jax.Array], estimator: Estimator = "exact"
) -> Callable[[PyTree, PyTree], PyTree]:
  """(params, examples) -> sum over examples of the squared gradient of a loss.

  The loss is (params, example) -> f32[], pure; examples have a leading axis,
  and the sum is f32 like params. "exact": see `square_kernels`; "vmap" takes
  any loss and holds the gradients of all examples.
  """

  def of_one(network, params, example):
    return jax.grad(network)(params, example)

  return sum_over_examples(loss, of_one, estimator)


def sum_over_examples(
  function: Callable[..., Any],
  of_one: Callable[..., PyTree],
  estimator: Estimator,
) -> Callable[..., PyTree]:
  """Sums what `of_one` makes of `function`'s squaring pullbacks.

  `function(params, example)` is anything differentiable. `of_one(function',
  params, example)` is a sum of pullbacks of function' to params, whose squares
  are taken for each pullback.

  Returns:
    (params, examples) -> f32 like params.

  Raises:
    ValueError: for another estimator.
  """
  if estimator not in ("exact", "vmap"):
    raise ValueError(
      f"estimator is {estimator!r}: choose exact or vmap (of a data set also "
      "signs)."
    )

  def summed(params, examples):
    dtypes = jax.tree.map(lambda p: p.dtype, params)

    def from_float32(params, *args):
      params = jax.tree.map(lambda p, d: p.astype(d), params, dtypes)
      return function(params, *args)

    def tapped(one, params, *args):
      params = jax.tree.map(lambda p: squares.tap(p, one), params)
      return from_float32(params, *args)

    squared = square_kernels(from_float32) if estimator == "exact" else tapped

    def of_example(params, example, one):
      return of_one(partial(squared, one), params, example)

    params = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    ones = jnp.ones(len(jax.tree.leaves(examples)[0]))
    over_examples = jax.vmap(of_example, (None, 0, 0), out_axes=None)
    return over_examples(params, examples, ones)

  return summed


def square_kernels(function: Callable[..., Any]) -> Callable[..., Any]:
  """`function(params, *args)` whose pullback to params gives squares.

  Differentiate it for one example, then `vmap` over examples: the cotangent of
  each parameter is the sum over examples of its squared gradients, for kernels
  of convolutions and matrix products at the price of an ordinary gradient.

  Returns:
    (one, params, *args) -> the function's value; see `squares` for `one`.

  Raises:
    UnknownUseError: when called, if a parameter is used twice, or otherwise
      than as a kernel or elementwise (scales, biases, embeddings of places).
  """

  def squared(one: jax.Array, params: PyTree, *args: Any) -> Any:
    closed, shape = jax.make_jaxpr(function, return_shape=True)(params, *args)
    kernels = [
      _Kernel(path, leaf, leaf.dtype)
      for path, leaf in jax.tree.leaves_with_path(params)
    ]
    outputs = _Interpreter(one).run(
      closed.jaxpr, closed.consts, [*kernels, *jax.tree.leaves(args)]
    )
    for output in outputs:
      if isinstance(output, _Kernel):
        raise _unknown(output, "as a result")
    return jax.tree.unflatten(jax.tree.structure(shape), outputs)

  return squared


class _Interpreter:
  """Evaluates a jaxpr; sees to it that no parameter is used twice."""

  def __init__(self, one: jax.Array):
    self._one = one
    self._used: set[tuple[Any, ...]] = set()

  def run(
    self, jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]
  ) -> list[Any]:
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= zip(jaxpr.invars, args, strict=True)

    def read(atom):
      return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
      # The layer's name, which profiles tell its time by.
      with jax.named_scope(str(eqn.source_info.name_stack)):
        outputs = self._evaluate(eqn, [read(atom) for atom in eqn.invars])
      values |= zip(eqn.outvars, outputs, strict=True)
    return [read(atom) for atom in jaxpr.outvars]

  def _evaluate(self, eqn, inputs):
    kernels = [x for x in inputs if isinstance(x, _Kernel)]
    name = eqn.primitive.name
    if not kernels:
      return _bind(eqn, *inputs)
    if name in (*_CALLS, *_CUSTOM_CALLS):
      inner = eqn.params["call_jaxpr" if name in _CUSTOM_CALLS else "jaxpr"]
      # remat holds a jaxpr without constants.
      return self.run(
        getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs
      )
    if name == "convert_element_type":
      return [kernels[0]._replace(dtype=eqn.params["new_dtype"])]
    if name in _LAYOUT:
      (value,) = _bind(eqn, kernels[0].value)
      return [kernels[0]._replace(value=value)]
    if name in _ELEMENTWISE:
      return _bind(eqn, *map(self._tap, inputs))
    if name in _BILINEAR and len(kernels) == 1:
      return [self._apply(eqn, *inputs)]
    raise _unknown(kernels[0], f"in {name}")

  def _tap(self, x):
    if not isinstance(x, _Kernel):
      return x
    self._use(x)
    return squares.tap(x.value, self._one).astype(x.dtype)

  def _use(self, kernel):
    if kernel.path in self._used:
      raise _unknown(kernel, "twice")
    self._used.add(kernel.path)

  def _apply(self, eqn, left, right):
    """A convolution or a matrix product with one kernel."""
    kernel_first = isinstance(left, _Kernel)
    kernel, x = (left, right) if kernel_first else (right, left)
    shape = kernel.value.shape
    if eqn.primitive.name == "dot_general":
      rule = squares.dot_rule(
        eqn.params["dimension_numbers"], shape, kernel_first=kernel_first
      )
    elif kernel_first:
      raise _unknown(kernel, "as an image to convolve")
    else:
      rule = squares.conv_rule(eqn.params, shape)
    self._use(kernel)

    def operation(x, value):
      operands = [x, value.astype(kernel.dtype)]
      if kernel_first:
        operands.reverse()
      return _bind(eqn, *operands)[0]

    return squares.squaring(operation, rule)(x, kernel.value, self._one)


def _unknown(kernel, how):
  name = jax.tree_util.keystr(kernel.path, simple=True, separator="/")
  return UnknownUseError(
    f"The exact Fisher diagonal has no rule for the parameter {name!r}: it is "
    f'used {how}. Choose estimator="vmap", which is slower and takes any '
    "network."
  )


def _bind(eqn, *inputs):
  params = eqn.primitive.get_bind_params(eqn.params)
  outputs = eqn.primitive.bind(*inputs, **params)
  return outputs if eqn.primitive.multiple_results else [outputs]
