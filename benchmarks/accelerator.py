"""What an accelerator is worth: one script of less than eight minutes.

    python -m benchmarks.accelerator --out=accelerator.json
    python -m benchmarks.accelerator --toy   # anywhere, in seconds

Train step and prediction of ResNet34 beside PyTorch eager and `torch.compile`;
the exact Fisher diagonal over a train step and beside vmap(grad); a scan of
steps beside a loop of steps; gradient ascent over retraining; the Fisher of a
whole set. Each measurement begins with its gate: losses of three steps, or sums
of squares beside a loop over single examples. What fails its gate has no speed.

Measurements come in the order of their worth; what --budget_seconds leave no
time for is named as left out. --out is rewritten after each, so that a script
that is cut off keeps what it has; the tables lie beside it, as .md. PyTorch may
be missing: its rows are then. Neither TFDS nor a config is read.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
import gc
import os
import time
from typing import Any, NamedTuple

# PyTorch shares the device.
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".5")

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import epoch_ways, report, timing, ways
from benchmarks.ways import Problem, Setting, Way
from gzjax import sharding

try:
  from benchmarks import torch_ways
except ImportError:
  torch_ways = None

_WHOLE_SET = 61_578  # training galaxies of the Galaxy Zoo challenge


class Size(NamedTuple):
  """How large everything is."""

  model: str = "resnet34"
  width: int = 64
  # Pixels: images in a step.
  batches: Mapping[int, int] = {64: 512, 128: 256, 224: 128}
  fisher_batch: int = 64
  at_once: tuple[int, ...] = (8, 32, 64)  # examples of vmap(grad)
  whole_set: int = _WHOLE_SET
  epoch_steps: int = 20
  rounds: int = 9
  steps: int = 10  # in a round
  bf16: bool = True  # where nothing else is said

  @property
  def pixels(self) -> list[int]:
    """From the smallest."""
    return sorted(self.batches)

  def setting(self, pixels: int, bf16: bool, batch: int = 0) -> Setting:
    """Of a train step, or of so many images."""
    batch = batch or self.batches[pixels]
    return Setting(self.model, pixels, batch, bf16, self.width)


# In float32: XLA compiles bfloat16 for CPUs five times as long.
TOY = Size(
  *("resnet_tiny", 8, {16: 8, 24: 8}, 8, (1, 4), 20),
  **{"epoch_steps": 3, "rounds": 2, "steps": 1, "bf16": False},
)
# A share of the galaxies, of which ascent sees all and retraining the others.
_FORGET = 0.1
# Of a round, where rounds are long.
_MOST_SECONDS = 15.0


class Bench(NamedTuple):
  """What the measurements share."""

  size: Size
  mesh: Any
  mode: str  # of torch.compile
  peers: bool

  def problem(self, setting: Setting) -> Problem:
    """From the weights of the peer, where there is one."""
    network = torch_ways.make_network(setting) if self.peers else None
    return ways.make_problem(setting, self.mesh, network)


class Measurement(NamedTuple):
  """A table to be.

  Attributes:
    name: in words.
    needs: seconds on one H200, a guess: with less it is not started.
    measure: makes its rows.
  """

  name: str
  needs: float
  measure: Callable[[], list[dict[str, Any]]]


def measurements(bench: Bench) -> list[Measurement]:
  """All there are, the worthiest first."""
  found = {}
  size, (*others, large) = bench.size, bench.size.pixels
  small, half = size.pixels[0], size.bf16

  def add(what, function, needs, setting):
    name = f"{what}: {setting.name}"
    measure = partial(function, bench, setting)
    found.setdefault(name, Measurement(name, needs, measure))

  def train(pixels, bf16):
    add("train step", _train, 80, size.setting(pixels, bf16))

  def predict(pixels):
    add("predict", _predict, 40, size.setting(pixels, half))

  def fisher(pixels, bf16):
    setting = size.setting(pixels, bf16, size.fisher_batch)
    add("exact Fisher", _fisher, 100, setting)

  train(large, half)
  fisher(large, half)
  add("steps", _scan, 50, size.setting(small, half))
  setting = size.setting(large, half, size.fisher_batch)
  add(f"Fisher of {size.whole_set:,} galaxies", _whole_set, 70, setting)
  add("epochs", _shares, 50, size.setting(small, half))
  predict(large)
  train(small, half)
  train(large, False)
  fisher(large, False)
  for pixels in others:
    fisher(pixels, half)
    train(pixels, half)
  for pixels in others:
    predict(pixels)
    train(pixels, False)
  train(small, True)  # of the toy
  return list(found.values())


def _train(bench: Bench, setting: Setting) -> list[dict[str, Any]]:
  size, problem = bench.size, bench.problem(setting)
  found = {"gzjax": ways.train_step(problem, steps=size.steps)}
  found |= _peers("train_step", bench, problem)
  return _by_losses(bench, setting, found, lambda: ways.plain_losses(problem))


def _predict(bench: Bench, setting: Setting) -> list[dict[str, Any]]:
  problem = bench.problem(setting)
  found = {"gzjax": ways.predict(problem, steps=bench.size.steps)}
  found |= _peers("predict", bench, problem)
  plain = partial(ways.predict, problem, "native", dtype=jnp.float32)
  return _by_losses(bench, setting, found, lambda: _result(plain()))


def _peers(what, bench, problem) -> dict[str, Way | str]:
  """PyTorch's ways, or why one cannot be had."""
  if not bench.peers:
    return {}
  found: dict[str, Way | str] = {}
  modes = {"PyTorch eager": None, f"torch.compile ({bench.mode})": bench.mode}
  for name, mode in modes.items():
    make = getattr(torch_ways, what)
    try:
      found[name] = make(problem, steps=bench.size.steps, mode=mode)
    except Exception as error:  # the compiler's are of many kinds
      found[name] = f"{type(error).__name__}: {error}".splitlines()[0]
  return found


