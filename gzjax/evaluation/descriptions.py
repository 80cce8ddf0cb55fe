"""What a network says about single galaxies, in lines of text."""

from collections.abc import Sequence

import numpy as np

from gzjax.evaluation import label_scores, uncertain
from gzjax.morphology import campaigns, walks
from gzjax.morphology.votes import Votes
from gzjax.objectives.targets import Prediction, Target


def describe(
  target: Target,
  found: Prediction,
  rows: Sequence[int] | np.ndarray,
  *,
  below: float,
  shares: np.ndarray | None,
  votes: Votes | None,
  validation: np.ndarray,
) -> list[list[str]]:
  """The lines of some of N galaxies.

  Of a network of classes their probabilities, of one of labels those that it or
  the volunteers give, else its way through the tree.

  Args:
    target: of the network.
    found: about the N galaxies.
    rows: which of them.
    below: largest probability under which a network of classes is uncertain.
    shares: f64[N,C], of the volunteers for each class; None: nobody knows.
    votes: on all questions that the network answers; None: on none.
    validation: i[n], rows on which thresholds of labels are chosen.
  """
  if target.learns == "label" or votes is None:
    return [
      _class_lines(target.classes, found.probabilities, shares, row, below)
      for row in rows
    ]
  tree = found.votes.tree
  # The slides' ten labels and nothing else.
  if {x.name for x in tree.questions} == set(campaigns.TEN_LABELS):
    given = label_scores.label(votes.on(tree), found, validation)
    return [
      _label_lines(given.names, given.said[row], given.truth[row])
      for row in rows
    ]
  steps = walks.walk(tree, found.votes.shares[list(rows)])
  return [walks.walk_lines(galaxy) for galaxy in steps]


def _class_lines(classes, probabilities, shares, row, below) -> list[str]:
  """What a network of classes says of one galaxy, beside the volunteers."""
  (said,) = uncertain.with_uncertain(probabilities[[row]], below)
  lines = []
  for k, name in enumerate(classes):
    line = f"{name} {probabilities[row, k]:.2f}"
    if shares is not None:
      line += f" (votes {np.nan_to_num(shares[row, k]):.2f})"
    lines.append(line)
  return [f"→ {[*classes, 'uncertain'][said]}", *lines]


def _label_lines(names, said, voted) -> list[str]:
  """The labels that a network or the volunteers give to one galaxy."""
  mark = {True: "✓", False: "✗"}
  return [
    f"{name}: predicted {mark[bool(p)]}, voted {mark[bool(v)]}"
    for name, p, v in zip(names, said, voted, strict=True)
    if p or v
  ]
