"""Kinds of target: a table of what networks may learn of volunteers' votes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gzjax.morphology import answers as several
from gzjax.morphology import campaigns, trees
from gzjax.morphology.labels import class_names
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Votes
from gzjax.objectives import targets
from gzjax.objectives.targets import Target
from gzjax.registry import Natural, Table
from gzjax.remembered import remembered


class Kind(NamedTuple):
  """A kind of target: what it makes of votes, and what networks learn of it.

  `build(tree, class_answers, **settings)` makes the target; the settings are
  keys of `config.target`. `learn(votes, tree, **settings)` makes, of the votes
  on all questions, what the objective wants: (f32[N,A], bool[N] whether it can
  be learned).
  """

  build: Callable[..., Target]
  learn: Callable[..., tuple[np.ndarray, np.ndarray]]
  # (the tree that was voted through, names of questions) -> that of the target.
  ask: Callable[[Tree, Sequence[str]], Tree] = trees.part
  needs_votes: bool = True


def _shares_of_all(votes: Votes, tree: Tree, **_):
  fractions = votes.on(tree).cumulative
  if np.isnan(fractions).any():
    raise ValueError(
      "galaxies of several campaigns have votes on some questions only: use "
      "target.kind=counts, which learns from each what was asked"
    )
  return fractions, np.ones(len(votes.shares), bool)


def _numbers(votes: Votes, tree: Tree, *, volunteers: int):
  """Numbers of votes; where only fractions are known, of so many people."""
  cut = votes.on(tree)
  known = np.ones(len(cut.shares), bool)
  if cut.counts is not None:
    return cut.counts, known
  if not volunteers:
    raise ValueError(
      "it needs numbers of votes, and these are fractions only: say how many "
      "people looked at each galaxy, such as target.volunteers=44"
    )
  return volunteers * cut.cumulative, known


def _right_or_wrong(votes: Votes, tree: Tree):
  _, right, known = several.multi_label(votes.on(tree), tree.answers)
  return right, known


def _majorities(votes: Votes, tree: Tree, *, min_votes: int):
  del tree
  _, chosen = several.branch_answers(votes, min_votes)
  return chosen, np.ones(len(chosen), bool)


def _ten_or_some(tree: Tree, questions: Sequence[str]) -> Tree:
  return trees.part(tree, questions or campaigns.TEN_LABELS)


def _hierarchy(tree: Tree, questions: Sequence[str]) -> Tree:
  if questions:
    raise ValueError("branches has five questions of its own")
  return campaigns.hierarchy(tree)


def _build_classes(tree: Tree, class_answers: Sequence[int]) -> Target:
  names = class_names(tree, int(tree.question_of[class_answers[0]]))
  return targets.classes([names[k] for k in class_answers])


def _build_counts(
  tree: Tree, class_answers: Sequence[int], *, volunteers: Natural = 0
) -> Target:
  """See `counts`.

  Args:
    tree: the questions.
    class_answers: those that are the classes.
    volunteers: counts, of data that have fractions only: how many people are
      taken to have looked at each galaxy; 0: the data have counts.
  """
  del volunteers
  return targets.counts(tree, class_answers)


def _build_branches(
  tree: Tree, class_answers: Sequence[int], *, min_votes: Natural = 0
) -> Target:
  """See `answers`.

  Args:
    tree: the questions.
    class_answers: those that are the classes.
    min_votes: branches: least number of answers to learn from.
  """
  del min_votes
  return targets.answers(tree, class_answers, expects_fractions=False)


TARGETS: Table[Kind] = Table(
  {
    "classes": Kind(_build_classes, _shares_of_all, needs_votes=False),
    "fractions": Kind(targets.fractions, _shares_of_all),
    "counts": Kind(_build_counts, _numbers),
    "answers": Kind(targets.answers, _shares_of_all),
    "labels": Kind(targets.labels, _right_or_wrong, _ten_or_some),
    "branches": Kind(_build_branches, _majorities, _hierarchy),
  }
)


@remembered
def build(
  row: Kind, tree: Tree, class_answers: tuple[int, ...], **settings: Any
) -> Target:
  """The target of a row of `TARGETS`, the same again for equal arguments."""
  return row.build(tree, class_answers, **settings)
