"""Which column of a table holds what, found by usual names and by content."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gzjax.data.galaxy_catalog import (
  extras,
  guess_images,
  guess_labels,
  image_files,
  tables,
)
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.data.galaxy_catalog.usual_names import (
  DEC,
  FILES,
  IDS,
  NAMES,
  RA,
  SPLITS,
  by_rank,
)
from gzjax.data.galaxy_catalog.votes import FORMS, read_columns
from gzjax.errors import SettingError, UserError
from gzjax.morphology.campaigns import TREES

AUTO = "auto"  # in the place of a name: to be found


class Finding(NamedTuple):
  """What was found about a setting of the reader."""

  key: str
  value: Any
  because: str = ""  # "": nothing to speak of


class Guess(NamedTuple):
  """What was found in a table of N galaxies."""

  settings: dict[str, Any]  # of the reader, those that were given among them
  findings: tuple[Finding, ...]
  galaxies: int
  classes: dict[str, int]  # class: galaxies; {} where votes will tell


Settings = Mapping[str, Any]


def is_needed(given: Settings) -> bool:
  """Whether settings of the reader leave something to be found."""
  has_classes = bool(given["label_column"] or given["vote_columns"])
  return AUTO in given.values() or (has_classes and not given["classes"])


def guess(path: Path, images: Path, given: Settings) -> Guess:
  """Finds the columns of a table that nobody has named.

  Of several that would do it takes that of the most usual name, or else the
  first of the table, and says which others there are.

  Args:
    path: of the table, see `tables.read_table`.
    images: the folder of the images.
    given: settings of the reader; `AUTO` is to be found, and so are classes, if
      there are none of a label column or of vote columns. Where the label
      column is to be found, votes are, too, unless they are given.

  Raises:
    UserError: naming the table, what it lacks and what it has.
  """
  rows, findings = _galaxies(_rows(path), images, given)
  steps: Sequence[Callable[[TableRows, Settings], list[Finding]]] = (
    _split,
    _places,
    _tree,
    _labels,
    _classes,
  )
  for step in steps:
    findings += step(rows, _known(given, findings))
  known = _known(given, findings)
  return Guess(known, tuple(findings), len(rows.ids), _sizes(rows, known))


def find_images(
  path: Path, images: Path, named: Settings, usual: Settings
) -> dict[str, Any]:
  """Where the ids and the images are, in a table that needs no labels.

  Settings of the reader as they are `named`; where that is "", as `usual` if
  the table has such a column, and else found, see `guess`.
  """
  rows = _rows(path)
  columns = {
    key: named[key] or (usual[key] if usual[key] in rows.table else AUTO)
    for key in ("id_column", "file_column")
  }
  pattern = named["file_pattern"] or AUTO
  given = {**columns, "file_prefix": AUTO, "file_pattern": pattern}
  return _known(given, _galaxies(rows, images, given)[1])


def _rows(path):
  """The columns that may be text or numbers: no images, no arrays."""
  table = tables.read_table(path)
  is_plain = [
    all(map(pd.api.types.is_hashable, table[name].dropna().iloc[:1]))
    for name in table
  ]
  numbers = pd.Series(table.index, dtype=str)
  return TableRows(path, table.loc[:, is_plain], numbers)


def _galaxies(
  rows: TableRows, images: Path, given: Settings
) -> tuple[TableRows, list[Finding]]:
  """The rows with their ids, and what was found about ids and images."""
  findings = _ids(rows, given)
  name = _known(given, findings)["id_column"]
  tables.check_columns(rows.path, rows.table, [name], "id_column")
  rows = rows._replace(ids=tables.ids_of(rows.path, rows.table, name))
  return rows, findings + _files(rows, images, _known(given, findings))


def _known(given: Settings, findings: Iterable[Finding]) -> dict[str, Any]:
  return {**given, **{found.key: found.value for found in findings}}


def _because(words: str, also: Sequence[Any]) -> str:
  """The reason, and what would do as well."""
  return f"{words}; also {', '.join(map(str, also[:3]))}" if also else words


def _ids(rows: TableRows, known: Settings) -> list[Finding]:
  if known["id_column"] != AUTO:
    return []
  columns = rows.table.columns
  usual = by_rank(columns, (*IDS, *NAMES), only=True)
  good = [name for name in usual if _tells_rows_apart(rows, name)]
  words = "usual name, different in every row"
  if not good:
    good = by_rank(columns, IDS, only=True)  # whose rows will be refused
  if not good:
    words = "different in every row"
    good = [name for name in _by_likelihood(columns) if _is_id(rows, name)]
  if not good:
    raise UserError(
      f"{rows.path} has no column that is different in every row (it has "
      f"{tables.listed(rows.table)}): name that of the ids as id_column."
    )
  first, *also = good
  return [Finding("id_column", first, _because(words, also))]


def _by_likelihood(columns):
  """Those that end with id or name first, files and numbers of rows last."""
  files = by_rank(columns, FILES, only=True)

  def rank(name):
    lower = str(name).lower()
    is_number = lower in ("index", "row") or lower.startswith("unnamed")
    return is_number, name in files, not lower.endswith(("id", "name"))

  return sorted(columns, key=rank)


def _is_id(rows, name):
  """Whether nothing but its content says that a column has the ids."""
  text = rows.text(name)
  is_decimal = text.str.fullmatch(r"[+-]?\d*\.\d*(e[+-]?\d+)?").any()
  return not is_decimal and _tells_rows_apart(rows, name)


def _tells_rows_apart(rows, name):
  column = rows.table[name]
  if pd.api.types.is_float_dtype(column) or not column.is_unique:
    return False
  return not rows.empty(name).any() and rows.text(name).is_unique


def _files(rows: TableRows, images: Path, known: Settings) -> list[Finding]:
  keys = ("file_column", "file_prefix", "file_pattern")
  given = [None if known[key] == AUTO else known[key] for key in keys]
  if None not in given:
    return []
  column, _, pattern = given
  if column:
    tables.check_columns(rows.path, rows.table, [column], "file_column")
  if pattern is not None and image_files.FILE not in pattern:
    naming, because = image_files.Naming("", "", pattern), ""
  elif found := guess_images.find(
    rows, images, guess_images.Known(known["id_column"], *given)
  ):
    naming, because = found.naming, _because(found.because, found.also)
  elif column:  # whose files will be refused
    naming, because = image_files.Naming(column), ""
  else:
    raise _no_files(rows, images)
  is_whole = naming.pattern == image_files.FILE
  words = (
    because if is_whole else "part of the names of the files",
    "in front in every row, left out",
    "" if is_whole else because,
  )
  return [
    Finding(key, value, why if value else "")
    for key, value, why in zip(keys, naming, words, strict=True)
    if known[key] == AUTO
  ]


def _no_files(rows, images):
  file = next((name for _, name in image_files.listing(images)), None)
  if file is None:
    return SettingError(
      f"images is {str(images)!r}: there is no file in it; give the folder of "
      "the image files."
    )
  usual = by_rank(rows.table.columns, FILES, only=True)
  example = rows.text(usual[0]).iloc[0] if usual else f"id {rows.ids.iloc[0]}"
  return SettingError(
    f"images is {str(images)!r}: no file in it is called like a row of "
    f"{rows.path} (files such as {file}, rows such as {example}; columns "
    f"{tables.listed(rows.table)}); give another folder, a file_column, or a "
    "file_pattern such as {id}.jpg."
  )


def _not_used(rows: TableRows, error: UserError) -> str:
  """Why, in the table of what was found, which is that of one table."""
  return f"not used: {str(error).replace(str(rows.path), 'the table')}"


def _split(rows: TableRows, known: Settings) -> list[Finding]:
  if known["split_column"] != AUTO:
    return []
  because = ""
  for name in by_rank(rows.table.columns, SPLITS, only=True):
    try:
      extras.splits(rows, name)
    except UserError as error:
      because = _not_used(rows, error)
    else:
      return [Finding("split_column", name, "train, validation and test")]
  return [Finding("split_column", "", because)]


def _places(rows: TableRows, known: Settings) -> list[Finding]:
  asked = {"ra_column": RA, "dec_column": DEC}
  wanted = [key for key in asked if known[key] == AUTO]
  columns = rows.table.columns
  found = {key: by_rank(columns, asked[key], only=True) for key in wanted}
  names = {key: names[0] if names else "" for key, names in found.items()}
  ra, dec = (names.get(key, known[key]) for key in asked)
  try:
    if extras.places(rows, ra, dec):
      words = "usual name, degrees"
      return [Finding(key, name, words) for key, name in names.items()]
  except UserError as error:
    words = _not_used(rows, error)
    first = next((key for key in wanted if names[key]), wanted[0])
    return [Finding(key, "", words if key == first else "") for key in wanted]
  return [Finding(key, "") for key in wanted]


def _tree(rows: TableRows, known: Settings) -> list[Finding]:
  """The tree and the form of its votes."""
  tree, form = known["tree"], known["vote_form"]
  has_votes = bool(tree or known["vote_columns"])
  wants_tree = known["label_column"] == AUTO and not has_votes
  if not wants_tree and form != AUTO:
    return []
  if not wants_tree and not tree:
    return [Finding("vote_form", FORMS[0])]
  forms = FORMS if form == AUTO else (form,)
  try:
    found = guess_labels.find_tree(rows, (tree,) if tree else TREES, forms)
  except UserError as error:
    if tree or not guess_labels.named(rows, rows.table.columns):
      raise
    words = _not_used(rows, error)
    return [Finding("tree", "", words), Finding("vote_form", forms[0])]
  if found is None:
    return [Finding("tree", tree), Finding("vote_form", forms[0])]
  words = f"names of {found.columns} columns"
  return [
    Finding("tree", found.tree, "" if tree else words),
    Finding("vote_form", found.form, words if form == AUTO else ""),
  ]


def _labels(rows: TableRows, known: Settings) -> list[Finding]:
  """The label column, and columns of votes."""
  if known["label_column"] != AUTO:
    return []
  if known["vote_columns"]:
    return [Finding("label_column", "")]
  used = [value for value in known.values() if isinstance(value, str)]
  columns = [str(name) for name in rows.table if name not in used]
  has_tree = bool(known["tree"])
  found = guess_labels.find(rows, columns, known["classes"], has_tree=has_tree)
  if found is None and not known["tree"]:
    raise guess_labels.no_labels(rows, columns)
  if found is None:
    return [Finding("label_column", "")]
  because = _because(found.because, found.also)
  return [
    Finding("label_column", found.column, because if found.column else ""),
    Finding("vote_columns", found.votes, because if found.votes else ""),
  ]


def _classes(rows: TableRows, known: Settings) -> list[Finding]:
  """The classes, and why in this order."""
  label, votes = known["label_column"], known["vote_columns"]
  if known["classes"] or not (label or votes):
    return []
  if not label:
    classes, words = guess_labels.voted_classes(votes), "names of the columns"
  else:
    tables.check_columns(rows.path, rows.table, [label], "label_column")
    classes, words = guess_labels.classes_of(rows, label)
  return [Finding("classes", classes, words)]


def _sizes(rows: TableRows, known: Settings) -> dict[str, int]:
  """How many galaxies each class has."""
  classes, label = known["classes"], known["label_column"]
  if label:
    counts = rows.text(label).value_counts()
    return {name: int(counts.get(name, 0)) for name in classes}
  if not known["vote_columns"]:
    return {}
  votes = np.nan_to_num(read_columns(rows, known["vote_columns"]))
  voted = votes[votes.any(axis=1)]
  counts = np.bincount(voted.argmax(axis=1), minlength=len(classes))
  return dict(zip(classes, counts.tolist(), strict=True))