def _by_losses(bench, setting, found, otherwise) -> list[dict[str, Any]]:
  """Compared with PyTorch eager, or without it with what is plain."""
  results = {
    name: _result(way) for name, way in found.items() if isinstance(way, Way)
  }
  wanted = results.get("PyTorch eager") or otherwise()
  errors = {n: ways.losses_error(x, wanted) for n, x in results.items()}
  return _compare(bench, found, errors, ways.losses_tolerance(setting))


def _fisher(bench: Bench, setting: Setting) -> list[dict[str, Any]]:
  size, problem = bench.size, bench.problem(setting)
  exact = ways.fisher(problem, bench.mesh)
  wanted = ways.one_by_one(problem, jnp.float32, "highest").result()
  step = ways.train_step(problem)
  vmap, _ = ways.best(
    lambda n: ways.fisher(problem, bench.mesh, estimator="vmap", microbatch=n),
    sorted({min(n, setting.batch) for n in size.at_once}),
  )
  found = {
    "train step": step,
    "exact": exact,
    f"vmap(grad), {vmap.at_once} at once": vmap,
  }
  error, tolerance = ways.fisher_gate(problem, wanted)
  errors = {
    name: error(_result(way)) for name, way in found.items() if way is not step
  }
  # The step's own gate stands in its own table; here it is what others cost.
  errors["train step"] = ways.losses_error(
    _result(step)[:1], [ways.forward_loss(problem)]
  )
  tolerances = dict.fromkeys(found, tolerance)
  tolerances["train step"] = ways.losses_tolerance(setting)
  return _compare(bench, found, errors, tolerances)


def _scan(bench: Bench, setting: Setting) -> list[dict[str, Any]]:
  problem = bench.problem(setting)
  count = bench.size.epoch_steps * setting.batch
  galaxies = epoch_ways.make_galaxies(
    count, setting.size, setting.batch, bench.mesh
  )
  found = {
    "scan of steps": epoch_ways.training(problem, galaxies, in_chunks=True),
    "loop of steps": epoch_ways.training(problem, galaxies, in_chunks=False),
  }
  losses = {name: _result(way) for name, way in found.items()}
  errors = {
    name: ways.losses_error(x, losses["loop of steps"])
    for name, x in losses.items()
  }
  return _compare(bench, found, errors, ways.losses_tolerance(setting))


