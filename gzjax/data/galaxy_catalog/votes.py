"""Votes of volunteers in a table: found by name, checked against the tree."""

from collections.abc import Sequence

import numpy as np

from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import SettingError, UserError
from gzjax.morphology import trees
from gzjax.morphology.campaigns import TREES
from gzjax.morphology.trees import Tree
from gzjax.registry import choose

# What Zoobot's tables put between a question and an answer.
_CAMPAIGNS = {
  "gz2": ("gz2",),
  "gz2_kaggle": ("gz2",),
  "gzd_5": ("dr5", "dr8"),
  "gzd_1_2": ("dr12",),
}
# Endings of the columns; the plain names come last, because a table that has
# several forms keeps them for its counts.
_ENDINGS = {"counts": ("_count", ""), "fractions": ("_fraction", "")}
FORMS = tuple(_ENDINGS)
_TOLERANCE = 0.01  # fractions in tables are often rounded to three digits


def read_votes(
  rows: TableRows, tree_name: str, form: str
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Reads the columns of a decision tree from a table.

  Args:
    rows: the table; its columns may stand in any order and be called as in
      `spellings`, with the ending _count or _fraction or without.
    tree_name: a key of `campaigns.TREES`.
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
  if tree_name not in TREES:
    raise SettingError(f"tree is {tree_name!r}: {choose(TREES)}.")
  if form not in _ENDINGS:
    raise SettingError(f"vote_form is {form!r}: choose counts or fractions.")
  tree = TREES[tree_name]
  names = _find(rows, tree, _ENDINGS[form])
  if not any(names):
    ways = [way for ending in _ENDINGS[form] for way in spellings(tree, ending)]
    raise UserError(
      f"{rows.path} has no {form} of the tree {tree.name!r}: call the columns "
      f"{' or '.join(way[0] for way in ways)} and so on, set vote_form to the "
      "other of counts and fractions, or choose another tree of "
      f"{', '.join(TREES)}."
    )
  values = _matrix(rows, tree, names, may_be_empty=form == "fractions")
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
  names = _find(rows, tree, ("_debiased",))
  if any(names):
    found["debiased"] = _matrix(rows, tree, names, may_be_empty=True)
  return {key: x.astype(np.float32) for key, x in found.items()}, notes


def columns_of(
  rows: TableRows, tree_name: str, form: str
) -> Sequence[str | None]:
  """The column of each answer of a tree, A names; None where there is none."""
  return _spelled(rows, TREES[tree_name], _ENDINGS[form])[1]


def read_columns(
  rows: TableRows, names: Sequence[str], *, may_be_empty: bool = False
) -> np.ndarray:
  """K columns of numbers >= 0 as f64[N,K]; empty cells are NaN.

  Raises:
    UserError: naming the first row with anything else, or with an empty cell
      unless it `may_be_empty` or all K of the row are.
  """
  values = np.stack([rows.numbers(name) for name in names], axis=1)
  bad = ~(np.isfinite(values) & (values >= 0))
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
  for campaign in _CAMPAIGNS[tree.name]:
    ways.append(tuple(x.replace("_", f"-{campaign}_") for x in tree.answers))
  if tree.stems:
    ways += [tree.stems, tree.kaggle_columns()]
  return [tuple(name + ending for name in way) for way in ways]


def _find(rows, tree, endings):
  """The columns of the answers, of which whole questions may be missing."""
  way, found = _spelled(rows, tree, endings)
  _check_questions(rows, tree, way, found)
  return found


def _spelled(rows, tree, endings):
  """The spelling that most columns have, and the columns or None."""
  for ending in endings:
    ways = spellings(tree, ending)
    columns = [trees.find_columns(way, rows.table.columns) for way in ways]
    way, found = min(zip(ways, columns), key=lambda x: x[1].count(None))
    if any(found):
      return way, found
  return tree.answers, [None] * len(tree.answers)


def _check_questions(rows, tree, wanted, found):
  for question, part in zip(tree.questions, tree.slices, strict=True):
    pairs = zip(wanted[part], found[part])
    missing = [name for name, column in pairs if column is None]
    if missing and any(found[part]):
      raise UserError(
        f"{rows.path} has only some of the columns of the question "
        f"{question.name!r}, {', '.join(missing)} missing: add them, or take "
        "the whole question out."
      )


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
