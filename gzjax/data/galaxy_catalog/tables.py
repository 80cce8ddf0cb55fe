"""Any table to a frame, and rows that can be named in a message."""

import codecs
from collections.abc import Callable, Iterable, Sequence
import csv
from functools import partial
import gzip
import os
from pathlib import Path
import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet

from gzjax import stand_ins
from gzjax.data.galaxy_catalog.fits_images import astropy, is_fits
from gzjax.data.galaxy_catalog.usual_names import IDS, LABELS, NAMES, by_rank
from gzjax.errors import SettingError, UserError

FORMATS = "CSV, CSV.gz, parquet, FITS or VOTable"
_VOTABLE = (".vot", ".xml", ".votable", ".vot.gz", ".xml.gz", ".votable.gz")
_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".ecsv")
# What a message shows.
_LONGEST_CELL = 40  # characters
_MOST_NAMES = 20  # of columns
_SEPARATORS = ",;\t|"
_BLANKS = r"\s+"
_SKYSERVER = re.compile(r"#Table\d+\s*$")  # its first line
_BLOCK = 1 << 20  # bytes
_CELL_BYTES = 8
# As 5.877229817361e+17 and 587722981736120347.0; 1e5 may well be a name.
_ROUNDED = r"\d\.\d+[eE]\+?\d+|\d{16,}\.\d*"


def is_table(path: Path) -> bool:
  """Whether the ending of a name is one of those of tables."""
  name = path.name.lower()
  return is_fits(path) or name.endswith((*_VOTABLE, *_CSV, ".parquet"))


def read_table(path: Path) -> pd.DataFrame:
  """Reads a table by the ending of its name.

  .parquet; .fits, .fit (first table; its columns of several numbers a row are
  left out); .vot, .votable, .xml (first table); anything else is CSV, divided
  by commas, semicolons, tabs, bars or blanks, or ECSV; lines of comments (#)
  may come first. FITS, VOTable and CSV may be gzipped. Columns of a CSV file
  are text; others have their own type in native byte order, masked cells are
  missing.

  Raises:
    UserError: naming the file if it is missing, empty or not such a table.
  """
  if not path.is_file():
    raise SettingError(
      f"catalog is {str(path)!r}: there is no such file; give a table "
      f"({FORMATS})."
    )
  if told := stand_ins.told(path):
    raise UserError(f"{path} cannot be read as a table: {told}")
  try:
    table = _reader(path)(path)
  except UserError:
    raise
  except Exception as error:  # the parsers raise many kinds
    raise UserError(
      f"{path} cannot be read as a table ({error}): give {FORMATS}."
    ) from error
  if table.empty:
    raise UserError(f"{path} has no rows: give a catalogue with galaxies.")
  return table.set_axis(_names(path, table.columns), axis=1)


def _names(path: Path, columns: Iterable[Any]) -> pd.Index:
  """Names of columns as text; UserError if two are the same."""
  names = pd.Index([str(name).strip() for name in columns])
  twice = names[names.duplicated()]
  if len(twice):
    raise UserError(
      f"{path} has two columns {twice[0]!r}: rename or delete one of them."
    )
  return names


def read_text(path: Path) -> pd.DataFrame:
  """Reads a table as `read_table` does, all of it as text, "" where empty."""
  table = read_table(path)
  return table.astype(object).where(table.notna(), "").astype(str)


def _reader(path):
  if is_fits(path):
    return _read_fits
  if path.name.lower().endswith(_VOTABLE):
    return _read_votable
  if path.suffix.lower() == ".parquet":
    return _read_parquet
  return _read_csv


def _read_parquet(path):
  known = pyarrow.parquet.read_metadata(path)
  _names(path, known.schema.to_arrow_schema().names)  # pyarrow reads no two
  groups = (known.row_group(i) for i in range(known.num_row_groups))
  # Equal values take no room in the file, but in memory they do.
  cells = known.num_rows * known.num_columns * _CELL_BYTES
  _check_size(max(cells, sum(group.total_byte_size for group in groups)))
  found = pyarrow.parquet.read_table(path)
  found.validate(full=True)  # pandas would stumble over text that is none later
  return found.to_pandas()


def _check_size(size: int) -> None:
  """ValueError for so many bytes as would fill the memory."""
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  if size > memory / 2:
    raise ValueError(
      f"unpacked it takes {size / 2**30:,.0f} GiB, more than half of the memory"
    )


class _Layout(NamedTuple):
  """How a text is divided."""

  skipped: int  # lines
  separator: str  # a character, or `_BLANKS`
  names: list[str] | None = (
    None  # None: they are in the first line that is left
  )


