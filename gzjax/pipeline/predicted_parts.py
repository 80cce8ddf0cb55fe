"""Predictions of any number of galaxies: part by part, kept, then joined.

Memory holds one part, and a run that was killed goes on after its last whole
part. Images are read as they are, and nothing but the predictions is written.
"""

from collections.abc import Callable, Mapping
from functools import partial
import itertools
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet

from gzjax.data import unlabelled
from gzjax.data.images import to_square
from gzjax.data.unlabelled import Galaxies
from gzjax.files import read_json, to_json, write_json, write_table, write_whole
from gzjax.progress import progress, say

# Of the pixels in memory; a part has so many galaxies, of at most so many.
_PART_BYTES, _PART_GALAXIES = 2**27, 8192

# (their ids, u8[n,S,S,3]) -> tables of what is said of them, by name
Ask = Callable[[pd.Series, np.ndarray], Mapping[str, pd.DataFrame]]


class Parts(NamedTuple):
  """A folder of what is said of N galaxies, in ranges of their rows."""

  folder: Path
  names: tuple[str, ...]  # of the tables
  starts: range  # of the parts

  def files(self, name: str) -> list[Path]:
    """Those of a table, in order."""
    return [self._file(name, start) for start in self.starts]

  def _file(self, name: str, start: int) -> Path:
    return self.folder / f"{name}-{start:09d}.parquet"

  def missing(self) -> list[int]:
    """Starts of the parts that are not whole."""
    return [
      start
      for start in self.starts
      if not all(self._file(name, start).exists() for name in self.names)
    ]

  def write(self, start: int, tables: Mapping[str, pd.DataFrame]) -> None:
    """Keeps a part."""
    for name, table in tables.items():
      write_table(self._file(name, start), table)


def make(
  folder: Path,
  galaxies: Galaxies,
  names: tuple[str, ...],
  ask: Ask,
  *,
  size: int,
  crop: int,
  made_from: Mapping[str, Any],
) -> Parts:
  """Asks about all galaxies, or about those that are left.

  Args:
    folder: of the parts; those of something else are deleted.
    galaxies: where the images lie.
    names: of the tables that `ask` makes.
    ask: see `Ask`.
    size: edge of the images that it gets, pixels, see `to_square`.
    crop: edge of the central square of the files, pixels; 0: whole.
    made_from: what else tells these parts from others.

  Raises:
    UserError: for images that cannot be used, all of which it names; what was
      done stays.
  """
  count = len(galaxies.ids)
  step = int(np.clip(_PART_BYTES // (3 * size * size), 64, _PART_GALAXIES))
  parts = Parts(folder, names, range(0, count, step))
  known = to_json(
    {
      **made_from,
      "galaxies": galaxies.fingerprint,
      "view": [size, crop, step],
      "tables": names,
    }
  )
  if read_json(folder / "made_from.json") != known:
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / "made_from.json", known)
  missing = parts.missing()
  if len(missing) < len(parts.starts):
    say(f"{count - len(missing) * step:,} galaxies are predicted already")
  rows = [range(s, min(s + step, count)) for s in missing]
  left = np.fromiter(itertools.chain(*rows), np.int64)
  square = partial(to_square, crop=crop, size=size)
  found = unlabelled.squares(galaxies, left, square)
  squares = iter(progress(found, len(left), "predicting"))
  for part in rows:
    image = np.stack([*itertools.islice(squares, len(part))])
    ids = galaxies.ids.iloc[part.start : part.stop]
    parts.write(part.start, ask(ids.reset_index(drop=True), image))
  next(squares, None)  # it may have something to say
  return parts


def join(parts: Parts, name: str, path: Path) -> None:
  """Writes a table's parts as one: parquet, or .csv; a part at a time."""
  write = _write_csv if path.suffix == ".csv" else _write_parquet
  write_whole(path, partial(write, parts.files(name)))


def _write_parquet(files: list[Path], path: Path) -> None:
  schema = pyarrow.parquet.read_schema(files[0])
  with pyarrow.parquet.ParquetWriter(path, schema) as writer:
    for file in files:
      writer.write_table(pyarrow.parquet.read_table(file, schema=schema))


def _write_csv(files: list[Path], path: Path) -> None:
  for number, file in enumerate(files):
    table = pd.read_parquet(file)
    table.to_csv(path, mode="a", header=number == 0, index=False)
