"""Which reader a file or a folder of galaxies is for, by its content."""

from pathlib import Path
from typing import NamedTuple

from gzjax.data.galaxy_catalog import tables
from gzjax.data.galaxy_catalog.guess_labels import MOST_CLASSES
from gzjax.data.galaxy_catalog.usual_names import LABELS, by_rank
from gzjax.data.galaxy_files import class_folders, hdf5, shards


class Seen(NamedTuple):
  """What a first look at a file or a folder tells."""

  reader: str  # a name of `builders.READERS`
  galaxies: int
  has_labels: bool  # or only votes


def reader_of(path: Path) -> str | None:
  """The reader of what has its images inside; None for a table and others.

  That is parquet with a column of images, HDF5 in one of `hdf5.LAYOUTS`, a
  folder of either, or one of class folders without a table beside them.

  Raises:
    UserError: for HDF5 that is damaged or of none of the layouts.
  """
  if files := hdf5.files_of(path):
    return hdf5.layout_of(files[0])
  if any(map(shards.is_shard, shards.files_of(path))):
    return "galaxy_zoo_parquet"
  return "image_folders" if _has_class_folders(path) else None


def look(path: Path) -> Seen | None:
  """What is found out before all is read; None where `reader_of` has none.

  Raises:
    UserError: for a file that is damaged.
  """
  reader = reader_of(path)
  if reader is None:
    return None
  if reader == "galaxy_zoo_parquet":
    return _look_at_parquet(path)
  if reader in hdf5.LAYOUTS:
    count = sum(map(hdf5.galaxies_in, hdf5.files_of(path)))
  else:
    folders = class_folders.find(path)
    count = sum(len(class_folders.images_of(x.path)) for x in folders)
  return Seen(reader, count, has_labels=True)


def _look_at_parquet(path: Path) -> Seen:
  count, columns = 0, []
  for file in shards.files_of(path):
    with shards.open_file(file) as opened:
      count += opened.metadata.num_rows
      columns = opened.schema_arrow.names
  labels = by_rank(columns, LABELS, only=True)
  return Seen("galaxy_zoo_parquet", count, has_labels=bool(labels))


def _has_class_folders(path: Path) -> bool:
  if not path.is_dir() or any(map(tables.is_table, path.iterdir())):
    return False
  folders = class_folders.find(path)
  if not 2 <= len({folder.label for folder in folders}) <= MOST_CLASSES:
    return False
  filled = (x for x in folders if class_folders.images_of(x.path))
  return len({folder.label for folder in filled}) > 1
