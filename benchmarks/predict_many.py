"""Predictions of many galaxies: memory, speed, and what kill -9 does to them.

    python -m benchmarks.predict_many --folder=runs/many --galaxies=10000,100000

Writes synthetic images of 24 pixels and a table of them, trains a small network
on some of them, and lets `gzjax predict` go through all: once unbroken, and,
for the largest number, once killed with SIGKILL two times on the way. Printed
are seconds, galaxies a second and the peak of the memory (VmHWM, Linux); the
predictions of both must be equal, byte for byte.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks import report
from gzjax.errors import UserError

_SIZE = 24
_CLASSES = ("dark", "middle", "bright")
_TRAINED = 600  # galaxies with a label
_FOLDER = 1000  # images in a folder
_NAP = 0.02  # seconds


def write_galaxies(folder: Path, count: int) -> Path:
  """A table of so many galaxies and their images, which are not written twice.

  The first `_TRAINED` have a label.
  """
  rng = np.random.default_rng(0)
  names = [f"{i // _FOLDER:05d}/{i:08d}.png" for i in range(count)]
  label = np.arange(count) % len(_CLASSES)
  for i, name in enumerate(names):
    path = folder / "images" / name
    noise = rng.normal(60 + 70 * label[i], 25, (_SIZE, _SIZE, 3))
    if path.exists():
      continue
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    image.save(path, compress_level=1)
  table = pd.DataFrame({"id_str": [f"g{i}" for i in range(count)]})
  table["file"] = names
  table["label"] = np.asarray(_CLASSES)[label]
  table.loc[_TRAINED:, "label"] = ""
  path = folder / f"galaxies_{count}.csv"
  table.to_csv(path, index=False)
  return path


def train(folder: Path, table: Path) -> Path:
  """A run whose network has learned the labels of the table."""
  run = folder / "run"
  _call(
    *("train", str(table), f"--images={folder / 'images'}"),
    *(f"--workdir={run}", f"--data_dir={folder / 'tfds'}"),
    *("--config.data.size=24", "--config.model.name=cnn"),
    *("--config.model.width=8", "--config.train.epochs=2"),
    *("--config.train.batch_size=32", "--config.unlearn.batch_size=32"),
  ).wait()
  return run


def predict(
  run: Path, table: Path, images: Path, kills: int = 0
) -> tuple[float, float]:
  """Seconds, and the peak of the memory in MiB, of the last of all tries.

  Each of the first `kills` is killed once it has kept a part.
  """
  parts = run / "predictions_parts"
  start, peak = time.perf_counter(), 0.0
  for attempt in range(kills + 1):
    before = len([*parts.glob("original-*")])
    process = _call("predict", str(table), f"--images={images}",
                    f"--workdir={run}")  # fmt: skip
    while process.poll() is None:
      peak = max(peak, _peak_of(process.pid))
      more = len([*parts.glob("original-*")]) > before
      if attempt < kills and more:
        process.send_signal(signal.SIGKILL)
        process.wait()
      time.sleep(_NAP)
    if attempt == kills and process.returncode:
      raise UserError(f"predict ended with {process.returncode}")
  return time.perf_counter() - start, peak


def _call(*arguments: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-m", "gzjax.pipeline.launch", *arguments],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )


def _peak_of(pid: int) -> float:
  """VmHWM of a process, MiB; 0 if it is gone."""
  try:
    status = Path(f"/proc/{pid}/status").read_text()
  except OSError:
    return 0.0
  lines = [x for x in status.splitlines() if x.startswith("VmHWM")]
  return int(lines[0].split()[1]) / 1024 if lines else 0.0


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Writes, trains, predicts, kills and compares.

  Raises:
    UserError: if what was killed on the way predicts something else.
  """
  folder = options.folder.absolute()
  counts = sorted(options.galaxies)
  tables = {count: write_galaxies(folder, count) for count in counts}
  run, images = train(folder, tables[counts[0]]), folder / "images"
  rows = []
  for count, table in tables.items():
    seconds, peak = predict(run, table, images)
    rows.append({"galaxies": count, "seconds": seconds, "peak_mib": peak})
    print(
      f"{count:,} galaxies: {seconds:.0f} s, {count / seconds:,.0f} a second, "
      f"peak {peak:,.0f} MiB",
      flush=True,
    )
  result = run / "predictions.parquet"
  whole = result.read_bytes()
  predict(run, tables[counts[-1]], images, kills=options.kills)
  if result.read_bytes() != whole:
    raise UserError(f"killed {options.kills} times: NOT EQUAL")
  return {"kills": options.kills, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
  """Measures, prints and writes."""
  parser = report.parser(__doc__, "the result, .json")
  parser.add_argument("--folder", type=Path, required=True)
  parser.add_argument(
    "--galaxies", type=report.numbers, default=[10_000, 100_000]
  )
  parser.add_argument("--kills", type=int, default=2)
  options = parser.parse_args(arguments)

  def show(found):
    print(f"killed {found['kills']} times: equal")

  report.end(partial(measure, options), show, options.out)


if __name__ == "__main__":
  main()
