"""The Fisher diagonal of a batch: ours, our train step, and everybody else's.

    python -m benchmarks.fisher --size=64 --batch_size=32

All start from the same weights, see the same images and run interleaved in one
process, each at its best number of examples at once. First the gate: every sum
of squares must agree with a loop over single examples, else the speeds would
mean nothing. The peers need the `bench` extra, and those that are not installed
are named; without PyTorch (or with --nopeers) only our own ways are measured. A
GPU is used if there is one.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report, timing, ways
from benchmarks.ways import Problem, Setting, Way
from gzjax import sharding
from gzjax.errors import UserError

NEEDED = ("train step", "exact")  # which all are compared with

try:
  from benchmarks import torch_fisher, torch_ways
except ImportError:
  torch_ways = None


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Gates and times."""
  setting = Setting(
    options.model, options.size, options.batch_size, options.bf16
  )
  mesh = sharding.make_mesh(jax.devices()[:1])
  network = None if torch_ways is None else torch_ways.make_network(setting)
  problem = ways.make_problem(setting, mesh, network)
  left_out: dict[str, str] = {}
  found = {
    name: build()
    for name, build in _ways(problem, mesh, options)
    if name in (options.ways or [name])
  }
  if torch_ways is not None and options.peers and not options.ways:
    found |= _peers(problem, options, left_out)
  rows = _gate(problem, found)
  seconds = timing.interleaved(
    {name: way.run for name, way in found.items()}, options.rounds
  )
  for name, row in rows.items():
    cost = seconds[name] / seconds["train step"]
    gain = seconds[name] / seconds["exact"]
    row["images_per_second"] = setting.batch / float(np.median(seconds[name]))
    for key, ratio in (("over_train_step", cost), ("exact_is_faster_by", gain)):
      row[key] = np.percentile(ratio, [50, 10, 90]).tolist()
  return {
    **{"model": setting.model, "size": setting.size},
    **{"batch_size": setting.batch, "dtype": str(np.dtype(setting.dtype))},
    "versions": torch_ways.versions() if torch_ways else {},
    **{"ways": rows, "left_out": left_out},
  }


def _ways(
  problem: Problem, mesh: Any, options: argparse.Namespace
) -> Iterator[tuple[str, Callable[[], Way]]]:
  """Ours by name."""
  fisher = partial(ways.fisher, problem, mesh)
  yield "train step", partial(ways.train_step, problem)
  yield "gradient pass", partial(ways.gradient, problem)
  yield "exact", fisher
  yield 'exact, kind="true"', partial(fisher, kind="true")
  yield "signs", partial(fisher, estimator="signs")
  yield "signs with error", partial(fisher, estimator="signs", with_error=True)
  yield "one by one", partial(ways.one_by_one, problem)
  for name, estimator, form in (
    ("exact, dots only", "exact", "dot"),
    ("vmap", "vmap", "auto"),
    ("vmap, dots only", "vmap", "dot"),
    ("vmap, plain nn.Conv", "vmap", "native"),
  ):
    build = partial(fisher, form, estimator=estimator)
    at_once = lambda n, build=build: build(microbatch=n)  # noqa: E731
    yield name, partial(_best, at_once, name, problem, options)


def _peers(
  problem: Problem, options: argparse.Namespace, left_out: dict[str, str]
) -> Iterator[tuple[str, Way]]:
  """PyTorch's ways; `left_out` gets those that cannot be, and why."""
  for name in torch_fisher.WAYS:
    build = partial(torch_ways.fisher, name, problem)
    alone = name == torch_fisher.LOOP
    try:
      way = build() if alone else _best(build, name, problem, options)
    except Exception as error:  # each library has its own for a layer
      left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
      print(f"{name} is left out: {left_out[name]}", flush=True)
    else:
      yield name, way


def _best(
  build: Callable[[int], Way],
  name: str,
  problem: Problem,
  options: argparse.Namespace,
) -> Way:
  """The fastest number of examples at once."""
  sizes = sorted({min(n, problem.setting.batch) for n in options.at_once})
  way, speed = ways.best(build, sizes)
  words = (f"{n} at once {v:.1f} images/s" for n, v in speed.items())
  print(f"{name}: {', '.join(words)}", flush=True)
  return way


def _gate(problem: Problem, found: dict[str, Way]) -> dict[str, dict[str, Any]]:
  """A row for each way, with what it differs by.

  Raises:
    UserError: if one is not the Fisher.
  """
  wanted = ways.one_by_one(problem, jnp.float32, "highest").result()
  error_of, tolerance = ways.fisher_gate(problem, wanted)
  rows = {}
  for name, way in found.items():
    rows[name] = {"at_once": way.at_once, "temporary_mb": _megabytes(way)}
    if way.result is None or name == "train step":
      continue
    error = error_of(way.result())
    rows[name]["error"] = error
    print(f"{name}: differs from the loop by {error:.1e}", flush=True)
    if not error <= tolerance:
      raise UserError(f"{name} is not the Fisher: {error:.1e}. No speed.")
  print(f"equal within {tolerance:g}: yes", flush=True)
  return rows


def _megabytes(way: Way) -> float | None:
  """Of temporaries: XLA's plan, which is exact; PyTorch is watched."""
  found = way.planned_bytes
  if found is None and torch_ways is not None:
    found = torch_ways.peak_bytes(way.run)
  return None if found is None else found / 1e6


def show(result: dict[str, Any]) -> None:
  """Prints the table."""
  columns = [
    f"{result['model']}, {result['size']} pixels, batch {result['batch_size']}",
    *("at once", "images/s", "time / train step", "speed of exact / this"),
    "temporary MB",
  ]
  rows = []
  for name, row in result["ways"].items():
    middle, low, high = row["over_train_step"]
    memory = row["temporary_mb"]
    rows.append(
      [
        *(name, row["at_once"], f"{row['images_per_second']:.1f}"),
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
        f"{row['exact_is_faster_by'][0]:.2f}",
        None if memory is None else round(memory),
      ]
    )
  print(report.markdown(columns, rows))


def main(arguments: Sequence[str] | None = None) -> None:
  """Gates, times, prints and writes."""
  parser = report.parser(__doc__, "the result, .json")
  add = parser.add_argument
  ways.add_options(parser, rounds=5)
  add("--at_once", type=report.numbers, default=[1, 4, 16],
      help="numbers of examples at once to choose from")  # fmt: skip
  add("--bf16", action="store_true", help="compute in bfloat16 (ours)")
  add("--ways", type=lambda text: [*NEEDED, *text.split(",")],
      help="only these besides train step and exact; no peers")  # fmt: skip
  add("--nopeers", dest="peers", action="store_false",
      help="leave the PyTorch ways out")  # fmt: skip
  options = parser.parse_args(arguments)
  report.end(partial(measure, options), show, options.out)


if __name__ == "__main__":
  main()
