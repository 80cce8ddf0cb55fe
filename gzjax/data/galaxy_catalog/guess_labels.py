"""Labels, or votes in their place, found by names and content."""

from collections.abc import Iterable, Sequence
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax.data.galaxy_catalog.tables import TableRows, listed
from gzjax.data.galaxy_catalog.usual_names import LABELS, by_rank
from gzjax.data.galaxy_catalog.votes import (
  FORMS,
  columns_of,
  read_columns,
  read_votes,
)
from gzjax.errors import UserError
from gzjax.morphology.campaigns import TREES

MOST_CLASSES = 20
_READ = 5000  # rows, to tell what columns hold
_FEW = 3  # galaxies; fewer are no class that only its content speaks for
# What has few values, too.
_NO_LABELS = re.compile(
  "(^|[^a-z])(sample|survey|campaign|run|field|band|filter|camera|telescope|"
  "instrument|flag|version|release|author|user)s?($|[^a-z])"
)
_AROUND = "votes?|counts?|fractions?|frac|probability|prob|n_?votes"
_VOTES = (
  re.compile(rf"(?P<affix>(?:{_AROUND}|p)[_\-. ]+)(?P<name>.+)", re.IGNORECASE),
  re.compile(rf"(?P<name>.+?)(?P<affix>[_\-. ]+(?:{_AROUND}))", re.IGNORECASE),
)
_NO_ANSWERS = ("total", "all", "sum", "n", "number", "volunteers")


class Labels(NamedTuple):
  """Columns, and why."""

  column: str  # of labels; "": the votes tell
  votes: tuple[str, ...]
  because: str
  also: tuple[str, ...] = ()  # columns that would do as well


class TreeVotes(NamedTuple):
  """A tree whose votes can be read."""

  tree: str
  form: str
  columns: int  # that were found


def find(
  rows: TableRows,
  columns: Sequence[str],
  classes: Sequence[str],
  *,
  has_tree: bool,
) -> Labels | None:
  """The label column and the votes for its classes, if there are any.

  A column of a usual name, else columns of votes, else any with few values; the
  last two not where the table `has_tree`, the votes on a decision tree.

  Args:
    rows: the table.
    columns: those that nothing else was found in.
    classes: those that are known; (): none.
    has_tree: whether the tree tells the labels, if no column does.
  """
  usual = named(rows, columns)
  groups = [] if has_tree else list(_vote_groups(rows, columns))
  if usual:
    first, *also = usual
    votes = _votes_for(classes or classes_of(rows, first)[0], groups)
    return Labels(first, votes, "usual name, few values", tuple(also))
  if groups:
    names = tuple(max(groups, key=len).values())
    return Labels("", names, "names alike, numbers of votes")
  others = [name for name in columns if not has_tree and _is_label(rows, name)]
  if not others:
    return None
  # Words before numbers.
  others.sort(key=lambda name: _are_numbers(_values(rows, name).index))
  return Labels(others[0], (), "few values", tuple(others[1:]))


def named(rows: TableRows, columns: Iterable[str]) -> list[str]:
  """The columns that are called as labels usually are, and may be classes."""
  usual = by_rank(columns, LABELS, only=True)
  return [name for name in usual if _may_be_classes(rows, name)]


def no_labels(rows: TableRows, columns: Sequence[str]) -> UserError:
  """Says that a table has no labels, and why what is called so has none."""
  why = [
    f"; {name!r} has {len(_values(rows, name))} different values"
    for name in by_rank(columns, LABELS, only=True)
  ]
  return UserError(
    f"{rows.path} has no column of labels, 2 to {MOST_CLASSES} classes, and no "
    f"votes (it has {listed(rows.table)}{''.join(why)}): name it as "
    "label_column, or votes as vote_columns."
  )