def _shares(bench: Bench, setting: Setting) -> list[dict[str, Any]]:
  problem, batch = bench.problem(setting), setting.batch
  forget = max(1, round(_FORGET * bench.size.epoch_steps))
  lost, kept = (
    epoch_ways.make_galaxies(steps * batch, setting.size, batch, bench.mesh)
    for steps in (forget, bench.size.epoch_steps - forget)
  )
  found = {
    "retraining": epoch_ways.training(problem, kept, in_chunks=True),
    "gradient ascent": epoch_ways.ascent(problem, lost, in_chunks=True),
  }
  # The first loss of each, beside that of the network by itself.
  errors = {}
  for name, galaxies, make in (
    ("retraining", kept, lambda problem: [ways.forward_loss(problem)]),
    ("gradient ascent", lost, lambda problem: _result(ways.predict(problem))),
  ):
    first = epoch_ways.first_view(problem, galaxies)
    errors[name] = ways.losses_error(_result(found[name])[:1], make(first))
  return _compare(bench, found, errors, ways.losses_tolerance(setting))


def _whole_set(bench: Bench, setting: Setting) -> list[dict[str, Any]]:
  count, pixels = bench.size.whole_set, setting.size
  needed = count * pixels**2 * 3
  free = _free_bytes()
  if free is not None and needed > 0.8 * free:
    why = f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free"
    return [{"way": "scan of batches", "note": why}]
  problem = bench.problem(setting)
  galaxies = epoch_ways.make_galaxies(count, pixels, setting.batch, bench.mesh)
  found = {
    "scan of batches": epoch_ways.fisher(problem, galaxies, in_chunks=True),
    "loop of batches": epoch_ways.fisher(problem, galaxies, in_chunks=False),
  }
  sums = {name: _result(way) for name, way in found.items()}
  errors = {
    name: ways.tree_error(x, sums["loop of batches"])
    for name, x in sums.items()
  }
  return _compare(bench, found, errors, ways.FISHER_TOLERANCE)


def _free_bytes() -> int | None:
  """Of the device; None where it does not say."""
  stats = jax.devices()[0].memory_stats()
  return stats and stats["bytes_limit"] - stats["bytes_in_use"]


def _result(way: Way) -> Any:
  assert way.result is not None
  return way.result()


def _compare(
  bench: Bench,
  found: Mapping[str, Way | str],
  errors: Mapping[str, float],
  tolerance: float | Mapping[str, float],
) -> list[dict[str, Any]]:
  """A row for each way; a speed for those that passed the gate."""
  rows, ready = [], {}
  for name, way in found.items():
    row: dict[str, Any] = {"way": name}
    rows.append(row)
    if isinstance(way, str):
      row["note"] = way
      continue
    most = tolerance[name] if isinstance(tolerance, Mapping) else tolerance
    row |= {"differs": errors[name], "tolerance": most}
    row["compile_seconds"] = way.compile_seconds
    row["temporary_mb"] = way.planned_bytes and way.planned_bytes / 1e6
    if errors[name] <= most:  # NaN fails
      ready[name] = way
    else:
      row["note"] = f"failed its gate ({most:.0e}): no speed"
  _time(bench, rows, ready)
  return rows


def _time(bench, rows, ready) -> None:
  """Adds speeds, and times over that of the first of all ways."""
  seconds = timing.interleaved(
    {name: way.run for name, way in ready.items()},
    bench.size.rounds,
    _MOST_SECONDS,
  )
  first = rows[0]["way"]
  for row in rows:
    name = row["way"]
    if name not in ready:
      continue
    row["rounds"] = len(seconds[name])
    row["seconds"] = float(np.median(seconds[name]))
    row["images_per_second"] = ready[name].images / row["seconds"]
    if first in ready:
      row["over"] = first
      row["times"] = np.percentile(
        seconds[name] / seconds[first], [50, 10, 90]
      ).tolist()


