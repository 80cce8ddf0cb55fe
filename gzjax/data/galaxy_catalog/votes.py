"""Votes of volunteers in a table: found by name, checked against the tree."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import SettingError, UserError
from gzjax.morphology import campaigns, trees
from gzjax.morphology.campaigns import TREES
from gzjax.morphology.trees import Tree, column_key

# Endings of the columns; the plain names come last, because a table that has
# several forms keeps them for its counts.
_ENDINGS = {"counts": ("_count", ""), "fractions": ("_fraction", "")}
FORMS = tuple(_ENDINGS)
# For one answer; the largest campaigns have a thousandth of it.
_MOST_VOTES = 1e6
_TOLERANCE = 0.01  # fractions in tables are often rounded to three digits


def read_votes(
  rows: TableRows, tree_name: str, form: str
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Reads the columns of a decision tree from a table.

  Args:
    rows: the table; its columns may stand in any order and be called as in
      `spellings`, with the ending _count or _fraction or without. Of several
      campaigns with the same tree and questions, each row has the votes of the
      first that it has any of.
    tree_name: see `campaigns.find`.
    form: counts or fractions. Fractions may be conditional or cumulative, see
      `trees`: their sums tell which. A question that is empty in a row was not
      asked.

  Returns:
    Votes f32[N,A] in the order of the tree, and what was found and what was
    not. By their form: fractions are cumulative; questions that the table does
    not have are 0 in counts and NaN in fractions; rows without any vote are 0.
    If the table has them, `debiased`, as they stand there, NaN where it has
    none.

  Raises:
    UserError: naming the missing columns, or the first bad row.
  """
  if form not in _ENDINGS:
    raise SettingError(f"vote_form is {form!r}: choose counts or fractions.")
  tree = campaigns.find(tree_name)
  spelled = _find(rows, tree, _ENDINGS[form], tree_name)
  if not spelled:
    raise _no_votes(rows, tree, tree_name, form)
  values = _merged(rows, tree, spelled, may_be_empty=form == "fractions")
  names = spelled[0]  # others have the same questions
  notes = [
    f"{rows.path.name} has no columns for the question {question.name!r}"
    for question, part in zip(tree.questions, tree.slices, strict=True)
    if names[part.start] is None
  ]
  if form == "counts":
    values = _counts(rows, tree, values)
  else:
    values, kind = _cumulative(rows, tree, values, names)
    notes.append(f"the vote fractions of {rows.path.name} are {kind}")
  found = {form: values}
  debiased = _find(rows, tree, ("_debiased",), tree_name)
  if debiased:
    found["debiased"] = _merged(rows, tree, debiased, may_be_empty=True)
  used = {x for names in (*spelled, *debiased) for x in names}
  notes += _unused(rows, used)
  return {key: x.astype(np.float32) for key, x in found.items()}, notes


def _no_votes(rows, tree, tree_name, form) -> UserError:
  ways = [way for ending in _ENDINGS[form] for way in spellings(tree, ending)]
  return UserError(
    f"{rows.path} has no {form} of the tree {tree_name!r}: call the columns "
    f"{' or '.join(way[0] for way in ways)} and so on, set vote_form to the "
    "other of counts and fractions, or choose another tree: "
    f"{', '.join(TREES)}."
  )


def columns_of(
  rows: TableRows, tree_name: str, form: str
) -> Sequence[str | None]:
  """The column of each answer of a tree, A names; None where there is none.

  Of several campaigns those of the first.
  """
  tree = campaigns.find(tree_name)
  ways = _spelled(rows, tree, _ENDINGS[form])
  return ways[0].columns if ways else [None] * len(tree.answers)


def read_columns(
  rows: TableRows, names: Sequence[str], *, may_be_empty: bool = False
) -> np.ndarray:
  """K columns of numbers of votes as f64[N,K]; empty cells are NaN.

  Raises:
    UserError: naming the first row with anything else than 0 to a million, or
      with an empty cell unless it `may_be_empty` or all K of the row are.
  """
  values = np.stack([rows.numbers(name) for name in names], axis=1)
  bad = ~((values >= 0) & (values <= _MOST_VOTES))  # NaN is bad, too
  empty = np.stack([rows.empty(name) for name in names], axis=1)
  bad &= ~(empty if may_be_empty else empty.all(axis=1, keepdims=True))
  first = bad.argmax(axis=1)
  rows.refuse(
    np.any(bad, axis=1),
    lambda i: f"{rows.cell(names[first[i]], i)}, not a number of votes",
    "correct the row or take it out",
  )
  return values


def spellings(tree: Tree, ending: str) -> list[tuple[str, ...]]:
  """How tables call the answers of a tree, A names each with an ending.

  The tree's own names; with the campaign after the question, as in Zoobot's
  tables; for GZ2 the names of Hart et al. (2016) and of the Kaggle challenge.
  """
  ways = [tree.answers]
  for campaign in tree.campaigns:
    ways.append(tuple(x.replace("_", f"-{campaign}_", 1) for x in tree.answers))
  if tree.stems:
    ways += [tree.stems, tree.kaggle_columns()]
  return [tuple(name + ending for name in way) for way in ways]


class _Way(NamedTuple):
  """One way to call the answers of a tree."""

  names: tuple[str, ...]  # A
  columns: list[str | None]  # of the table, A; None where there is none


def _find(rows, tree, endings, tree_name):
  """The columns of the answers, of which whole questions may be missing.

  A list for each campaign that a row may have votes of; none at all if the
  table has no such columns.
  """
  ways = _spelled(rows, tree, endings)
  for way in ways:
    _check_questions(rows, tree, way.names, way.columns, tree_name)
  return [way.columns for way in ways]


