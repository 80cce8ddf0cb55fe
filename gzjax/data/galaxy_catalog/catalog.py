"""Reading and checking a catalogue of galaxies: a table and its images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gzjax.data import bad_images, frames
from gzjax.data.galaxy_catalog import (
  extras,
  fits_images,
  image_files,
  tables,
)
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_catalog.images import read_image
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.data.galaxy_catalog.votes import read_columns, read_votes
from gzjax.errors import SettingError, UserError
from gzjax.morphology import campaigns


class Columns(NamedTuple):
  """Which columns of the table hold what; names as they stand in it."""

  id: str = "id_str"
  file: str = "file_loc"  # "": not needed by the pattern of the files
  label: str = "label"  # "": the class with the most votes, or none
  votes: tuple[str, ...] = ()  # one per class
  tree: str = ""  # see `campaigns.find`: its votes are found by name
  vote_form: str = "counts"  # of the tree's columns; or fractions
  crop: str = ""  # edge of the square to keep, pixels of the image file
  ra: str = ""  # degrees
  dec: str = ""
  split: str = ""  # train, validation or test
  given: str = ""  # the label as somebody gave it, right or wrong
  file_prefix: str = ""  # see `image_files.Naming`
  file_pattern: str = image_files.FILE


# Settings of the reader that are fields of `Columns`.
_FIELDS = {
  **{f"{x}_column": x for x in ("id", "file", "label", "crop", "ra", "dec")},
  **{"split_column": "split", "vote_columns": "votes"},
  **{x: x for x in ("tree", "vote_form", "file_prefix", "file_pattern")},
}


def columns_from(settings: Mapping[str, Any], given: str = "") -> Columns:
  """The columns that settings of the reader name, and that of given labels."""
  named = {field: settings[key] for key, field in _FIELDS.items()}
  return Columns(**named, given=given)


class Catalog(NamedTuple):
  """A checked catalogue of N galaxies.

  Columns of the frame, N rows: `id_str` (str), `file` (str, what the image file
  is called from the folder of images on) and `path` (str, where it lies); and
  where the table has them `label` and `given_label` (int64, indices of
  `classes`, -1 where nobody gave one), `votes` (f32[K] arrays), `counts` or
  `fractions` and `debiased` (f32[A] arrays, see `read_votes`), `ra` and `dec`
  (float64, degrees, NaN where empty), `crop` (int64, pixels), `split` (str, one
  of `splits.SPLITS`).
  """

  frame: pd.DataFrame
  classes: tuple[str, ...]
  tree: str  # its name; "": none
  stretch: Stretch  # of FITS images
  notes: tuple[str, ...]  # what the user should know, a sentence each
  left_out: Mapping[str, int] = {}  # reason: number of rows


def read_catalog(
  path: Path,
  images: Path,
  columns: Columns,
  classes: Sequence[str],
  stretch: Stretch = fits_images.DEFAULT,
) -> Catalog:
  """Reads a table, see `tables.read_table`, and checks every row of it.

  The files are relative to the folder `images`; the label column holds the K
  classes, in any order, and may be empty in some rows.

  Raises:
    UserError: naming the file, column or row and the mend.
  """
  rows = read_rows(path, columns)
  frame = _frame(rows, columns, images)
  notes = _add_labels(frame, rows, columns, classes)
  if columns.given:
    words = "the column of given labels"
    frame["given_label"] = labels_of(rows, columns.given, words, classes)
  frame = frame.assign(**extras.places(rows, columns.ra, columns.dec))
  if columns.split:
    frame["split"] = extras.splits(rows, columns.split)
  notes += extras.add_crops(frame, rows, columns.crop)
  return Catalog(frame, tuple(classes), columns.tree, stretch, tuple(notes))


def read_rows(path: Path, columns: Columns) -> TableRows:
  """Reads a table, see `tables.read_table`, and checks its columns and ids.

  Those of votes and labels are not looked at.

  Raises:
    UserError: naming the file, column or row and the mend.
  """
  table = tables.read_table(path)
  for field in ("id", "file", "crop", "ra", "dec", "split"):
    name = getattr(columns, field)
    if name or field == "id":
      tables.check_columns(path, table, [name], f"{field}_column")
  return TableRows(path, table, tables.ids_of(path, table, columns.id))


def unlabelled(
  rows: TableRows,
  images: Path,
  columns: Columns,
  stretch: Stretch = fits_images.DEFAULT,
) -> Catalog:
  """A catalogue of ids, image files and crops alone, nothing to learn from.

  Raises:
    UserError: see `read_catalog`.
  """
  frame = _frame(rows, columns, images)
  notes = extras.add_crops(frame, rows, columns.crop)
  return Catalog(frame, (), "", stretch, tuple(notes))


def reader(catalog: Catalog) -> Callable[[int], bytes]:
  """Row -> its image as it is recorded; see `read_image`."""

  def read(i):
    row = catalog.frame.iloc[i]
    return read_image(
      int(row.name) + 1,
      row["id_str"],
      row["path"],
      int(row.get("crop", 0)),
      catalog.stretch,
    )

  return read


def without_bad_images(catalog: Catalog) -> Catalog:
  """The catalogue without the rows whose images cannot be used.

  Raises:
    UserError: if no row is left.
  """
  count = len(catalog.frame)
  bad = bad_images.which(reader(catalog), range(count), count)
  if not bad.any():
    return catalog
  return catalog._replace(
    frame=catalog.frame[~bad], left_out={bad_images.REASON: int(bad.sum())}
  )


def fingerprint(catalog: Catalog) -> str:
  """Twelve hex digits that name all that is recorded, see `frames`."""
  tree, *questions = campaigns.known_by(catalog.tree)
  known = (catalog.classes, tree, catalog.stretch, *questions)
  return frames.fingerprint(known, catalog.frame, catalog.frame["path"])


def _frame(rows, columns, images):
  """The columns `id_str`, `file` and `path`."""
  naming = image_files.Naming(
    columns.file, columns.file_prefix, columns.file_pattern
  )
  files, paths = image_files.find(rows, images, naming)
  return pd.DataFrame({"id_str": rows.ids, "file": files, "path": paths})


def _add_labels(frame, rows, columns, classes):
  """Adds labels and votes to the frame; returns notes."""
  notes = []
  if columns.tree:
    found, notes = read_votes(rows, columns.tree, columns.vote_form)
    for name, values in found.items():
      frame[name] = list(values)
  if columns.votes:
    values = _class_votes(rows, columns.votes, classes)
    frame["votes"] = list(values)
    frame["label"] = np.where(values.any(axis=1), values.argmax(axis=1), -1)
  if columns.label or not (columns.tree or columns.votes):
    frame["label"] = labels_of(rows, columns.label, "label_column", classes)
  if "label" in frame and np.all(frame["label"] < 0):
    named = ", ".join(columns.votes) or columns.label
    raise UserError(
      f"{rows.path} has no label in any row ({named}): give some of the "
      "galaxies one, or another label_column."
    )
  return notes


def labels_of(
  rows: TableRows, name: str, argument: str, classes: Sequence[str]
) -> np.ndarray:
  """Indices of the classes, i64[N], -1 where the column is empty.

  Raises:
    UserError: naming the first row with a label that is none of the classes, or
      the argument that names a column that is not there.
  """
  tables.check_columns(rows.path, rows.table, [name], argument)
  codes = pd.Index(classes).get_indexer(pd.Index(rows.text(name)))
  rows.refuse(
    (codes < 0) & ~rows.empty(name),
    lambda i: (
      f"label {rows.text(name).iloc[i]!r} is none of the classes "
      f"{', '.join(classes)}"
    ),
    "correct the row, give other classes or, for votes without labels, an "
    "empty label_column",
  )
  return codes


def _class_votes(rows, names, classes):
  tables.check_columns(rows.path, rows.table, names, "vote_columns")
  if len(names) != len(classes):
    raise SettingError(
      f"vote_columns names {len(names)} columns for {len(classes)} classes: "
      "give one for each class, in order."
    )
  return np.nan_to_num(read_columns(rows, names)).astype(np.float32)
