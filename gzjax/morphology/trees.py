"""The questions that Galaxy Zoo asks, and the arithmetic of their answers.

Vote fractions are *conditional*, where the answers of each question sum to 1,
or *cumulative*, where they sum to the share of volunteers who were asked, as in
the files of the Kaggle challenge. All functions take and return arrays of NumPy
or JAX (traced ones, too), answers on the last axis as in `Tree.answers`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Array = Any  # of NumPy or JAX


class Question(NamedTuple):
  """A question and its answers."""

  name: str
  text: str
  answers: tuple[str, ...]
  after: tuple[str, ...] = ()  # full names of answers; none: always asked
  campaign: str = ""  # in the name, of trees of several campaigns

  @property
  def stem(self) -> str:
    """The name without the campaign."""
    return self.name.removesuffix(f"-{self.campaign}")


def of_campaign(question: Question, campaign: str) -> Question:
  """A question as tables call it that hold several campaigns."""
  if not campaign:
    return question

  def spelled(name):
    asked, _, answer = name.partition("_")
    return f"{asked}-{campaign}" + (f"_{answer}" if answer else "")

  return question._replace(
    name=spelled(question.name),
    after=tuple(map(spelled, question.after)),
    campaign=campaign,
  )


@dataclasses.dataclass(frozen=True)
class Tree:
  """Questions in the order of their columns."""

  name: str
  questions: tuple[Question, ...]
  # Stems of the answers' columns in the survey's own catalogue.
  stems: tuple[str, ...] = dataclasses.field(default=(), repr=False)
  # What tables of Zoobot's put between a question and an answer, one for each
  # campaign with these questions.
  campaigns: tuple[str, ...] = ()

  @cached_property
  def answers(self) -> tuple[str, ...]:
    """Full names, such as smooth-or-featured_smooth."""
    return tuple(
      f"{question.name}_{answer}"
      for question in self.questions
      for answer in question.answers
    )

  @cached_property
  def slices(self) -> tuple[slice, ...]:
    """Where the answers of each question stand among all answers."""
    sizes = [len(question.answers) for question in self.questions]
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(slice(start, end) for start, end in pairwise(ends))

  @cached_property
  def question_of(self) -> np.ndarray:
    """Index of the question of each answer, i32[A]."""
    sizes = [len(question.answers) for question in self.questions]
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

  @cached_property
  def parents(self) -> tuple[tuple[int, ...], ...]:
    """For each question the answers (indices) after which it is asked."""
    return tuple(
      tuple(map(self.index, question.after)) for question in self.questions
    )

  @cached_property
  def order(self) -> tuple[int, ...]:
    """Question indices, each after all the questions that lead to it."""
    asked_after = {
      q: self.question_of[list(answers)].tolist()
      for q, answers in enumerate(self.parents)
    }
    return tuple(TopologicalSorter(asked_after).static_order())

  @cached_property
  def branches(self) -> tuple[str, ...]:
    """What the galaxies are called that reach each question.

    The names of `BRANCHES` where it knows all questions, else the questions'.
    """
    names = tuple(question.name for question in self.questions)
    known = all(name in BRANCHES for name in names)
    return tuple(BRANCHES[name] for name in names) if known else names

  def index(self, answer: str) -> int:
    """Index of an answer by its full name; ValueError if there is none."""
    return self.answers.index(answer)

  def question(self, name: str) -> int:
    """Index of a question by its name; ValueError if there is none.

    Without its campaign the name is that of the first of `alike`.
    """
    names = [question.name for question in self.questions]
    stems = [question.stem for question in self.questions]
    if name in names:
      return names.index(name)
    if name in stems:
      return stems.index(name)
    raise ValueError(f"the tree {self.name!r} has no question {name!r}")

  def alike(self, question: int) -> tuple[int, ...]:
    """Indices of a question and of those that other campaigns ask likewise."""
    this = self.questions[question]
    return tuple(
      q
      for q, other in enumerate(self.questions)
      if other.stem == this.stem and len(other.answers) == len(this.answers)
    )

  def meant(self, name: str) -> tuple[int, ...]:
    """Indices of the questions of a name; ValueError if there is none.

    Of one with its campaign itself; without it of all that are `alike`.
    """
    first = self.question(name)
    own = name == self.questions[first].name
    return (first,) if own else self.alike(first)

  def kaggle_columns(self) -> tuple[str, ...]:
    """Class1.1, Class1.2, ..."""
    return tuple(
      f"Class{q}.{a}"
      for q, question in enumerate(self.questions, 1)
      for a in range(1, len(question.answers) + 1)
    )


def part(tree: Tree, questions: Sequence[str]) -> Tree:
  """The tree of some of the questions, in the order of `tree`; of (), all.

  Raises:
    ValueError: for a question that the tree does not have, and for one that is
      asked after another that is left out.
  """
  if not questions:
    return tree
  wanted = {tree.question(name) for name in questions}
  for q in sorted(wanted):
    for answer in tree.parents[q]:
      if int(tree.question_of[answer]) not in wanted:
        raise ValueError(
          f"{tree.questions[q].name} is asked after {tree.answers[answer]}"
        )
  kept = tuple(tree.questions[q] for q in sorted(wanted))
  return Tree(f"{tree.name}_{len(kept)}", kept)


# What the slides call the galaxies that reach a question of their hierarchy.
BRANCHES = {
  "smooth-or-featured": "root",
  "how-rounded": "smooth",
  "disk-edge-on": "disk",
  "has-spiral-arms": "spiral",
  "merging": "merging",
  "something-odd": "odd",
}


def places(tree: Tree, inner: Tree) -> np.ndarray:
  """Where the answers of `inner`, a part of `tree`, stand there, i64[A]."""
  return np.array([tree.index(answer) for answer in inner.answers])


def to_json(tree: Tree) -> dict[str, Any]:
  """A tree as plain data; its survey's own column names are left out."""
  questions = [question._asdict() for question in tree.questions]
  return {"name": tree.name, "questions": questions}


