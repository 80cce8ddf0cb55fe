"""Strategies for the squared per-example gradients of one convolution.

    python -m benchmarks.fisher_layers

Each layer of a ResNet34 at 64 pixels, beside the ordinary weight gradient: what
the numbers in `gzjax.fisher.squares.STRATEGIES` were chosen by.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from jax import lax
import numpy as np

from benchmarks import report, timing
from gzjax.fisher import squares

_GIB = 2**30
# One gradient at a time; all at once; products of pairs of positions.
_STRATEGIES = {
  "one by one": squares.Strategy(0, 0, 0, 1, 0),
  "two a sweep": squares.Strategy(0, 0, 0, 2, _GIB),
  "four a sweep": squares.Strategy(0, 0, 0, 4, _GIB),
  "all at once": squares.Strategy(0, 0, _GIB, 1, 0),
  "pairs": squares.Strategy(16, _GIB, 0, 1, 0),
}
_MOST_PAIRED = 16
# Edge of the input, channels in and out, kernel, stride, padding.
_LAYERS = {
  "7x7/2, 64x64, 3 to 64": (64, 3, 64, 7, 2, 3),
  "16x16, 64": (16, 64, 64, 3, 1, 1),
  "8x8, 128": (8, 128, 128, 3, 1, 1),
  "4x4, 256": (4, 256, 256, 3, 1, 1),
  "2x2, 512": (2, 512, 512, 3, 1, 1),
}


def _ways(batch, edge, inputs, outputs, kernel, stride, padding):
  """Compiled functions without arguments; all sums of squares are compared."""
  rng = np.random.default_rng(0)
  shape = kernel, kernel, inputs, outputs
  params = {
    "window_strides": (stride, stride),
    "padding": ((padding, padding),) * 2,
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "dimension_numbers": lax.conv_dimension_numbers(
      (1, edge, edge, inputs), shape, ("NHWC", "HWIO", "NHWC")
    ),
    "feature_group_count": 1,
    "batch_group_count": 1,
  }
  convolve = partial(lax.conv_general_dilated, **params)
  images = rng.normal(size=(batch, edge, edge, inputs)).astype("f")
  positions = (edge + 2 * padding - kernel) // stride + 1
  delta = rng.normal(size=(batch, positions, positions, outputs))
  arguments = jax.device_put((images, delta.astype("f")))

  def weight_gradient(images, delta):
    zeros = jax.numpy.zeros(shape)
    return jax.vjp(lambda w: convolve(images, w), zeros)[1](delta)[0]

  def compiled(function, *arguments):
    ready = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(ready(*arguments))

  ways = {"weight gradient": compiled(weight_gradient, *arguments)}
  before = dict(squares.STRATEGIES)
  for name, strategy in _STRATEGIES.items():
    if name == "pairs" and positions**2 > _MOST_PAIRED:
      continue
    squares.STRATEGIES |= dict.fromkeys(before, strategy)
    rule = squares.conv_rule(params, shape)
    assert rule is not None
    ways[name] = compiled(rule, arguments[0][:, None], arguments[1][:, None])
  squares.STRATEGIES |= before
  wanted = ways["one by one"]()
  for name in ways.keys() - {"weight gradient"}:
    np.testing.assert_allclose(
      ways[name](), wanted, rtol=0, atol=1e-5 * wanted.max()
    )
  return ways


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Milliseconds of each round, by layer and strategy."""
  layers = {}
  for layer, shape in _LAYERS.items():
    seconds = timing.interleaved(
      _ways(options.batch_size, *shape), options.rounds
    )
    layers[layer] = {name: 1e3 * values for name, values in seconds.items()}
  return {"batch_size": options.batch_size, "milliseconds": layers}


def show(result: dict[str, Any]) -> None:
  """Prints the medians."""
  names = ["weight gradient", *_STRATEGIES]
  rows = []
  for layer, found in result["milliseconds"].items():
    cells = [f"{np.median(found[n]):.1f}" if n in found else "" for n in names]
    rows.append([layer, *cells])
  title = f"milliseconds, {result['batch_size']} images"
  print(report.markdown([title, *names], rows))


def main(arguments: Sequence[str] | None = None) -> None:
  """Compares, times, prints and writes."""
  parser = report.parser(__doc__, "the result, .json")
  parser.add_argument("--batch_size", type=int, default=32, help="images")
  parser.add_argument("--rounds", type=int, default=15)
  options = parser.parse_args(arguments)
  report.end(partial(measure, options), show, options.out)


if __name__ == "__main__":
  main()