def _read_csv(path):
  encoding = _encoding(path)
  layout = _layout(path, encoding)
  # Everything as text: ids of 18 digits must never become floats. The names as
  # rows: pandas renames what is there twice.
  found = pd.read_csv(
    path,
    sep=layout.separator,
    skiprows=layout.skipped,
    skipinitialspace=True,
    dtype=str,
    keep_default_na=False,
    header=None,
    encoding=encoding,
  )
  if layout.names:
    return found.set_axis(layout.names, axis=1)
  first, *others = found.iloc[0]
  table = found.iloc[1:].reset_index(drop=True)
  return table.set_axis([first.removeprefix("#"), *others], axis=1)


def _layout(path: Path, encoding: str) -> _Layout:
  """How many lines of comments come first, and what divides the columns.

  Comments begin with #; the last of them has the names if it is divided as the
  line after it is. ECSV says by what it is divided, and else it is by blanks.
  """
  comments, (line, after) = _first_lines(path, encoding)
  if comments and "%ECSV" in comments[0]:
    said = re.search(r"^# delimiter: '?([,;|\t])", "".join(comments), re.M)
    return _Layout(len(comments), said[1] if said else " ")
  last = comments[-1] if comments else ""
  if _SKYSERVER.match(last) or not last.startswith("#"):
    last = ""
  if last:
    separator = _separator(last)
    if _cells(last, separator) == _cells(line, separator) > 1:
      return _Layout(len(comments) - 1, separator)
  if blanks := _by_blanks(len(comments), last, line, after):
    return blanks
  is_one_column = last and _cells(last, ",") == _cells(line, ",") == 1
  return _Layout(len(comments) - bool(is_one_column), _separator(line))


def _first_lines(path: Path, encoding: str) -> tuple[list[str], list[str]]:
  """The comments and empty lines before a text, and its first two lines."""
  comments, lines = [], []
  with _opener(path)(path, "rt", encoding=encoding) as file:
    for line in file:
      if line.strip() and (lines or not line.startswith("#")):
        lines.append(line)
      elif not lines:
        comments.append(line)
      if len(lines) == 2:
        break
  return comments, [*lines, "", ""][:2]


def _by_blanks(
  skipped: int, comment: str, line: str, after: str
) -> _Layout | None:
  """The layout of columns with blanks between them; None if it is another.

  The names are those of the comment, if it has as many as the line after it,
  unless that one is called more like names.
  """
  if any(x in line for x in _SEPARATORS):
    return None
  last, first, second = (
    _words(text) for text in (comment.removeprefix("#"), line, after)
  )
  ways = [
    _Layout(count, _BLANKS, names)
    for count, names, cells in (
      (skipped, last, first),
      (skipped + 1, first, second),
    )
    if len(names) == len(cells) > 1
  ]
  usual = (*IDS, *NAMES, *LABELS)
  ways.sort(key=lambda way: not by_rank(way.names or [], usual, only=True))
  return ways[0] if ways else None


def _words(line: str) -> list[str]:
  """What stands between blanks, or in quotes."""
  reader = csv.reader([line.strip()], delimiter=" ", skipinitialspace=True)
  return next(reader, [])


def _cells(line: str, separator: str) -> int:
  """How many columns a line has."""
  return len(next(csv.reader([line], delimiter=separator)))


def _separator(line: str) -> str:
  return max(_SEPARATORS, key=line.count)


def _opener(path: Path) -> Callable:
  return gzip.open if path.suffix.lower() == ".gz" else open


def _encoding(path: Path) -> str:
  """That of a text file; what is no Unicode is Windows' western European."""
  with _opener(path)(path, "rb") as file:
    start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
      return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
      decoder.decode(start)
      for number, block in enumerate(iter(partial(file.read, _BLOCK), b"")):
        _check_size(number * _BLOCK)
        decoder.decode(block)
    except UnicodeDecodeError:
      return "cp1252"
  return "utf-8-sig"


def _read_fits(path):
  fits = astropy("io.fits", path)
  kinds = (fits.BinTableHDU, fits.TableHDU)
  with path.open("rb") as file, fits.open(file, memmap=False) as units:
    tables = [unit for unit in units if isinstance(unit, kinds)]
    if not tables:
      raise ValueError("it holds no table")
    return _to_frame(
      astropy("table", path).Table.read(
        tables[0], character_as_bytes=False, unit_parse_strict="silent"
      )
    )


def _read_votable(path):
  votable = astropy("io.votable", path)
  # IDs may be anything, such as col1.
  table = votable.parse_single_table(path)
  return _to_frame(table.to_table(use_names_over_ids=True))


