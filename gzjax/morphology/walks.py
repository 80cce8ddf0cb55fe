"""The way of a galaxy through a decision tree."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gzjax.morphology import trees


def majority_path(tree: trees.Tree, shares: np.ndarray) -> np.ndarray:
  """The way of the largest conditional fractions through the tree.

  The shares f[N,A] are conditional; NaN or 0 where nobody was asked.

  Returns:
    i64[N,Q]: the answer of each question that lies on the way, counted within
    the question; -1 for questions that do not.
  """
  known = np.nan_to_num(shares)
  choice = np.full((len(shares), len(tree.questions)), -1)
  for q in tree.order:
    part = known[:, tree.slices[q]]
    answered = _leads_to(tree, choice, q) & (part.sum(axis=1) > 0)
    choice[answered, q] = part[answered].argmax(axis=1)
  return choice


def reached(tree: trees.Tree, path: np.ndarray) -> np.ndarray:
  """The questions that `majority_path` leads to, answered or not: bool[N,Q].

  True for questions that are always asked.
  """
  questions = range(len(tree.questions))
  return np.stack([_leads_to(tree, path, q) for q in questions], axis=1)


class Step(NamedTuple):
  """One answer on the way of a galaxy through a tree."""

  level: int  # how many answers led to the question
  branch: str  # see `Tree.branches`
  question: str
  answer: str  # full name
  confidence: float  # conditional share, 0 to 1


def walk(tree: trees.Tree, shares: np.ndarray) -> list[list[Step]]:
  """The way of the largest conditional fractions, galaxy by galaxy.

  The shares f[N,A] are conditional; the way ends at a question where they are
  NaN or 0. Each galaxy's steps come level by level; none where no question is
  answered.
  """
  path = majority_path(tree, shares)
  return [_steps(tree, *galaxy) for galaxy in zip(path, shares, strict=True)]


def _steps(tree, choice, shares) -> list[Step]:
  found: dict[int, Step] = {}  # by the answer
  for q in tree.order:
    if choice[q] < 0:
      continue
    answer = tree.slices[q].start + int(choice[q])
    level = max(
      (found[a].level + 1 for a in tree.parents[q] if a in found), default=0
    )
    names = tree.branches[q], tree.questions[q].name, tree.answers[answer]
    found[answer] = Step(level, *names, float(shares[answer]))
  return sorted(found.values(), key=lambda step: step.level)


def walk_lines(steps: Sequence[Step]) -> list[str]:
  """What a user is told of the `walk` of a galaxy, a line for each step."""
  return [
    f"Level {step.level} ({step.branch}): {step.answer}, "
    f"confidence {step.confidence:.2f}"
    for step in steps
  ] or ["No answer"]


def _leads_to(tree, choice, q):
  """Who is asked question `q` after the answers `choice` i64[N,Q], bool[N]."""
  if not tree.parents[q]:
    return np.ones(len(choice), bool)
  given = [
    choice[:, tree.question_of[a]] == a - tree.slices[tree.question_of[a]].start
    for a in tree.parents[q]
  ]
  return np.any(given, axis=0)
