"""Labels and majorities for several questions at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gzjax.morphology import campaigns, trees, walks
from gzjax.morphology.labels import Labels, majority_answer, sifted
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Votes, answered


def multi_label(
  votes: Votes, answers: Sequence[str] = (), threshold: float = 0.5
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
  """Several yes-or-no targets at once: the answer's share is over `threshold`.

  Args:
    votes: of N galaxies; the debiased fractions are used where there are any
      (the slides do), else what was voted.
    answers: full names; (): the slides' ten, the answers of the questions
      smooth or featured, edge-on, bar and spiral arms.
    threshold: on the conditional share.

  Returns:
    (names, f32[N,L] of 0 and 1, bool[N] of the galaxies for which every one of
    these shares is known; the slides leave out the others).
  """
  tree = votes.tree
  shares = votes.shares if votes.debiased is None else votes.debiased
  if not answers:
    answers = trees.part(tree, campaigns.TEN_LABELS).answers
  columns = shares[:, [tree.index(name) for name in answers]]
  known = np.all(np.isfinite(columns), axis=1)
  return tuple(answers), (columns > threshold).astype(np.float32), known


class Branch(NamedTuple):
  """A question of the hierarchy and the galaxies that reach it."""

  question: str
  labels: Labels


def branches(votes: Votes, min_votes: int = 0) -> dict[str, Branch]:
  """The slides' classifiers: one for each question, fed by its branch only.

  A galaxy is in a branch if the majority of the volunteers leads there and at
  least `min_votes` (0 for votes without counts) answered the question.

  Returns:
    For each question of `campaigns.hierarchy`, in its order, the name of
    its branch (root, smooth, disk, spiral and merging; in Galaxy Zoo 2 odd in
    place of merging) and the labels in it.

  Raises:
    UserError: if `min_votes` is set and the votes have no counts.
  """
  tree = campaigns.hierarchy(votes.tree)
  path = walks.majority_path(tree, votes.on(tree).shares)
  reached = walks.reached(tree, path)
  found = {}
  for q, name in enumerate(tree.branches):
    question = tree.questions[q].name
    choice = majority_answer(votes, question=question)
    checks = {"the majority leads elsewhere": ~reached[:, q]}
    if min_votes:
      few = answered(votes, question) < min_votes
      checks[f"fewer than {min_votes} answers"] = few
    checks[f"nobody answered {question}"] = choice.unanswered
    found[name] = Branch(question, sifted(choice, checks))
  return found


def branch_answers(votes: Votes, min_votes: int = 0) -> tuple[Tree, np.ndarray]:
  """What the networks of `hierarchy` learn, side by side: see `branches`.

  Returns:
    (the tree of `campaigns.hierarchy`, f32[N,A]): 1 for the answer of most
    volunteers to the questions of the branches that a galaxy is in, else 0.
  """
  answers = []
  for branch in branches(votes, min_votes).values():
    k = len(branch.labels.classes)
    # The last row, all zeros, is that of LEFT_OUT.
    answers.append(np.eye(k + 1, k, dtype=np.float32)[branch.labels.label])
  return campaigns.hierarchy(votes.tree), np.concatenate(answers, axis=1)
