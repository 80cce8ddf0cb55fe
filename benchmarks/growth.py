"""Seconds and memory of every stage, for more and more galaxies.

    python -m benchmarks.growth --folder=runs/growth --out=growth.json

Each number of galaxies is a run of its own on a synthetic sky: a small network,
trained for one epoch, audited in two folds, retrained and fine-tuned. Every
stage is a process of its own, which is asked for its seconds, those of the
processors and the peak of its memory (`wait4`; Unix). On a machine that others
use only the processors' seconds can be compared. `sky` draws the pictures and
the votes and writes nothing: `prepare` does the same, and writes, decodes,
labels and splits them. `predict` goes through as many galaxies, in one parquet
file.

More galaxies than the largest number are extrapolated along the line through
the two largest ones. `--votes` learns the counts of votes instead of classes.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks import report
from gzjax.errors import UserError

_SIZE = 16  # pixels
_CHUNK = 4096  # galaxies of which images are encoded at once
STAGES = (
  *("sky", "prepare", "train", "audit"),
  *("unlearn", "evaluate", "report", "predict"),
)
# Of the wall and of all processors, and the peak of the memory.
_MEASURED = ("seconds", "cpu_seconds", "peak_mib")
_SETTINGS = (
  *("--config.train.epochs=1", "--config.train.batch_size=128"),
  *("--config.audit.folds=2", "--config.unlearn.batch_size=128"),
  *("--config.unlearn.methods=('retrain','finetune')",),
)
_OF_VOTES = ("--config.target.kind=counts", "--config.labels.kind=question")


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Runs all stages for each number of galaxies.

  Raises:
    UserError: if a stage fails, or speaks of fewer galaxies than there are.
  """
  rows = []
  more = _OF_VOTES if options.votes else ()
  for count in sorted(options.galaxies):
    place = options.folder.absolute() / str(count)
    shutil.rmtree(place, ignore_errors=True)
    for stage in options.stages:
      found = _stage(stage, count, place, more)
      rows.append({"galaxies": count, "stage": stage, **found})
      print(f"{count:,} galaxies, {stage}: {_cell(found)}", flush=True)
    _check(place, count, options.stages)
  return {"rows": rows, "extrapolated": extrapolated(rows, options.to)}


def extrapolated(
  rows: Sequence[Mapping[str, Any]], galaxies: int
) -> list[dict[str, Any]]:
  """What so many galaxies would take, by the line through the two largest."""
  counts = sorted({row["galaxies"] for row in rows})[-2:]
  if len(counts) < 2:
    return []
  found = {(row["galaxies"], row["stage"]): row for row in rows}
  share = (galaxies - counts[0]) / (counts[1] - counts[0])

  def at(stage, name):
    low, high = (found[count, stage][name] for count in counts)
    return low + share * (high - low)

  return [
    {
      "galaxies": galaxies,
      "stage": stage,
      **{name: at(stage, name) for name in _MEASURED},
    }
    for stage in dict.fromkeys(row["stage"] for row in rows)
  ]


def table(found: Mapping[str, Any]) -> str:
  """A line for each number of galaxies, a column for each stage."""
  rows = [*found["rows"], *found["extrapolated"]]
  stages = list(dict.fromkeys(row["stage"] for row in rows))
  cells: dict[int, dict[str, str]] = {}
  for row in rows:
    cells.setdefault(row["galaxies"], {})[row["stage"]] = _cell(row)
  guessed = {row["galaxies"] for row in found["extrapolated"]}
  lines = [
    [f"{n:,}" + (" (extrapolated)" if n in guessed else ""), *own.values()]
    for n, own in cells.items()
  ]
  return report.markdown(["galaxies", *stages], lines)


def _cell(row: Mapping[str, Any]) -> str:
  return (
    f"{row['seconds']:,.0f} s ({row['cpu_seconds']:,.0f}), "
    f"{row['peak_mib']:,.0f} MiB"
  )