def _to_frame(table):
  table.keep_columns([name for name in table.colnames if table[name].ndim == 1])
  frame = table.to_pandas()
  for name in frame.columns:
    if frame[name].dtype.kind == "O":
      # What astropy leaves as bytes is no text: UnicodeDecodeError says where.
      frame[name] = frame[name].map(_decoded)
  return frame


def _decoded(cell):
  return cell.decode() if isinstance(cell, bytes) else cell


class TableRows(NamedTuple):
  """A table of N galaxies whose rows can be named in a message."""

  path: Path
  table: pd.DataFrame
  ids: pd.Series  # str

  def cell(self, name: str, i: int) -> str:
    """The content of a cell for a message."""
    if self.empty(name)[i]:
      return f"column {name!r} is empty"
    text = str(self.table[name].iloc[i])
    if len(text) > _LONGEST_CELL:
      text = text[:_LONGEST_CELL] + "..."
    return f"column {name!r} is {text!r}"

  def refuse(
    self, bad: np.ndarray, what: Callable[[int], str], mend: str
  ) -> None:
    """Raises UserError if a row is `bad`, bool[N], which names the first one.

    `what` says what is wrong with a row, counted from 0, and `mend` what to do.
    """
    if bad.any():
      i = int(bad.argmax())
      raise UserError(
        f"{self.path}, row {i + 1} (id {self.ids.iloc[i]}): {what(i)} "
        f"({bad.sum()} such rows): {mend}."
      )

  def refuse_empty(self, name: str) -> None:
    """Like `refuse`, for rows in which a column has no value."""
    self.refuse(
      self.empty(name),
      lambda i: f"column {name!r} is empty",
      "fill it in or take the row out",
    )

  def text(self, name: str) -> pd.Series:
    """A column as text without outer spaces, "" where it is empty.

    Whole numbers have no point: with empty cells they were stored as floats.
    """
    column = self.table[name]
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
      column = column.astype("Int64")
    return column.astype(str).str.strip().mask(self.empty(name), "")

  def empty(self, name: str) -> np.ndarray:
    """Where a column has no value, bool[N]."""
    column = self.table[name]
    missing = column.isna()
    if not pd.api.types.is_numeric_dtype(column):
      missing |= column.astype(str).str.strip().str.lower().isin(("", "nan"))
    return missing.to_numpy(bool)

  def numbers(self, name: str) -> np.ndarray:
    """A column as f64[N], NaN where it is empty or no number."""
    column = pd.to_numeric(self.table[name], errors="coerce")
    return column.to_numpy(np.float64, na_value=np.nan)


def ids_of(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
  """The ids of N galaxies, str[N], out of a column that the table has.

  Raises:
    UserError: naming the first row whose id is empty or that of another one.
  """
  if pd.api.types.is_float_dtype(table[name]):
    raise UserError(
      f"{path}: column {name!r} holds floats, which cannot hold ids of 18 "
      "digits: store the ids as integers or text."
    )
  ids = table[name].astype(str).str.strip()
  empty = np.flatnonzero(table[name].isna() | (ids == ""))
  if len(empty):
    raise UserError(
      f"{path}, row {empty[0] + 1}: column {name!r} is empty: give every "
      "galaxy an id."
    )
  rounded = np.flatnonzero(ids.str.fullmatch(_ROUNDED))
  if len(rounded):
    raise UserError(
      f"{path}, row {rounded[0] + 1}: the id is {ids.iloc[rounded[0]]!r} "
      f"({len(rounded)} such rows): some program stored the ids as floats, "
      "which lose digits; take them from where they came from, as text."
    )
  repeated = np.flatnonzero(ids.duplicated())
  if len(repeated):
    i = repeated[0]
    first = int(np.flatnonzero(ids == ids.iloc[i])[0])
    raise UserError(
      f"{path}, row {i + 1} (id {ids.iloc[i]}) repeats the id of row "
      f"{first + 1} ({len(repeated)} such rows): keep one row for each galaxy."
    )
  return ids


def check_columns(
  path: Path, table: pd.DataFrame, names: Sequence[str], argument: str
) -> None:
  """Checks that a table has the columns that an argument names.

  Raises:
    UserError: with the first missing one.
  """
  missing = [name for name in names if name not in table.columns]
  if missing:
    raise UserError(
      f"{path} has no column {missing[0]!r} (it has {listed(table)}): give the "
      f"right name as {argument}."
    )


def listed(table: pd.DataFrame) -> str:
  """The columns of a table for a message."""
  names = [str(name) for name in table.columns]
  more = len(names) - _MOST_NAMES
  known = ", ".join(names[:_MOST_NAMES])
  return known + (f" and {more} more" if more > 0 else "")
