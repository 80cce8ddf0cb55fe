"""FLOPs against counts by hand and another way to count them."""

import itertools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import sharding
from gzjax.models import onednn
from gzjax.profiling import ceilings, work


def _flops(function, *args):
  return work.product_flops(jax.make_jaxpr(function)(*args).jaxpr)


def test_a_matrix_product():
  assert _flops(jnp.dot, jnp.ones((3, 5)), jnp.ones((5, 7))) == 2 * 3 * 5 * 7
  batched = jnp.ones((4, 3, 5)), jnp.ones((4, 5, 7))
  assert _flops(jnp.matmul, *batched) == 4 * 2 * 3 * 5 * 7


def _convolution(stride, padding, groups=1):
  return lambda x, kernel: lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    [padding] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def _by_hand(size, kernel, stride, padding):
  """Pairs of an output and a pixel of the kernel along one axis."""
  outputs = range((size + sum(padding) - kernel) // stride + 1)
  return sum(
    0 <= place * stride + pixel - padding[0] < size
    for place, pixel in itertools.product(outputs, range(kernel))
  )


@pytest.mark.parametrize(
  ("size", "kernel", "stride", "padding"),
  [(8, 3, 1, (1, 1)), (9, 3, 2, (1, 1)), (7, 1, 2, (0, 0)), (8, 7, 2, (3, 3))],
)
def test_a_convolution_and_its_gradients_count_the_same(
  size, kernel, stride, padding
):
  x = jnp.ones((2, size, size, 4))
  weights = jnp.ones((kernel, kernel, 4, 6))
  function = _convolution(stride, padding)
  pairs = _by_hand(size, kernel, stride, padding) ** 2
  by_hand = 2 * 2 * 4 * 6 * pairs
  assert _flops(function, x, weights) == by_hand
  y, pullback = jax.vjp(function, x, weights)
  assert _flops(pullback, jnp.ones_like(y)) == 2 * by_hand

  def of_onednn(x, weights):
    return onednn.conv(x, weights, (stride, stride), [padding] * 2)

  def both_gradients(x, weights):
    return jax.grad(lambda *args: of_onednn(*args).sum(), (0, 1))(x, weights)

  assert _flops(of_onednn, x, weights) == by_hand
  assert _flops(both_gradients, x, weights) == 3 * by_hand


def test_groups():
  x, kernel = jnp.ones((2, 8, 8, 6)), jnp.ones((3, 3, 1, 6))
  pairs = _by_hand(8, 3, 1, (1, 1)) ** 2
  assert _flops(_convolution(1, (1, 1), 6), x, kernel) == 2 * 2 * 6 * pairs


def test_loops_branches_and_calls():
  x = jnp.ones((5, 5))
  one = 2 * 5**3

  def loop(x):
    return lax.scan(lambda y, _: (y @ x, None), x, length=7)[0]

  def branch(x):
    return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

  assert _flops(loop, x) == 7 * one
  assert _flops(branch, x) == 2 * one
  assert _flops(jax.jit(jax.checkpoint(lambda x: x @ x)), x) == one
  assert _flops(lambda x: x + 1, x) == 0


def test_the_body_of_a_shard_map_is_done_by_each_device(mesh):
  spec = jax.sharding.PartitionSpec(sharding.DATA_AXIS)
  double = jax.shard_map(
    lambda x: x @ jnp.ones((3, 5)), mesh=mesh, in_specs=spec, out_specs=spec
  )
  assert _flops(double, jnp.ones((16, 3))) == 2 * 16 * 3 * 5


def test_ceilings_are_numbers_of_this_machine(mesh):
  found = ceilings.measure(mesh, sizes=ceilings.Sizes(64, 2**16))
  assert found.dtype == "float32"
  assert all(np.isfinite(found[:2]))
  assert min(found[:2]) > 0
