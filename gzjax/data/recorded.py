"""What was recorded of galaxies, but for their images, as one table."""

import collections
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gzjax import digests, progress
from gzjax.errors import DamagedError
from gzjax.files import read_json, write_json, write_table

_TABLE, _NOTE = FILES = ("table.parquet", "table.json")


def of_columns(
  types: Mapping[str, np.dtype], columns: Mapping[str, Any]
) -> pd.DataFrame:
  """The table of N galaxies, a row each, its columns by name.

  Vectors become a column for each element: `counts/0`, `counts/1`, ...

  Args:
    types: of the features, as which they are recorded.
    columns: N values of each, [N] or [N,A].
  """
  found: dict[str, np.ndarray] = {}
  for name in sorted(types):
    is_text = np.dtype(types[name]).kind in "OSU"
    values = np.asarray(columns[name], str if is_text else types[name])
    if values.ndim == 1:
      # Of single numbers TFDS reads 32 bits as Python's, which have 64.
      is_single = values.dtype == np.float32
      found[name] = values.astype(np.float64) if is_single else values
    else:
      found |= {f"{name}/{i}": part for i, part in enumerate(values.T)}
  return pd.DataFrame(found)


def of_records(records: Iterable[dict[str, Any]], count: int) -> pd.DataFrame:
  """The same of records, which are read one by one; their images are let go."""
  columns: dict[str, list[Any]] = collections.defaultdict(list)
  for record in progress.progress(records, count, "reading the table"):
    del record["image"]
    for name, value in record.items():
      text = isinstance(value, bytes)
      columns[name].append(value.decode() if text else value)
  types = {name: np.asarray(x[0]).dtype for name, x in columns.items()}
  return of_columns(types, columns)


def write(folder: Path, table: pd.DataFrame) -> None:
  """Keeps a table in the folder of its data set, with its digest."""
  write_table(folder / _TABLE, table)
  write_json(folder / _NOTE, {"sha256": digests.of_file(folder / _TABLE)})


def read(folder: Path, columns: list[str] | None = None) -> pd.DataFrame | None:
  """The table that was kept, or some columns of it.

  None if there is none or it is not whole.
  """
  path = folder / _TABLE
  if not path.exists():
    return None
  if not _is_whole(path, folder / _NOTE):
    progress.say(f"{path} is damaged: reading the records again")
    return None
  return pd.read_parquet(path, columns=columns)


def _is_whole(path: Path, note: Path) -> bool:
  """Whether a file has the digest of its note, if it has one."""
  try:
    known = read_json(note)
  except DamagedError:
    return False
  return known is None or known == {"sha256": digests.of_file(path)}
