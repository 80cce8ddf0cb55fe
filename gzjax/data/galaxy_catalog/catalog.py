"""Reading and checking a catalogue of galaxies: a table and its images."""

from collections.abc import Sequence
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax.data.galaxy_catalog import extras, fits_images, tables
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.data.galaxy_catalog.votes import read_columns, read_votes
from gzjax.errors import SettingError, UserError


class Columns(NamedTuple):
  """Which columns of the table hold what; names as they stand in it."""

  id: str = "id_str"
  file: str = "file_loc"
  label: str = "label"  # may be missing where there is a tree; "": not read
  votes: tuple[str, ...] = ()  # one per class: then the label is the largest
  tree: str = ""  # of `campaigns.TREES`: its votes are found by name
  vote_form: str = "counts"  # of the tree's columns; or fractions
  crop: str = ""  # edge of the square to keep, pixels of the image file
  ra: str = ""  # degrees; "": by its usual names, if there
  dec: str = ""
  split: str = ""  # train, validation or test
  given: str = ""  # the label as somebody gave it, right or wrong


class Catalog(NamedTuple):
  """A checked catalogue of N galaxies.

  Columns of the frame, N rows: `id_str` (str) and `file` (str, a path that
  exists); and where the table has them `label` and `given_label` (int64,
  indices of `classes`), `votes` (f32[K] arrays), `counts` or `fractions` and
  `debiased` (f32[A] arrays, see `read_votes`), `ra` and `dec` (float64,
  degrees, NaN where empty), `crop` (int64, pixels), `split` (str, one of
  `splits.SPLITS`).
  """

  frame: pd.DataFrame
  classes: tuple[str, ...]
  tree: str  # its name; "": none
  stretch: Stretch  # of FITS images
  notes: tuple[str, ...]  # what the user should know, a sentence each


def read_catalog(
  path: Path,
  images: Path,
  columns: Columns,
  classes: Sequence[str],
  stretch: Stretch = fits_images.DEFAULT,
) -> Catalog:
  """Reads a table, see `tables.read_table`, and checks every row of it.

  The file column is relative to the folder `images`; the label column holds the
  K classes, in any order.

  Raises:
    UserError: naming the file, column or row and the mend.
  """
  rows = read_rows(path, columns)
  frame = _frame(rows, columns, images)
  notes = _add_labels(frame, rows, columns, classes)
  if columns.given:
    words = "the column of given labels"
    frame["given_label"] = _labels(rows, columns.given, words, classes)
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
    if name or field in ("id", "file"):
      tables.check_columns(path, table, [name], f"{field}_column")
  return TableRows(path, table, _ids(path, table, columns.id))


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


def fingerprint(catalog: Catalog) -> str:
  """Twelve hex digits that name all that is recorded.

  Images are known by the sizes and the times of their files: reading them would
  take as long as recording them.
  """
  frame = catalog.frame
  known = (catalog.classes, catalog.tree, catalog.stretch, tuple(frame))
  digest = hashlib.sha256(repr(known).encode())
  for name in frame:
    digest.update(_bytes(frame[name]))
  stats = [Path(file).stat() for file in frame["file"]]
  states = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
  digest.update(np.asarray(states, np.int64).tobytes())
  return digest.hexdigest()[:12]


def _bytes(column):
  """The exact content of a column of text, numbers or arrays."""
  first = column.iloc[0]
  if isinstance(first, str):
    return "\0".join(column).encode()
  values = np.stack(column) if isinstance(first, np.ndarray) else column
  return np.asarray(values).tobytes()


def _ids(path, table, name):
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
  repeated = np.flatnonzero(ids.duplicated())
  if len(repeated):
    i = repeated[0]
    first = int(np.flatnonzero(ids == ids.iloc[i])[0])
    raise UserError(
      f"{path}, row {i + 1} (id {ids.iloc[i]}) repeats the id of row "
      f"{first + 1} ({len(repeated)} such rows): keep one row for each galaxy."
    )
  return ids


def _frame(rows, columns, images):
  """The columns `id_str` and `file`."""
  if not images.is_dir():
    raise SettingError(
      f"images is {str(images)!r}: there is no such folder; give that of the "
      "image files."
    )
  rows.refuse_empty(columns.file)
  files = [str(images / text) for text in rows.text(columns.file)]
  rows.refuse(
    np.array([not Path(file).is_file() for file in files]),
    lambda i: f"there is no image {files[i]}",
    "add the file, take the row out, or give as images the folder that the "
    "file column starts from",
  )
  return pd.DataFrame({"id_str": rows.ids, "file": files})


def _add_labels(frame, rows, columns, classes):
  """Adds labels and votes to the frame; returns notes."""
  notes = []
  # Where there are votes labels may be missing, unless somebody named them.
  optional = columns.tree and columns.label in ("", Columns().label)
  if columns.tree:
    found, notes = read_votes(rows, columns.tree, columns.vote_form)
    for name, values in found.items():
      frame[name] = list(values)
  if columns.votes:
    values = _class_votes(rows, columns.votes, classes)
    frame["votes"] = list(values)
    frame["label"] = values.argmax(axis=1)
  elif columns.label in rows.table or not optional:
    frame["label"] = _labels(rows, columns.label, "label_column", classes)
  return notes


def _labels(rows, name, argument, classes):
  tables.check_columns(rows.path, rows.table, [name], argument)
  rows.refuse_empty(name)
  codes = pd.Index(classes).get_indexer(pd.Index(rows.text(name)))
  rows.refuse(
    codes < 0,
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
  values = read_columns(rows, names)
  rows.refuse(
    values.sum(axis=1) == 0,
    lambda i: f"there is no vote in {', '.join(names)}",
    "take the row out",
  )
  return values.astype(np.float32)
