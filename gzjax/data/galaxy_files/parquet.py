"""Parquet files with their images inside, as Hugging Face has data sets."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
import contextlib
import json
from pathlib import Path
import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from gzjax.data import bad_images
from gzjax.data.galaxy_catalog import catalog, extras, guess_labels, tables
from gzjax.data.galaxy_catalog.guess import AUTO
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.data.galaxy_catalog.usual_names import (
  DEC,
  IDS,
  LABELS,
  RA,
  by_rank,
)
from gzjax.data.galaxy_catalog.votes import columns_of, read_votes
from gzjax.data.galaxy_files import parts
from gzjax.data.galaxy_files.embedded import Embedded, Images
from gzjax.data.images import check_bytes, whole_rgb
from gzjax.errors import SettingError, UserError
from gzjax.morphology.campaigns import TREES

_BATCH = 64  # images that are read at once
_SHARD = re.compile(r"(?P<part>\w+)-\d{5}-of-(?P<count>\d{5})\b.*\.parquet")
# What follows from the counts that stand beside it.
_DERIVED = ("_fraction", "_total-votes")
_COUNT = re.compile(r"[a-z-]+-\w+_.+")  # <question>-<campaign>_<answer>
_CAMPAIGN = re.compile(r"smooth-or-featured-(?P<name>[a-z]+\d*)_.+")


class Shard(NamedTuple):
  """A file with some of N galaxies."""

  path: Path
  rows: range  # of all N
  image: str  # its column of images
  sizes: np.ndarray  # i64[len(rows)], about how many bytes each image has


class _Item(NamedTuple):
  """An image as it lies in a file."""

  shard: Shard
  row: int  # of the file, from 0 on
  data: bytes | None


def files_of(path: Path) -> list[Path]:
  """The parquet files of a folder: in its data/, in itself, or anywhere below.

  A file is its own; none if there are none.
  """
  if path.is_file():
    return [path] if path.suffix == ".parquet" else []
  for files in ((path / "data").glob("*"), path.glob("*"), path.rglob("*")):
    if found := sorted(file for file in files if file.suffix == ".parquet"):
      return found
  return []


def is_shard(path: Path) -> bool:
  """Whether a file has images inside, or is called as a shard, whole or not."""
  if _SHARD.fullmatch(path.name):
    return True
  try:
    return _image_column(pa.parquet.read_schema(path)) is not None
  except (OSError, pa.ArrowException):
    return False


def read(
  path: Path,
  *,
  id_column: str = AUTO,
  label_column: str = AUTO,
  tree: str = "",
  classes: tuple[str, ...] = (),
) -> Embedded:
  """Reads and checks all of parquet files but their images.

  Args:
    path: a file, or a folder of shards. Their names, such as
      train-00000-of-00007.parquet, say what is train, validation and test.
    id_column: of the galaxies' names; auto: one of a usual name or, without
      any, the part and the place in it.
    label_column: of class names, or of numbers that the file has names for;
      auto: found; "": not read.
    tree: a key of `campaigns.TREES`; "": that of which most galaxies have
      votes. Campaigns with the same tree are merged, see `read_votes`.
    classes: (): those of the file, or all that are there.

  Returns:
    Galaxies with `label`, `counts`, `ra`, `dec` and `split`, where the files
    tell them. No galaxy is left out because nobody answered.

  Raises:
    UserError: naming the file, the row or the column and the mend. Rows are
      counted through all the files.
  """
  files = files_of(path)
  if not files:
    raise SettingError(
      f"catalog is {str(path)!r}: there is no parquet file; give one, or the "
      "folder of the shards."
    )
  shards = _shards(files)
  table, names = _table(shards)
  part = [parts.part_of(x.path) for x in shards for _ in x.rows]
  rows = _rows(path, table, id_column, part)
  frame = pd.DataFrame({"id_str": rows.ids})
  classes, label_note = _add_labels(frame, rows, label_column, classes, names)
  tree, vote_notes = _add_votes(frame, rows, tree, has_labels=bool(classes))
  frame = frame.assign(**_places(rows))
  split, split_notes = parts.split_of(part)
  if split is not None:
    frame["split"] = split
  notes = (
    *_recognised(path, shards, table),
    *label_note,
    *vote_notes,
    *split_notes,
  )
  return Embedded(
    path, frame, classes, tree, _images(shards, list(rows.ids)), notes
  )


@contextlib.contextmanager
def open_file(path: Path) -> Generator[pa.parquet.ParquetFile]:
  """Opens a parquet file; UserError for one that is none, or damaged."""
  try:
    with pa.parquet.ParquetFile(path) as file:
      yield file
  except (OSError, pa.ArrowException) as error:
    raise UserError(
      f"{path} cannot be read as parquet ({error}): download it again."
    ) from error


def _image_column(schema: pa.Schema) -> str | None:
  """The column of encoded images: structs with `bytes`; `image` before others.

  None if there is none.
  """
  found = [field.name for field in schema if _has_bytes(field.type)]
  return "image" if "image" in found else next(iter(found), None)


def _has_bytes(kind: pa.DataType) -> bool:
  if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
    return False
  inner = kind.field("bytes").type
  return pa.types.is_binary(inner) or pa.types.is_large_binary(inner)


def _shards(files: Sequence[Path]) -> list[Shard]:
  found, start = [], 0
  for path in files:
    with open_file(path) as file:
      image = _image_column(file.schema_arrow)
      if image is None:
        raise UserError(
          f"{path} has no column of images, a struct with bytes (it has "
          f"{', '.join(file.schema_arrow.names)}): give a file, or a folder of "
          "files, that has its images inside."
        )
      sizes = _sizes(file.metadata, image)
    found.append(Shard(path, range(start, start + len(sizes)), image, sizes))
    start += len(sizes)
  if not start:
    raise UserError(f"{files[0]} has no rows: download it again.")
  return found


def _sizes(known: pa.parquet.FileMetaData, image: str) -> np.ndarray:
  """About how many bytes the image of each row has: the mean of its group."""
  sizes = []
  for group in map(known.row_group, range(known.num_row_groups)):
    columns = map(group.column, range(group.num_columns))
    size = sum(
      column.total_uncompressed_size
      for column in columns
      if column.path_in_schema.startswith(f"{image}.")
    )
    sizes += [-(-size // max(group.num_rows, 1))] * group.num_rows
  return np.array(sizes, np.int64)


def _table(
  shards: Sequence[Shard],
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
  """All but images, arrays and what is derived; column -> names of classes."""
  found: list[pa.Table] = []
  for shard in shards:
    with open_file(shard.path) as file:
      schema = file.schema_arrow
      names = found[0].column_names if found else _plain(schema)
      if missing := set(names) - set(schema.names):
        raise UserError(
          f"{shard.path} has no column {min(missing)!r}, and "
          f"{shards[0].path.name} has: these are shards of two data sets; keep "
          "those of one."
        )
      found.append(file.read(names))
  whole = pa.concat_tables(found, promote_options="permissive")
  known = {name: _class_names(found[0].schema, name) for name in names}
  return whole.to_pandas(), known


def _plain(schema: pa.Schema) -> list[str]:
  return [
    field.name
    for field in schema
    if not pa.types.is_nested(field.type)
    and not pa.types.is_binary(field.type)
    and not field.name.endswith(_DERIVED)
  ]


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
  """What Hugging Face notes in a file about a column of numbers of classes."""
  try:
    known = json.loads((schema.metadata or {})[b"huggingface"])
    return tuple(known["info"]["features"][column]["names"])
  except (KeyError, TypeError, ValueError):  # there is no such note
    return ()


def _rows(
  path: Path, table: pd.DataFrame, id_column: str, part: Sequence[str]
) -> TableRows:
  """The table with its ids; votes that were not asked for are 0."""
  counts = [
    name
    for name in table
    if _COUNT.fullmatch(name) and pd.api.types.is_numeric_dtype(table[name])
  ]
  table = table.assign(**table[counts].fillna(0))
  usual = by_rank(table.columns, IDS, only=True)
  if id_column == AUTO and not usual:
    return TableRows(path, table, pd.Series(parts.numbered(part)))
  name = usual[0] if id_column == AUTO else id_column
  tables.check_columns(path, table, [name], "id_column")
  return TableRows(path, table, tables.ids_of(path, table, name))


def _add_labels(
  frame: pd.DataFrame,
  rows: TableRows,
  column: str,
  classes: tuple[str, ...],
  names: dict[str, tuple[str, ...]],
) -> tuple[tuple[str, ...], list[str]]:
  """Adds the labels, if there are any; returns the classes and a note."""
  if column == AUTO:
    usual = by_rank(rows.table.columns, LABELS, only=True)
    usual = [x for x in usual if names[x]] or guess_labels.named(rows, usual)
    column = next(iter(usual), "")
  if not column:
    return (), []
  tables.check_columns(rows.path, rows.table, [column], "label_column")
  if names[column]:
    named = _named(rows, column, names[column])
    rows = rows._replace(table=rows.table.assign(**{column: named}))
  found = classes or names[column] or guess_labels.classes_of(rows, column)[0]
  frame["label"] = catalog.labels_of(rows, column, "label_column", found)
  if np.all(frame["label"] < 0):
    raise UserError(
      f"{rows.path} has no label in any row ({column}): give another "
      "label_column."
    )
  return found, [f"the labels are those of the column {column!r}"]


def _named(rows: TableRows, column: str, names: Sequence[str]) -> np.ndarray:
  """Numbers of classes as their names, str[N]; "" for -1 and empty ones."""
  numbers = np.nan_to_num(rows.numbers(column), nan=-1)
  rows.refuse(
    ~np.isin(numbers, np.arange(-1, len(names))),
    lambda i: (
      f"label {numbers[i]:g} is none of the {len(names)} classes, "
      f"0 to {len(names) - 1}"
    ),
    "correct the row, or download the file again",
  )
  return np.array([*names, ""], object)[numbers.astype(int)]


def _add_votes(
  frame: pd.DataFrame, rows: TableRows, wanted: str, *, has_labels: bool
) -> tuple[str, list[str]]:
  """Adds the votes of a tree, if there are any; returns its name and notes."""
  names = [wanted] if wanted else [name for name in TREES if _has(rows, name)]
  found, voted, reason = {}, Counter(), None
  for name in names:
    try:
      found[name] = read_votes(rows, name, "counts")
    except UserError as error:
      if wanted:
        raise
      reason = reason or error
    else:
      voted[name] = int(found[name][0]["counts"].any(axis=1).sum())
  if not found:
    return _no_votes(rows, reason, has_labels=has_labels)
  name, galaxies = voted.most_common(1)[0]
  columns, notes = found[name]
  for key, values in columns.items():
    frame[key] = list(values)
  # Some trees differ only in who is asked.
  apart = {TREES[x].answers: x for x in (*reversed(voted), name)}
  others = [
    f"{other} ({voted[other]:,})" for other in apart.values() if other != name
  ]
  also = f"; also of {', '.join(others)}, see data.tree" if others else ""
  first = f"votes on the tree {name} of {galaxies:,} galaxies{also}"
  return name, [first, *(() if others else notes)]


def _has(rows: TableRows, tree: str) -> bool:
  """Whether the table has the first question of a tree."""
  return columns_of(rows, tree, "counts")[0] is not None


def _no_votes(
  rows: TableRows, reason: UserError | None, *, has_labels: bool
) -> tuple[str, list[str]]:
  if has_labels:
    return "", [f"the votes are not used: {reason}"] if reason else []
  raise reason or UserError(
    f"{rows.path} has no labels, and no votes of a known tree (it has "
    f"{tables.listed(rows.table)}): name the labels as label_column, or a tree "
    f"of {', '.join(TREES)}."
  )


def _places(rows: TableRows) -> dict[str, np.ndarray]:
  named = [by_rank(rows.table.columns, x, only=True) for x in (RA, DEC)]
  if not all(named):
    return {}
  return extras.places(rows, *(names[0] for names in named))


def _recognised(
  path: Path, shards: Sequence[Shard], table: pd.DataFrame
) -> list[str]:
  matches = filter(None, map(_CAMPAIGN.fullmatch, table))
  campaigns = " and ".join(dict.fromkeys(x["name"] for x in matches))
  words = (
    f"{len(shards)} shard{'s' * (len(shards) > 1)}",
    f"campaigns {campaigns}" if " and " in campaigns else campaigns,
    f"{len(table):,} galaxies",
  )
  notes = [f"{path.absolute().name}: {', '.join(filter(None, words))}"]
  named = filter(None, (_SHARD.fullmatch(x.path.name) for x in shards))
  there = Counter((x["part"], int(x["count"])) for x in named)
  notes += [
    f"{count} of the {whole} shards of {part} are there"
    for (part, whole), count in there.items()
    if count < whole
  ]
  return notes


def _images(shards: Sequence[Shard], ids: Sequence[str]) -> Images:
  def read_items(rows):
    for shard in shards:
      inside = rows[(rows >= shard.rows.start) & (rows < shard.rows.stop)]
      if len(inside):
        yield from _items(shard, {*(inside - shard.rows.start).tolist()})

  def encode(item):
    shard, row, data = item
    where = f"row {row + 1} (id {ids[shard.rows[row]]})"
    mend = "download the file again, or take the row out"
    with bad_images.naming(where, f"{shard.path}:{shard.image}", mend):
      if data is None:
        raise ValueError("it has no bytes")
      check_bytes(len(data))
      return whole_rgb(data)

  return Images(
    read_items,
    encode,
    np.concatenate([shard.sizes for shard in shards]),
    [shard.path for shard in shards],
  )


def _items(shard: Shard, wanted: set[int]) -> Iterator[_Item]:
  """Some images of a file, by row groups, some of each at a time."""
  with open_file(shard.path) as file:
    row = 0
    for group in range(file.num_row_groups):
      count = file.metadata.row_group(group).num_rows
      if wanted.isdisjoint(range(row, row + count)):
        row += count
        continue
      column = [f"{shard.image}.bytes"]
      for batch in file.iter_batches(_BATCH, [group], column):
        for cell in batch.column(0).field(0):
          if row in wanted:
            yield _Item(shard, row, cell.as_py())
          row += 1
