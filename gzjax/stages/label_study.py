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
  """What is right about N galaxies, label by label, and what was predicted."""

  names: tuple[str, ...]  # L
  truth: np.ndarray  # bool[N,L]
  probabilities: np.ndarray  # f64[N,L]
  known: np.ndarray  # bool[N]: all questions were answered


def has_ten_labels(tree: Tree) -> bool:
  """Whether the tree asks the questions of seed 3's ten labels."""
  names = [question.name for question in tree.questions]
  return set(decision_tree.TEN_LABELS) <= set(names)


def ten_labels(votes: Votes, found: targets.Prediction) -> Labelled:
  """Seed 3's ten labels of N galaxies, and their probabilities.

  Args:
    votes: on N galaxies, on the tree of the network.
    found: what the network says about them.
  """
  assert found.labels is not None
  names, truth, known = labels.multi_label(votes)
  at = [votes.tree.index(name) for name in names]
  return Labelled(names, truth > 0, found.labels[:, at], known)


def thresholds(validation: Labelled) -> np.ndarray:
  """The best threshold of each label, f64[L]."""
  known = validation.known
  return label_metrics.choose_thresholds(
    validation.truth[known], validation.probabilities[known]
  )


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
  questions, scores, each = [], [], []
  for method, found in predictions.items():
    assert found.votes is not None
    table = label_metrics.question_accuracy(
      votes.tree, votes.select(test), found.votes.shares[test]
    )
    questions.append(_first(table, method))
    if not has_ten_labels(votes.tree):
      continue
    seen, judged = (
      ten_labels(votes.select(rows), _rows(found, rows))
      for rows in (validation, test)
    )
    truth = judged.truth[judged.known]
    for name, cut in (("0.5", 0.5), ("tuned", thresholds(seen))):
      said = label_metrics.above(judged.probabilities, cut)[judged.known]
      scores.append(
        {
          "method": method,
          "thresholds": name,
          **label_metrics.label_scores(truth, said),
        }
      )
    table = label_metrics.per_label(judged.names, truth, said)
    table.insert(1, "threshold", cut)
    each.append(_first(table, method))
  tables = {"questions": pd.concat(questions, ignore_index=True)}
  if each:
    tables["scores"] = pd.DataFrame(scores)
    tables["per_label"] = pd.concat(each, ignore_index=True)
  return tables


def _rows(found: targets.Prediction, rows: np.ndarray) -> targets.Prediction:
  assert found.labels is not None
  return found._replace(labels=found.labels[rows])


def _first(table: pd.DataFrame, method: str) -> pd.DataFrame:
  table.insert(0, "method", method)
  return table