def from_json(plain: Mapping[str, Any]) -> Tree:
  """The tree of `to_json`, of `campaigns.json` or of a file of a user's own.

  Of `after` the name of a question stands for all of its answers.

  Raises:
    ValueError: for data that are no tree.
  """
  entries = plain.get("questions")
  if not isinstance(entries, list | tuple) or not entries:
    raise ValueError("it has no list of questions")
  answers = _answers(entries)
  questions = tuple(
    Question(
      entry["name"],
      entry.get("text") or f"{entry['name'].replace('-', ' ').capitalize()}?",
      tuple(entry["answers"]),
      tuple(
        answer
        for after in _listed(entry, "after")
        for answer in _leading(answers, entry["name"], after)
      ),
      entry.get("campaign", ""),
    )
    for entry in entries
  )
  stems, campaigns = (_listed(plain, x) for x in ("stems", "campaigns"))
  tree = Tree(plain["name"], questions, stems, campaigns)
  try:
    _ = tree.order
  except CycleError as error:
    raise ValueError("its questions are asked after each other") from error
  return tree


def _answers(entries: Sequence[Any]) -> dict[str, tuple[str, ...]]:
  """The full names of each question's answers; ValueError, see `from_json`."""
  answers: dict[str, tuple[str, ...]] = {}
  for entry in entries:
    name, given = (
      entry.get(key) if isinstance(entry, Mapping) else None
      for key in ("name", "answers")
    )
    is_list = isinstance(given, list | tuple)
    if not (isinstance(name, str) and name and is_list and _are_texts(given)):
      raise ValueError(
        f"question {len(answers) + 1} lacks a name or a list of answers"
      )
    if "_" in name:
      raise ValueError(f"the question {name!r} has an underscore: use hyphens")
    if name in answers or len(set(given)) < max(2, len(given)):
      raise ValueError(
        f"the question {name!r} is there twice, or has not two or more "
        "different answers"
      )
    answers[name] = tuple(f"{name}_{answer}" for answer in given)
  return answers