def run(
  bench: Bench, budget: float, keep: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
  """Measures until the budget, seconds, is spent; hands on all after each."""
  start = time.perf_counter()
  found: dict[str, Any] = {"machine": _machine(bench)}
  found |= {"measurements": [], "left_out": []}
  guessed = taken = 0.0
  for measurement in measurements(bench):
    began = time.perf_counter()
    # Guesses are corrected by what went before.
    pace = taken / guessed if guessed else 1.0
    left = budget - (began - start)
    if measurement.needs * pace > left:
      found["left_out"].append(measurement.name)
      continue
    rows = _tried(measurement, bench)
    guessed += measurement.needs
    taken += time.perf_counter() - began
    seconds = time.perf_counter() - began
    table = {"name": measurement.name, "seconds": seconds, "rows": rows}
    found["measurements"].append(table)
    print(_table(table), flush=True)
    keep(found)
  found["seconds"] = time.perf_counter() - start
  keep(found)
  return found


def _tried(measurement: Measurement, bench: Bench) -> list[dict[str, Any]]:
  """Its rows; one that says why, if it failed: the others go on."""
  try:
    return measurement.measure()
  except Exception as error:  # no room on the device, of either library
    why = f"{type(error).__name__}: {error}".splitlines()[0]
    return [{"way": "all", "note": why}]
  finally:
    gc.collect()
    if bench.peers:
      torch_ways.forget()


def _machine(bench: Bench) -> dict[str, Any]:
  flags = os.environ.get("XLA_FLAGS", "")
  more = torch_ways.versions() if bench.peers else {}
  return report.machine(**more, xla_flags=flags)


_COLUMNS = ("way", "images/s", "time", "compile s", "temporary MB", "differs",
            "")  # fmt: skip


def _table(table: dict[str, Any]) -> str:
  """Markdown."""
  rows = []
  first = table["rows"][0]["way"]
  for row in table["rows"]:
    middle, low, high = row.get("times", [None] * 3)
    time = middle and f"{middle:.2f} ({low:.2f} to {high:.2f})"
    cells = [_number(row.get("images_per_second"), ".1f"), time]
    cells += [
      _number(row.get(key), form)
      for key, form in (
        ("compile_seconds", ".1f"),
        ("temporary_mb", ".0f"),
        ("differs", ".1e"),
      )
    ]
    rows.append([row["way"], *cells, row.get("note")])
  columns = [x if x != "time" else f"time / {first}" for x in _COLUMNS]
  return f"\n{table['name']}\n\n{report.markdown(columns, rows)}"


def _number(value: float | None, form: str) -> str | None:
  return None if value is None else f"{value:{form}}"


def to_markdown(found: dict[str, Any]) -> str:
  """Of all that was measured, and by what."""
  about = report.markdown(["", ""], [*found["machine"].items()])
  text = f"# Benchmarks of an accelerator\n\n{about}"
  text += "".join(map(_table, found["measurements"]))
  if found["left_out"]:
    names = "".join(f"* {name}\n" for name in found["left_out"])
    text += f"\nLeft out, for want of time:\n\n{names}"
  return text


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(__doc__, "all numbers, .json; tables go beside it")
  add = parser.add_argument
  add("--budget_seconds", type=float, default=450.0)
  add("--toy", action="store_true", help="tiny networks and images")
  add("--nopeers", action="store_true", help="leave PyTorch out")
  add(
    "--compile_mode",
    default="default",
    help="of torch.compile; max-autotune is its best and takes minutes",
  )
  return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
  """Gates, times, prints and writes."""
  options = _options(arguments)
  peers = torch_ways is not None and not options.nopeers
  if peers:
    torch_ways.prepare()
  bench = Bench(
    TOY if options.toy else Size(),
    sharding.make_mesh(jax.devices()[:1]),
    # A toy compiles nothing by PyTorch: no machine needs a compiler for it.
    "eager" if options.toy else options.compile_mode,
    peers,
  )

  def keep(found):
    if options.out:
      report.write(options.out, found)
      report.write_beside(options.out, to_markdown(found))

  def show(found):
    for name in found["left_out"]:
      print(f"left out, for want of time: {name}")
    print(f"{found['seconds']:.0f} s")

  report.end(partial(run, bench, options.budget_seconds, keep), show, None)


if __name__ == "__main__":
  main()
