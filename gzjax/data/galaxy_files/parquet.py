"""Parquet files with their images inside, as Hugging Face has data sets."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
import re

import numpy as np
import pandas as pd

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
from gzjax.data.galaxy_files import parts, shards
from gzjax.data.galaxy_files.embedded import Embedded
from gzjax.errors import SettingError, UserError
from gzjax.morphology import campaigns
from gzjax.morphology.campaigns import TREES

_COUNT = re.compile(r"[a-z-]+-\w+_.+")  # <question>-<campaign>_<answer>
_CAMPAIGN = re.compile(r"smooth-or-featured-(?P<name>[a-z]+\d*)_.+")


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
    tree: see `campaigns.find`; "": that of which most galaxies have votes.
      Campaigns with the same tree are merged, see `read_votes`.
    classes: (): those of the file, or all that are there.

  Returns:
    Galaxies with `label`, `counts`, `ra`, `dec` and `split`, where the files
    tell them. No galaxy is left out because nobody answered.

  Raises:
    UserError: naming the file, the row or the column and the mend. Rows are
      counted through all the files.
  """
  found, table, names, part = _open(path)
  rows = _rows(path, table, id_column, part)
  frame = pd.DataFrame({"id_str": rows.ids})
  classes, label_note = _add_labels(frame, rows, label_column, classes, names)
  tree, vote_notes = _add_votes(frame, rows, tree, has_labels=bool(classes))
  frame = frame.assign(**_places(rows))
  split, split_notes = parts.split_of(part)
  if split is not None:
    frame["split"] = split
  notes = (
    *_recognised(path, found, table),
    *label_note,
    *vote_notes,
    *split_notes,
  )
  return Embedded(
    path, frame, classes, tree, shards.images_of(found, list(rows.ids)), notes
  )


def read_images(path: Path, id_column: str = AUTO) -> Embedded:
  """The ids and images of `read` alone, of files that need no labels."""
  found, table, _, part = _open(path)
  ids = list(_rows(path, table, id_column, part).ids)
  return Embedded(
    path,
    pd.DataFrame({"id_str": ids}),
    (),
    "",
    shards.images_of(found, ids),
    tuple(_recognised(path, found, table)),
  )


def _open(path: Path):
  """The shards; of all rows the table, names of classes and the part."""
  files = shards.files_of(path)
  if not files:
    raise SettingError(
      f"catalog is {str(path)!r}: there is no parquet file; give one, or the "
      "folder of the shards."
    )
  found = shards.find(files)
  table, names = shards.read_table(found)
  part = [parts.part_of(x.path) for x in found for _ in x.rows]
  return found, table, names, part


def _rows(
  path: Path, table: pd.DataFrame, id_column: str, part: Sequence[str]
) -> TableRows:
  """The table with its ids; votes that were not asked for are 0."""
  counts = [
    name
    for name in table.select_dtypes("number")
    if _COUNT.fullmatch(str(name))
  ]
  table = table.fillna(dict.fromkeys(counts, 0))
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
  apart = {campaigns.find(x).answers: x for x in (*reversed(voted), name)}
  others = [
    f"{other} ({voted[other]:,})" for other in apart.values() if other != name
  ]
  also = (
    f"; also of {', '.join(others)}: data.tree takes several, joined by "
    f"{campaigns.JOINT}"
    if others
    else ""
  )
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
  path: Path, found: Sequence[shards.Shard], table: pd.DataFrame
) -> list[str]:
  matches = filter(None, map(_CAMPAIGN.fullmatch, map(str, table)))
  campaigns = " and ".join(dict.fromkeys(x["name"] for x in matches))
  words = (
    f"{len(found)} shard{'s' * (len(found) > 1)}",
    f"campaigns {campaigns}" if " and " in campaigns else campaigns,
    f"{len(table):,} galaxies",
  )
  notes = [f"{path.absolute().name}: {', '.join(filter(None, words))}"]
  named = filter(None, (shards.NAME.fullmatch(x.path.name) for x in found))
  there = Counter((x["part"], int(x["count"])) for x in named)
  notes += [
    f"{count} of the {whole} shards of {part} are there"
    for (part, whole), count in there.items()
    if count < whole
  ]
  return notes
