"""Images per second of one training step: ours beside PyTorch.

    python -m benchmarks.train_step --size=64 --batch_size=32
    python -m benchmarks.train_step --model=convnext_nano --predict

All start from the same weights, see the same batch and run interleaved in one
process. First the gate: the losses of the first steps must agree, else the
speeds would mean nothing. Needs the `bench` extra. A GPU is used if there is
one (PyTorch then in channels_last, as on the CPU). --compile_mode=default adds
`torch.compile`, --best what PyTorch leaves off by default (cuDNN's choice of
algorithms, TF32 products).
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import report, timing, torch_ways, ways
from gzjax import sharding
from gzjax.errors import UserError


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Gates and times."""
  setting = ways.Setting(
    options.model, options.size, options.batch_size, options.bf16
  )
  mesh = sharding.make_mesh(jax.devices()[:1])
  network = torch_ways.make_network(setting)
  problem = ways.make_problem(setting, mesh, network)
  found = _contestants(problem, options)
  gate = _gate(setting, found)
  rounds = timing.interleaved(
    {name: way.run for name, way in found.items()}, options.rounds
  )
  result = {
    **{"model": setting.model, "what": _what(options)},
    **{"size": setting.size, "batch_size": setting.batch},
    **{"dtype": str(np.dtype(setting.dtype)), **gate},
    "versions": torch_ways.versions(),
  }
  for name, seconds in rounds.items():
    ratios = rounds["pytorch"] / seconds
    gain = seconds / rounds["gzjax"]
    result[name] = {
      "images_per_second": found[name].images / float(np.median(seconds)),
      "ratio": float(np.median(ratios)),
      "rounds_10_to_90": np.percentile(ratios, [10, 90]).tolist(),
      "gzjax_is_faster_by": np.percentile(gain, [50, 10, 90]).tolist(),
    }
  return result


def _contestants(problem, options) -> dict[str, ways.Way]:
  ours = ways.predict if options.predict else ways.train_step
  peer = torch_ways.predict if options.predict else torch_ways.train_step
  steps = options.steps
  if options.best:
    torch_ways.prepare()
  found = {"pytorch": peer(problem, steps)}
  if options.compile_mode:
    name = f"torch.compile ({options.compile_mode})"
    found[name] = peer(problem, steps, options.compile_mode)
  found["gzjax"] = ours(problem, steps=steps)
  if options.native:
    found["nn.Conv"] = ours(problem, "native", steps)
  return found


def _gate(setting, found) -> dict[str, Any]:
  """Losses of the first steps, or of the prediction.

  Raises:
    UserError: if they are not those of PyTorch.
  """
  losses = {}
  tolerance = ways.losses_tolerance(setting)
  for name, way in found.items():
    assert way.result is not None
    losses[name] = way.result()
    print(f"loss of {name}: {' '.join(f'{v:.6f}' for v in losses[name])}")
    error = ways.losses_error(losses[name], losses["pytorch"])
    if not error <= tolerance:
      raise UserError(f"{name} differs from PyTorch by {error:.1e}: no speed.")
  print(f"equal within {tolerance:g}: yes", flush=True)
  errors = {
    name: ways.losses_error(x, losses["pytorch"]) for name, x in losses.items()
  }
  return {"losses": losses, "errors": errors, "tolerance": tolerance}


def _what(options) -> str:
  return "predict" if options.predict else "train step"


def show(result: dict[str, Any]) -> None:
  """Prints the speeds."""
  for name in result["losses"]:
    low, high = result[name]["rounds_10_to_90"]
    print(
      f"{name:8} {result[name]['images_per_second']:8.1f} images/s   "
      f"{result[name]['ratio']:.2f} x PyTorch "
      f"(rounds 10 to 90%: {low:.2f} to {high:.2f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
  """Gates, times, prints and writes."""
  parser = report.parser(__doc__, "the result, .json")
  add = parser.add_argument
  ways.add_options(parser, rounds=9)
  add("--steps", type=int, default=3, help="in a round")
  add("--bf16", action="store_true", help="compute in bfloat16")
  add("--predict", action="store_true", help="predict, not train")
  add("--native", action="store_true", help="also time plain nn.Conv")
  add("--compile_mode", help="also time torch.compile in this mode")
  add("--best", action="store_true", help="PyTorch's faster settings")
  options = parser.parse_args(arguments)
  report.end(partial(measure, options), show, options.out)


if __name__ == "__main__":
  main()