def classes_of(rows: TableRows, name: str) -> tuple[tuple[str, ...], str]:
  """The classes of a label column, and their order in words.

  Raises:
    UserError: if there are none, one or too many.
  """
  counts = _values(rows, name)
  if not 2 <= len(counts) <= MOST_CLASSES:
    raise UserError(
      f"{rows.path}: column {name!r} has {len(counts)} different values, and 2 "
      f"to {MOST_CLASSES} can be classes: give another label_column, or name "
      "the classes."
    )
  if _are_numbers(counts.index):
    return tuple(sorted(counts.index, key=float)), "by number"
  return tuple(sorted(counts.index, key=lambda x: -counts[x])), "by size"


def voted_classes(names: Sequence[str]) -> tuple[str, ...]:
  """The classes that columns of votes are named after."""
  for pattern in _VOTES:
    found = [match for match in map(pattern.fullmatch, names) if match]
    affixes = {match["affix"].lower() for match in found}
    if len(found) == len(names) and len(affixes) == 1:
      return tuple(match["name"] for match in found)
  return tuple(names)


def find_tree(
  rows: TableRows,
  names: Iterable[str] = tuple(TREES),
  forms: Iterable[str] = FORMS,
) -> TreeVotes | None:
  """The tree whose answers most columns are called like, of these names.

  None if no tree has its first question in the table.

  Raises:
    UserError: if what is there cannot be read, about the likeliest tree.
  """
  likely = []
  for form in forms:
    for name in names:
      there = columns_of(rows, name, form)
      if there[0]:
        likely.append(TreeVotes(name, form, len(there) - there.count(None)))
  rows = _first(rows)
  reason = None
  # Of two that have as many the first in the table: a part before the whole.
  for found in sorted(likely, key=lambda x: -x.columns):
    try:
      read_votes(rows, found.tree, found.form)
    except UserError as error:
      reason = reason or error
    else:
      return found
  if reason:
    raise reason
  return None


def _may_be_classes(rows, name):
  values = rows.table[name].dropna()
  if pd.api.types.is_float_dtype(values) and (values % 1 != 0).any():
    return False
  if not 2 <= values.nunique() <= MOST_CLASSES + 2:  # "" and nan are none
    return False
  return 2 <= len(_values(rows, name)) <= MOST_CLASSES


def _values(rows, name):
  """How often each value occurs, in their order in the table."""
  text = rows.text(name)
  return text[text != ""].value_counts(sort=False)


def _is_label(rows, name):
  """Whether nothing but its values says that a column has the labels."""
  if _NO_LABELS.search(name.lower()) or not _may_be_classes(rows, name):
    return False
  values = _values(rows, name)
  is_decimal = values.index.str.fullmatch(r"[+-]?\d*\.\d*").all()
  return not is_decimal and values.min() >= _FEW


def _are_numbers(texts):
  return pd.to_numeric(pd.Series(texts), errors="coerce").notna().all()


def _vote_groups(rows, columns):
  """Class -> column, of columns of votes that are called alike."""
  for pattern in _VOTES:
    groups: dict[str, dict[str, str]] = {}
    for column in columns:
      found = pattern.fullmatch(column)
      if found and found["name"].lower() not in _NO_ANSWERS:
        group = groups.setdefault(found["affix"].lower(), {})
        group[found["name"]] = column
    for group in groups.values():
      if len(group) > 1 and _are_votes(rows, list(group.values())):
        yield group


def _first(rows):
  """Enough of the rows to tell what a column holds; their numbers stay."""
  return rows._replace(table=rows.table[:_READ], ids=rows.ids[:_READ])


def _are_votes(rows, names):
  try:
    values = np.nan_to_num(read_columns(_first(rows), names))
  except UserError:
    return False
  whole = np.all(values == np.rint(values))
  return bool(values.any() and (whole or values.sum(axis=1).max() <= 1.01))


def _votes_for(classes, groups):
  """The columns of votes for just these classes, in their order."""
  wanted = [name.lower() for name in classes]
  for group in groups:
    known = {name.lower(): column for name, column in group.items()}
    if sorted(known) == sorted(wanted):
      return tuple(known[name] for name in wanted)
  return ()
