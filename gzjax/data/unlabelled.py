"""Galaxies to predict, which need no labels: where their images lie.

A table and a folder of images, what has its images inside, class folders, and
any other folder of images. Pixels are read later, as they are needed.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gzjax.data import bad_images
from gzjax.data.galaxy_catalog import catalog as catalogs
from gzjax.data.galaxy_catalog.catalog import Catalog
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_catalog.guess import AUTO
from gzjax.data.galaxy_catalog.tables import FORMATS, TableRows
from gzjax.data.galaxy_files import (
  class_folders,
  embedded,
  hdf5,
  parquet,
  recognise,
)
from gzjax.data.galaxy_files.embedded import Embedded

TAKEN = (
  f"a table ({FORMATS}) with --images=FOLDER, a folder of images, class "
  "folders, parquet with images inside, or HDF5"
)


class Galaxies(NamedTuple):
  """N galaxies in the order of their rows."""

  ids: pd.Series  # str
  # Rows i64[n], ascending -> items, read as they are taken.
  items: Callable[[np.ndarray], Iterable[Any]]
  # An item -> its encoded image; BadImageError names its row and file.
  encode: Callable[[Any], bytes]
  fingerprint: str  # changes when galaxies or their images do
  notes: tuple[str, ...] = ()
  # What else is told of them; of folders `folder`, that of each image.
  rows: TableRows | None = None


def of_catalog(found: Catalog, rows: TableRows | None = None) -> Galaxies:
  """Those of image files; `rows` are the table's, with others maybe."""
  ids, kept = found.frame["id_str"], found.frame.index
  if rows is not None:
    rows = rows._replace(table=rows.table.loc[kept], ids=rows.ids[kept])
  return Galaxies(
    ids.reset_index(drop=True),
    lambda places: places,
    catalogs.reader(found),
    catalogs.fingerprint(found),
    found.notes,
    rows,
  )


def of_files(found: Embedded) -> Galaxies:
  """Those inside of files."""
  images, places = found.images, found.frame.index.to_numpy()
  return Galaxies(
    found.frame["id_str"].reset_index(drop=True),
    lambda rows: images.read(places[rows]),
    images.encode,
    embedded.fingerprint(found),
    found.notes,
  )


def is_table(path: Path) -> bool:
  """Whether galaxies are the rows of a table, or nothing is there."""
  return not path.is_dir() and _files_reader(path) is None


def find(
  path: Path, stretch: Stretch, id_column: str = AUTO, *, skip_bad: bool = False
) -> Galaxies:
  """The galaxies of what is no table: of a folder, or of files with images.

  Args:
    path: what `is_table` is not true of.
    stretch: of FITS images.
    id_column: of parquet; auto: one of a usual name, or they are numbered.
    skip_bad: whether galaxies are left out whose images cannot be used.

  Raises:
    UserError: naming the file or the folder and the mend.
  """
  reader = _files_reader(path)
  if reader is None:
    found = class_folders.read_images(path, stretch, TAKEN)
    if skip_bad:
      found = catalogs.without_bad_images(found)
    folders = [Path(file).parent.name for file in found.frame["file"]]
    table = pd.DataFrame({"folder": folders})
    rows = TableRows(path, table, found.frame["id_str"].reset_index(drop=True))
    return of_catalog(found)._replace(rows=rows)
  inside = (
    parquet.read_images(path, id_column)
    if reader is parquet
    else hdf5.read_images(path)
  )
  return of_files(embedded.without_bad_images(inside) if skip_bad else inside)


def _files_reader(path: Path) -> Any:
  """The module that reads what has images inside; None for anything else."""
  if hdf5.files_of(path):
    return hdf5
  return parquet if recognise.is_parquet_with_images(path) else None


def squares(
  galaxies: Galaxies,
  rows: np.ndarray,
  square: Callable[[bytes], np.ndarray],
) -> Iterable[np.ndarray]:
  """The images of some rows, i64[n]; see `bad_images.read_all`."""
  return bad_images.read_all(
    lambda item: square(galaxies.encode(item)), galaxies.items(rows), len(rows)
  )