def _spelled(rows, tree, endings) -> list[_Way]:
  """The spelling that most columns have; campaigns that are as full, too."""
  for ending in endings:
    ways = [
      _Way(names, trees.find_columns(names, rows.table.columns))
      for names in spellings(tree, ending)
    ]
    fullest = min(ways, key=lambda way: way.columns.count(None))
    sisters = ways[1 : 1 + len(tree.campaigns)]
    if fullest in sisters:
      return [x for x in sisters if _missing(x) == _missing(fullest)]
    if any(fullest.columns):
      return [fullest]
  return []


def _missing(way: _Way) -> list[bool]:
  return [column is None for column in way.columns]


def _check_questions(rows, tree, wanted, found, tree_name):
  for question, part in zip(tree.questions, tree.slices, strict=True):
    pairs = zip(wanted[part], found[part])
    missing = [name for name, column in pairs if column is None]
    if missing and any(found[part]):
      raise UserError(
        f"{rows.path} has only some of the columns of the question "
        f"{question.name!r} of the tree {tree_name}, {', '.join(missing)} "
        "missing: add them, correct the tree, or take the whole question out."
      )


def _unused(rows, used):
  """Notes of columns that hold votes of other campaigns, if there are any."""
  stems = {_stem(name) for name in used if name is not None}
  known = {
    column_key(name)
    for tree in TREES.values()
    for way in spellings(tree, "")
    for name in way
  }
  others = [x for x in rows.table.columns if _stem(x) in known - stems]
  if not others:
    return []
  more = f" and {len(others) - 1} more columns" if others[1:] else ""
  return [
    f"{rows.path.name} has votes that are not used, of other campaigns or "
    f"names: {others[0]}{more}"
  ]


def _stem(column: str) -> str:
  """A column's name in the spelling of all, without the form of its votes."""
  key = column_key(column)
  for ending in ("_count", "_fraction", "_debiased"):
    key = key.removesuffix(ending)
  return key


def _merged(rows, tree, spelled, *, may_be_empty):
  """f64[N,A], of each row the votes of the first campaign that it has."""
  values, *others = (
    _matrix(rows, tree, names, may_be_empty=may_be_empty) for names in spelled
  )
  for more in others:
    silent = ~np.any(values > 0, axis=1)  # NaN is not
    values[silent] = more[silent]
  return values


def _matrix(rows, tree, names, *, may_be_empty):
  """f64[N,A], NaN where empty and where there is no column."""
  present = [a for a, name in enumerate(names) if name is not None]
  values = np.full((len(rows.table), len(tree.answers)), np.nan)
  values[:, present] = read_columns(
    rows, [names[a] for a in present], may_be_empty=may_be_empty
  )
  return values


def _counts(rows, tree, values):
  counts = np.nan_to_num(values)
  if trees.sums(tree, counts).max() <= 1:
    raise UserError(
      f"{rows.path}: no question has more than one vote in any row: if the "
      "columns hold fractions, set vote_form=fractions."
    )
  return counts


def _cumulative(rows, tree, values, names):
  """Fractions of either form as cumulative ones, and their form."""
  here = np.array([names[part.start] is not None for part in tree.slices])
  _refuse_gaps(rows, tree, values, here)
  known = np.nan_to_num(values)
  kind = _kind(rows, tree, known, here)
  if kind == "conditional":
    _check_ways(rows, tree, here)
    known = trees.joint(tree, known)
  return np.where(here[tree.question_of], known, np.nan), kind


def _refuse_gaps(rows, tree, values, here):
  for q in np.flatnonzero(here):
    gaps = np.isnan(values[:, tree.slices[q]])
    rows.refuse(
      gaps.any(axis=1) & ~gaps.all(axis=1),
      lambda i, q=q: f"the question {tree.questions[q].name!r} is partly empty",
      "fill in all of its answers or none",
    )


def _kind(rows, tree, known, here):
  """The form whose sums fewer rows break, which must be none."""
  total = trees.sums(tree, known)
  wanted = _wanted(tree, known, total, here)
  voted = np.any(known > 0, axis=1, keepdims=True)
  broken = {
    kind: here & voted & (np.abs(total - sums) > _TOLERANCE)
    for kind, sums in wanted.items()
  }
  kind = min(broken, key=lambda kind: broken[kind].any(axis=1).sum())
  first = broken[kind].argmax(axis=1)

  def what(i):
    q = first[i]
    return (
      f"the {kind} fractions of the question {tree.questions[q].name!r} sum to "
      f"{total[i, q]:.4g} in place of {wanted[kind][i, q]:.4g}"
    )

  rows.refuse(
    broken[kind].any(axis=1),
    what,
    f"correct the rows, choose another tree of {', '.join(TREES)}, or set "
    "vote_form=counts",
  )
  return kind


def _wanted(tree, known, total, here):
  """What the answers of each question should sum to, f64[N,Q] for each form.

  A question whose parents are not in the table may sum to anything.
  """
  led_to = [all(here[tree.question_of[list(ways)]]) for ways in tree.parents]
  cumulative = total - trees.violation(tree, known)
  always = np.array([not parents for parents in tree.parents])
  return {
    "cumulative": np.where(led_to, cumulative, total),
    # Nobody was asked where the sum is 0.
    "conditional": np.where((total > 0) | always, 1.0, 0.0),
  }


def _check_ways(rows, tree, here):
  """Only leaves may be missing: the way to all other questions is needed."""
  for q in np.flatnonzero(here):
    for parent in tree.question_of[list(tree.parents[q])]:
      if not here[parent]:
        raise UserError(
          f"{rows.path} has no columns for the question "
          f"{tree.questions[parent].name!r}, which leads to "
          f"{tree.questions[q].name!r}: add them; conditional fractions need "
          "the whole way."
        )