def _leading(
  answers: Mapping[str, tuple[str, ...]], question: str, after: str
) -> tuple[str, ...]:
  """The answers after which a question is asked, by the name of one or all."""
  if after in answers:
    return answers[after]
  if any(after in names for names in answers.values()):
    return (after,)
  raise ValueError(
    f"{question!r} is asked after {after!r}, which is neither an answer "
    "(question_answer) nor a question"
  )


def _listed(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
  """The texts of a key, of which one may stand without a list."""
  found = entry.get(key) or ()
  found = (found,) if isinstance(found, str) else found
  if not (isinstance(found, list | tuple) and _are_texts(found)):
    raise ValueError(f"{key!r} is {found!r}, no list of names")
  return tuple(found)


def _are_texts(values: Sequence[Any]) -> bool:
  return all(isinstance(value, str) for value in values)


def sums(tree: Tree, values: Array) -> Array:
  """Sum of the answers of each question: f[...,A] -> f[...,Q]."""
  xp = values.__array_namespace__()
  return xp.stack([values[..., part].sum(-1) for part in tree.slices], axis=-1)


def conditional(tree: Tree, values: Array, empty: float = 0.0) -> Array:
  """Shares among the volunteers who were asked: f[...,A] -> f[...,A].

  Vote counts, cumulative fractions or any other numbers >= 0 are divided by the
  sum of their question. Where that is 0 they become `empty`; the gradient is
  finite there, too.
  """
  xp = values.__array_namespace__()
  total = sums(tree, values)[..., tree.question_of]
  shares = values / xp.where(total > 0, total, 1)
  return xp.where(total > 0, shares, empty)


def asked(tree: Tree, shares: Array) -> Array:
  """Share of volunteers who are asked each question: f[...,A] -> f[...,Q].

  The forward weights of the tree: the sum over the parent answers of the
  probability that a volunteer gets there. The shares are conditional, and all
  of them defined.
  """
  xp = shares.__array_namespace__()
  reach: dict[int, Array] = {}
  for q in tree.order:
    ways = [
      reach[tree.question_of[a]] * shares[..., a] for a in tree.parents[q]
    ]
    reach[q] = sum(ways) if ways else xp.ones_like(shares[..., 0])
  return xp.stack([reach[q] for q in range(len(reach))], axis=-1)


def joint(tree: Tree, shares: Array) -> Array:
  """Cumulative fractions, the share of all volunteers who give each answer.

  The product of the conditional fractions up the tree, summed over the ways
  that lead there: f[...,A] -> f[...,A].
  """
  return asked(tree, shares)[..., tree.question_of] * shares


def joint_probability(tree: Tree, shares: Array, answer: str) -> Array:
  """`joint` of one answer, by its full name: f[...,A] -> f[...]."""
  return joint(tree, shares)[..., tree.index(answer)]


def renormalise(tree: Tree, values: Array) -> Array:
  """Any numbers >= 0 to cumulative fractions that obey the tree, f[...,A].

  The answers of each question are divided by their sum and multiplied with the
  share of volunteers who are asked (the lab report, section 3.5; the divisive
  normalisation of Dieleman et al. 2015).
  """
  return joint(tree, conditional(tree, values))


def violation(tree: Tree, cumulative: Array) -> Array:
  """How far cumulative fractions are from obeying the tree.

  f[...,A] -> f[...,Q]: for each question the sum of its answers less the sum of
  its parent answers (less 1 for a question that is always asked); 0 is perfect.
  """
  xp = cumulative.__array_namespace__()
  wanted = [
    sum(cumulative[..., a] for a in parents)
    if parents
    else xp.ones_like(cumulative[..., 0])
    for parents in tree.parents
  ]
  return sums(tree, cumulative) - xp.stack(wanted, axis=-1)


def column_key(name: str) -> str:
  """What is the same in all spellings of a column: hyphens are underscores."""
  return name.strip().lower().replace("-", "_")


def find_columns(
  wanted: Sequence[str], columns: Sequence[str]
) -> list[str | None]:
  """The columns of a table that are called `wanted`, in any spelling.

  Hyphens and underscores are the same (the DECaLS release has the former,
  derived tables the latter), and so are cases; None where there is none.
  """
  spelled = {column_key(name): name for name in columns}
  return [spelled.get(column_key(name)) for name in wanted]
