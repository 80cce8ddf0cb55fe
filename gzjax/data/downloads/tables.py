"""Reading the tables of Galaxy Zoo: only the columns that are needed.

Identifiers stay text, since those of 18 digits do not survive as floats.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow.parquet

from gzjax.data.downloads.archives import OpenFile
from gzjax.errors import UserError
from gzjax.morphology.trees import column_key, find_columns

_ROWS_AT_ONCE = 20_000


class Numbers(NamedTuple):
  """A group of k columns of numbers."""

  columns: Sequence[str]
  dtype: type = np.float32
  least: float = 0.0
  empty: float | None = None  # what an empty cell means; None: a mistake
  optional: bool = False  # a column that is not there has empty cells only


def read_table(
  file: OpenFile, name: str, text: Sequence[str], numbers: Mapping[str, Numbers]
) -> dict[str, np.ndarray]:
  """Reads columns of a CSV or parquet file, in any spelling of their names.

  The ending of the file's name tells its kind.

  Returns:
    For each column of `text` str[N] (NumPy objects) without spaces around it,
    for each group of `numbers` an array [N,k] of its dtype.

  Raises:
    UserError: naming the file, the column or the row, and the mend.
  """
  found: dict[str, list[np.ndarray]] = {key: [] for key in (*text, *numbers)}
  wanted = [*text, *(c for group in numbers.values() for c in group.columns)]
  row = 1
  try:
    for chunk in _chunks(file, name, wanted):
      here = dict(zip(wanted, find_columns(wanted, list(chunk.columns))))
      _check_columns(name, here, text, numbers)
      for column in text:
        found[column].append(_text(name, row, chunk[here[column]]))
      absent = pd.Series(np.nan, chunk.index)
      for key, group in numbers.items():
        cells = (chunk.get(here[column], absent) for column in group.columns)
        parts = [_numbers(name, row, column, group) for column in cells]
        found[key].append(np.stack(parts, axis=1))
      row += len(chunk)
  except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as e:
    raise UserError(
      f"{name} cannot be read as a table ({e}): download it again."
    ) from e
  if row == 1:
    raise UserError(f"{name} has no rows: download it again.")
  return {key: np.concatenate(parts) for key, parts in found.items()}


def check_ids(name: str, ids: np.ndarray) -> None:
  """Raises UserError for ids str[N] that are not whole numbers, as 5.9e+17."""
  bad = np.flatnonzero(~pd.Series(ids).str.fullmatch(r"\d+"))
  if len(bad):
    raise UserError(
      f"{name}, row {bad[0] + 1}: the id is {ids[bad[0]]!r}, not a whole "
      f"number ({len(bad)} such rows): some program stored the ids as floats, "
      "which lose digits; use the file as it was downloaded."
    )


def repeated(ids: np.ndarray) -> np.ndarray:
  """Which of the ids str[N] stand in an earlier row, too: bool[N]."""
  return pd.Series(ids).duplicated().to_numpy()


def _chunks(
  file: OpenFile, name: str, wanted: Sequence[str]
) -> Iterator[pd.DataFrame]:
  """Frames with those of the wanted columns that the file has."""
  keys = {column_key(column) for column in wanted}
  if name.endswith(".parquet"):
    parquet = pyarrow.parquet.ParquetFile(file)
    columns = [c for c in parquet.schema_arrow.names if column_key(c) in keys]
    for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=columns):
      yield batch.to_pandas()
    return
  with pd.read_csv(
    file,
    dtype=str,
    keep_default_na=False,
    usecols=lambda column: column_key(column) in keys,
    encoding="utf-8-sig",
    chunksize=_ROWS_AT_ONCE,
  ) as reader:
    yield from reader


def _check_columns(name, here, text, numbers):
  groups = [group for group in numbers.values() if not group.optional]
  required = [*text, *(c for group in groups for c in group.columns)]
  missing = [column for column in required if here[column] is None]
  if missing:
    raise UserError(
      f"{name} has no column {missing[0]!r} ({len(missing)} of "
      f"{len(required)} columns are missing): use the file as it was "
      "downloaded."
    )


def _text(name, row, cells: pd.Series) -> np.ndarray:
  if pd.api.types.is_float_dtype(cells):
    raise UserError(
      f"{name}: column {cells.name!r} holds floats, which lose digits of ids: "
      "use the file as it was downloaded."
    )
  values = cells.astype(str).str.strip()
  empty = np.flatnonzero(cells.isna() | (values == ""))
  if len(empty):
    raise UserError(
      f"{name}, row {row + empty[0]}: column {cells.name!r} is empty: use the "
      "file as it was downloaded."
    )
  return values.to_numpy(object)


def _numbers(name, row, cells: pd.Series, group: Numbers) -> np.ndarray:
  values = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64).copy()
  odd = np.flatnonzero(~(np.isfinite(values) & (values >= group.least)))
  words = cells.iloc[odd].astype(str).str.strip().str.lower()
  empty = (words.isna() | words.isin(("", "nan"))).to_numpy(bool)
  mistakes = odd if group.empty is None else odd[~empty]
  if len(mistakes):
    i = mistakes[0]
    raise UserError(
      f"{name}, row {row + i}: column {cells.name!r} is {cells.iloc[i]!r}, not "
      f"a number from {group.least:g} up ({len(mistakes)} such rows): use the "
      "file as it was downloaded."
    )
  values[odd] = group.empty
  return values.astype(group.dtype)