def _stage(
  stage: str, count: int, place: Path, more: Sequence[str]
) -> dict[str, float]:
  """What is `_MEASURED` of a stage, in a process of its own."""
  if stage == "sky":
    program = f"from benchmarks import growth; growth.draw({count})"
    return _run("-c", program)
  given = (f"--workdir={place / 'run'}", f"--data_dir={place / 'tfds'}")
  settings: tuple[str, ...] = ()
  if stage == "predict":
    settings = (str(_write_images(place)),)
  elif stage == "prepare":
    galaxies = f"--config.data.galaxies={count}"
    settings = ("--config=demo:tiny", galaxies, *_SETTINGS, *more)
  return _run("-m", "gzjax.pipeline.launch", stage, *settings, *given)


def _run(*arguments: str) -> dict[str, float]:
  start = time.perf_counter()
  process = subprocess.Popen([sys.executable, *arguments], stdout=sys.stderr)
  _, status, usage = os.wait4(process.pid, 0)
  seconds = time.perf_counter() - start
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    raise UserError(f"{' '.join(arguments)} ended with {process.returncode}")
  unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
  return {
    "seconds": seconds,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "peak_mib": usage.ru_maxrss * unit / 2**20,
  }


def draw(count: int) -> None:
  """Draws a sky as `prepare` does, and lets it go."""
  from gzjax.data import builders  # slow to import
  from gzjax.pipeline import compiled

  compiled.use(None)  # as the command line does
  place = builders.Place(size=_SIZE)
  builder = builders.READERS["galaxy_synthetic"](place, galaxies=count)
  galaxies = builder._galaxies(None, None)
  for _ in galaxies.images(np.arange(count)):
    pass


def _write_images(place: Path) -> Path:
  """The galaxies of a run as one parquet file with their images inside."""
  from PIL import Image
  import pyarrow as pa
  import pyarrow.parquet

  from gzjax.data.images import to_png

  (pixels,) = place.glob("tfds/*/*/*/pixels-*.npy")
  image, path = np.load(pixels, mmap_mode="r"), place / "images.parquet"
  kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  schema = pa.schema({"image": kind, "id_str": pa.string()})
  with pyarrow.parquet.ParquetWriter(path, schema) as writer:
    for start in range(0, len(image), _CHUNK):
      ids = [f"g{start + i}" for i in range(len(image[start : start + _CHUNK]))]
      encoded = [
        {"bytes": to_png(Image.fromarray(x)), "path": f"{name}.png"}
        for name, x in zip(ids, image[start : start + _CHUNK], strict=True)
      ]
      columns = [pa.array(encoded, kind), pa.array(ids)]
      writer.write_table(pa.Table.from_arrays(columns, schema=schema))
  return path


def _check(place: Path, count: int, stages: Sequence[str]) -> None:
  """UserError where a table of a run lacks galaxies: it would be too fast."""
  import pyarrow.parquet

  files = {
    "prepare": "split.parquet",
    "audit": "audit/scores.parquet",
    "evaluate": "evaluate/finetune.parquet",
    "predict": "predictions.parquet",
  }
  for stage in set(stages) & set(files):
    path = place / "run" / files[stage]
    rows = pyarrow.parquet.read_metadata(path).num_rows
    if rows != count:
      raise UserError(f"{path} has {rows} galaxies, not {count}.")


def main(arguments: Sequence[str] | None = None) -> None:
  """Measures, prints and writes."""
  parser = report.parser(__doc__, "the result, .json")
  parser.add_argument("--folder", type=Path, required=True)
  parser.add_argument(
    "--galaxies", type=report.numbers, default=[2000, 20_000, 200_000]
  )
  parser.add_argument(
    "--to", type=int, default=1_000_000, help="galaxies to extrapolate to"
  )
  parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
  parser.add_argument("--votes", action="store_true")
  options = parser.parse_args(arguments)
  report.end(
    partial(measure, options), lambda found: print(table(found)), options.out
  )


if __name__ == "__main__":
  main()
