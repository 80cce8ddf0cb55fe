"""The arithmetic of a program: that of its convolutions and matrix products.

Counted from what JAX traced, before XLA: XLA's own count takes the body of a
loop once, however often it runs.
"""

from collections.abc import Iterator
import math
from typing import Any

from jax.extend import core
import numpy as np

# Primitive of models/onednn.py -> where image, kernel and output stand among
# both operands and the result.
_ONEDNN = {
  "conv_output": (0, 1, 2),
  "conv_image": (2, 1, 0),
  "conv_kernel": (0, 2, 1),
}


def product_flops(jaxpr: core.Jaxpr) -> float:
  """Floating-point operations of all products of a program, 2 for each pair.

  Of convolutions those pairs of pixels count of which both are there: padding
  and what a stride leaves out are no work, so that a convolution and either of
  its gradients count the same. Loops count as often as they run (`while` once:
  nobody knows how often), of branches the dearest, the body of a `shard_map`
  once for each device.
  """
  return sum(_of_equation(eqn) for eqn in jaxpr.eqns)


def _of_equation(eqn: core.JaxprEqn) -> float:
  name = eqn.primitive.name
  if name == "dot_general":
    return _of_dot(eqn)
  if name == "conv_general_dilated":
    return _of_convolution(eqn)
  if name in _ONEDNN:
    return _of_onednn(eqn)
  inner = [product_flops(jaxpr) for jaxpr in _jaxprs(eqn.params)]
  if name == "cond":
    return max(inner)
  times = eqn.params["length"] if name == "scan" else 1
  if name == "shard_map":
    times = eqn.params["mesh"].size
  return times * sum(inner)


def _jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
  """Programs inside of an equation."""
  for value in params.values():
    for one in value if isinstance(value, tuple | list) else (value,):
      if isinstance(one, core.ClosedJaxpr):
        yield one.jaxpr
      elif isinstance(one, core.Jaxpr):
        yield one


def _of_dot(eqn: core.JaxprEqn) -> float:
  (contracted, _), _ = eqn.params["dimension_numbers"]
  left, _, result = _shapes(eqn)
  summed = math.prod(left[axis] for axis in contracted)
  return 2.0 * math.prod(result) * summed


def _shapes(eqn: core.JaxprEqn) -> list[tuple[int, ...]]:
  """Of both operands and of the result."""
  atoms: list[Any] = [*eqn.invars, *eqn.outvars]
  return [atom.aval.shape for atom in atoms]


def _of_convolution(eqn: core.JaxprEqn) -> float:
  params = eqn.params
  lhs, rhs, out = params["dimension_numbers"]
  left, right, result = _shapes(eqn)
  pairs = [
    _pairs(left[lhs[2 + d]], right[rhs[2 + d]], result[out[2 + d]], params, d)
    for d in range(len(lhs) - 2)
  ]
  # For each of the outputs the kernel has the inputs of its group.
  batch_and_channels = result[out[0]] * result[out[1]] * right[rhs[1]]
  return 2.0 * batch_and_channels * math.prod(pairs)


def _of_onednn(eqn: core.JaxprEqn) -> float:
  """Of NHWC images and HWIO kernels."""
  shapes = _shapes(eqn)
  image, kernel, output = (shapes[i] for i in _ONEDNN[eqn.primitive.name])
  params = {"rhs_dilation": (1, 1), "lhs_dilation": (1, 1), **eqn.params}
  pairs = [
    _pairs(image[1 + d], kernel[d], output[1 + d], params, d) for d in (0, 1)
  ]
  return 2.0 * output[0] * output[3] * kernel[2] * math.prod(pairs)


def _pairs(inputs: int, kernel: int, outputs: int, params, axis: int) -> int:
  """Pairs (output, kernel pixel) along an axis that meet an input pixel."""
  start = -params["padding"][axis][0]
  stride = params["window_strides"][axis]
  apart = params["rhs_dilation"][axis]
  spread = params["lhs_dilation"][axis]
  at = start + stride * np.arange(outputs)[:, None] + apart * np.arange(kernel)
  hits = (at >= 0) & (at <= (inputs - 1) * spread) & (at % spread == 0)
  return int(hits.sum())
