"""Parquet files with images inside: opened, and read piece by piece."""

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

from gzjax import stand_ins
from gzjax.data import bad_images
from gzjax.data.galaxy_files.embedded import Images
from gzjax.data.images import check_bytes, whole_rgb
from gzjax.errors import UserError

_BATCH = 64  # images that are read at once
NAME = re.compile(r"(?P<part>\w+)-\d{5}-of-(?P<count>\d{5})\b.*\.parquet")
# What follows from the counts that stand beside it.
_DERIVED = ("_fraction", "_total-votes")


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
  if NAME.fullmatch(path.name):
    return True
  try:
    return _image_column(pa.parquet.read_schema(path)) is not None
  except (OSError, pa.ArrowException):
    return False


@contextlib.contextmanager
def open_file(path: Path) -> Generator[pa.parquet.ParquetFile]:
  """Opens a parquet file; UserError for one that is none, or damaged."""
  try:
    with pa.parquet.ParquetFile(path) as file:
      yield file
  except (OSError, pa.ArrowException) as error:
    told = stand_ins.told(path)
    words = f": {told}" if told else f" ({error}): download it again."
    raise UserError(f"{path} cannot be read as parquet{words}") from error


def find(files: Sequence[Path]) -> list[Shard]:
  """The shards of N galaxies, in the order of the files.

  Raises:
    UserError: naming the file that is damaged, has no images or no rows.
  """
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


def read_table(
  shards: Sequence[Shard],
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
  """All N rows, but for images, arrays and what is derived.

  Returns:
    The table, and of each column the names of classes that its file notes.

  Raises:
    UserError: naming the file that lacks a column of the first one.
  """
  with open_file(shards[0].path) as file:
    schema = file.schema_arrow
  names, found = _plain(schema), []
  for shard in shards:
    with open_file(shard.path) as file:
      if missing := set(names) - set(file.schema_arrow.names):
        raise UserError(
          f"{shard.path} has no column {min(missing)!r}, and "
          f"{shards[0].path.name} has: these are shards of two data sets; keep "
          "those of one."
        )
      found.append(file.read(names))
  whole = pa.concat_tables(found, promote_options="permissive")
  known = {name: _class_names(schema, name) for name in names}
  return whole.to_pandas(ignore_metadata=True), known


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


def images_of(shards: Sequence[Shard], ids: Sequence[str]) -> Images:
  """The images of N galaxies, which their ids name in a message."""

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
