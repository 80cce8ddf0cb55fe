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
  if is_parquet_with_images(path):
    return "galaxy_zoo_parquet"
  return "image_folders" if _has_class_folders(path) else None


def is_parquet_with_images(path: Path) -> bool:
  """Whether it is such a file, or a folder with one."""
  return any(map(shards.is_shard, shards.files_of(path)))


def why_not(folder: Path) -> str:
  """What keeps a folder from being galaxies with labels; words and the mend."""
  entries = [x for x in folder.iterdir() if not x.name.startswith(".")]
  if not entries:
    return "is empty: give a table, or a folder with galaxies."
  if tables_there := sorted(x.name for x in filter(tables.is_table, entries)):
    return (
      f"is a folder with the table {tables_there[0]}: give that, "
      f"{folder / tables_there[0]}, and the folder of its images with --images."
    )
  labels = sorted({x.label for x in class_folders.find(folder)})
  filled = [x for x in class_folders.find(folder) if _has_images(x.path)]
  if not filled:
    return f"is a folder: give a table, and the folder as --images={folder}."
  if len(labels) > MOST_CLASSES:
    return (
      f"has {len(labels)} folders with images, and 2 to {MOST_CLASSES} can be "
      f"classes: give a table, and the folder as --images={folder}."
    )
  names = sorted({x.label for x in filled})
  empty = [x for x in labels if x not in names]
  also = f" beside empty ones ({', '.join(empty)})" if empty else ""
  return (
    f"has one class folder with images ({names[0]}){also}, and two are needed: "
    "add those of the other classes, each in a folder of its own."
  )


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
  filled = (x for x in folders if _has_images(x.path))
  return len({folder.label for folder in filled}) > 1


def _has_images(folder: Path) -> bool:
  return bool(class_folders.images_of(folder))
