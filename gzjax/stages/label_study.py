"""How well the questions of a tree are answered, and seed 3's ten labels."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax import label_metrics, targets
from gzjax.data import decision_tree, labels
from gzjax.data.decision_tree import Tree
from gzjax.data.labels import Votes


class Labelled(NamedTuple):
  """Seed 3's ten labels of N galaxies."""

  names: tuple[str, ...]  # L
  truth: np.ndarray  # bool[N,L]
  said: np.ndarray  # bool[N,L]
  known: np.ndarray  # bool[N]: all questions were answered
  thresholds: np.ndarray  # f64[L], of the probabilities


def has_ten_labels(tree: Tree) -> bool:
  """Whether the tree asks the questions of seed 3's ten labels."""
  names = [question.name for question in tree.questions]
  return set(decision_tree.TEN_LABELS) <= set(names)


def label(
  votes: Votes,
  found: targets.Prediction,
  validation: np.ndarray | None,
) -> Labelled:
  """The labels that a network gives.

  Args:
    votes: on N galaxies, on the tree of the network.
    found: what the network says about them.
    validation: i[n], rows on which the thresholds of the best F1 are chosen;
      None: they are 0.5.
  """
  assert found.labels is not None
  names, truth, known = labels.multi_label(votes)
  truth = truth > 0
  p = found.labels[:, [votes.tree.index(name) for name in names]]
  thresholds = np.full(len(names), 0.5)
  if validation is not None:
    rows = validation[known[validation]]
    thresholds = label_metrics.choose_thresholds(truth[rows], p[rows])
  said = label_metrics.above(p, thresholds)
  return Labelled(names, truth, said, known, thresholds)


def study(
  votes: Votes,
  predictions: Mapping[str, targets.Prediction],
  *,
  validation: np.ndarray,
  test: np.ndarray,
) -> dict[str, pd.DataFrame]:
  """All tables about the test galaxies, by their names.

  Args:
    votes: on all N galaxies, on the tree of the networks.
    predictions: method -> of all N galaxies.
    validation: i[n], rows on which thresholds are chosen.
    test: i[m], rows to judge on.

  Returns:
    `questions`, see `label_metrics.question_accuracy`; where the tree has them,
    of seed 3's ten labels `scores` (see `label_metrics.label_scores`; by
    `thresholds`, "0.5" or "tuned") and `per_label` (by the tuned ones). The
    first column of all is `method`.
  """
  seen = votes.select(test)
  questions, scores, each = [], [], []
  for method, found in predictions.items():
    assert found.votes is not None
    said = found.votes.shares[test]
    table = label_metrics.question_accuracy(votes.tree, seen, said)
    questions.append(table.assign(method=method))
    if not has_ten_labels(votes.tree):
      continue
    for name, rows in (("0.5", None), ("tuned", validation)):
      given = label(votes, found, rows)
      judged = test[given.known[test]]
      pair = given.truth[judged], given.said[judged]
      line = {"method": method, "thresholds": name}
      scores.append({**line, **label_metrics.label_scores(*pair)})
    table = label_metrics.per_label(given.names, *pair)
    each.append(table.assign(method=method, threshold=given.thresholds))
  tables = {"questions": _join(questions)}
  if each:
    tables["scores"] = pd.DataFrame(scores)
    tables["per_label"] = _join(each)
  return tables


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
  """One below the other, the method first."""
  table = pd.concat(tables, ignore_index=True)
  table.insert(0, "method", table.pop("method"))
  return table
