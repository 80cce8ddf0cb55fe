"""Numbers about predictions that are not one class of each galaxy.

Several labels at once, the answers to the questions of a tree, and classes with
an `uncertain` one beside them; on the host in float64. A prediction that is not
finite gives no label, the wrong answer and no class.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax.evaluation import intervals
from gzjax.evaluation.questions import question_accuracy
from gzjax.morphology import answers, campaigns
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Votes
from gzjax.objectives import targets


def choose_thresholds(
  truth: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
  """The threshold of the largest F1 of each label, for `above`.

  All cuts between the galaxies are compared. Of equally good ones the highest
  is taken, which gives the label to the fewest galaxies.

  Args:
    truth: bool or 0 and 1, [N,L], of validation galaxies.
    probabilities: f[N,L]; those that are not finite are under every threshold.

  Returns:
    f64[L], one of the label's probabilities each; 0.5 where no galaxy with a
    finite one has the label.
  """
  columns = zip(np.asarray(truth, bool).T, probabilities.T, strict=True)
  return np.array([_threshold(*column) for column in columns], np.float64)


def _threshold(truth, probability) -> float:
  finite = np.isfinite(probability)
  if not np.any(truth[finite]):
    return 0.5
  cuts, place = np.unique(probability[finite], return_inverse=True)
  # From the highest cut down, galaxies with at least that probability.
  said = np.bincount(place)[::-1].cumsum()
  hits = np.bincount(place, weights=truth[finite])[::-1].cumsum()
  best = _f1(hits, said, truth.sum()).argmax()
  return float(cuts[::-1][best])


def above(
  probabilities: np.ndarray, thresholds: np.ndarray | float
) -> np.ndarray:
  """Labels whose probability f[N,L] reaches its threshold f[L], bool[N,L]."""
  return np.isfinite(probabilities) & (probabilities >= thresholds)


def label_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
  """Scores over all labels.

  Args:
    truth: bool or 0 and 1, [N,L].
    predicted: bool or 0 and 1, [N,L].

  Returns:
    `exact_match` (share of galaxies with all labels right), `macro_precision`,
    `macro_recall` and `macro_f1` (means over the labels, one that is 0 / 0
    counted as 0), `micro_precision`, `micro_recall` and `micro_f1` (of all
    galaxies and labels together) and `hamming` (share of wrong labels).
  """
  truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
  counts = _counts(truth, predicted)
  each, pooled = _scores(*counts), _scores(*(n.sum() for n in counts))
  return {
    "exact_match": float(np.mean(np.all(truth == predicted, axis=1))),
    **{f"macro_{name}": float(value.mean()) for name, value in each.items()},
    **{f"micro_{name}": float(value) for name, value in pooled.items()},
    "hamming": float(np.mean(truth != predicted)),
  }


def per_label(
  names: Sequence[str], truth: np.ndarray, predicted: np.ndarray
) -> pd.DataFrame:
  """Counts and scores of each label.

  Args:
    names: of the L labels.
    truth: bool or 0 and 1, [N,L].
    predicted: bool or 0 and 1, [N,L].

  Returns:
    A row for each label: `label`; galaxies: `positives`, `predicted`,
    `true_positive`, `false_positive`, `false_negative`, `true_negative`; and
    `precision`, `recall` and `f1`, 0 where they are 0 / 0.
  """
  truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
  hits, said, meant = _counts(truth, predicted)
  return pd.DataFrame(
    {
      "label": list(names),
      "positives": meant,
      "predicted": said,
      "true_positive": hits,
      "false_positive": said - hits,
      "false_negative": meant - hits,
      "true_negative": len(truth) - said - meant + hits,
      **_scores(hits, said, meant),
    }
  )


def macro_f1_difference(
  truth: np.ndarray, one: np.ndarray, other: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
  """By how much the macro-F1 of `one` is above that of `other`.

  Args:
    truth: bool or 0 and 1, [N,L].
    one: bool or 0 and 1, [N,L], predicted.
    other: bool or 0 and 1, [N,L], predicted for the same galaxies.
    seed: of the bootstrap over galaxies, which are drawn for both together.

  Returns:
    (difference, low, high), the ends of its 95% interval.
  """
  truth, one, other = (np.asarray(x, bool) for x in (truth, one, other))
  marks = np.hstack([truth, one, truth & one, other, truth & other])

  def difference(rows):
    meant, said, hits, others_said, others_hits = np.split(
      marks[rows].sum(axis=0), 5
    )
    return np.mean(
      _f1(hits, said, meant) - _f1(others_hits, others_said, meant)
    )

  low, high = intervals.resampled_interval(difference, len(marks), seed)
  return float(difference(np.arange(len(marks)))), float(low), float(high)


def _counts(truth, predicted):
  """Galaxies: hits, those that were said and those that were meant, i64[L]."""
  pairs = truth & predicted, predicted, truth
  return tuple(pair.sum(axis=0) for pair in pairs)


def _scores(hits, said, meant) -> dict[str, np.ndarray]:
  return {
    "precision": _ratio(hits, said),
    "recall": _ratio(hits, meant),
    "f1": _f1(hits, said, meant),
  }


def _f1(hits, said, meant):
  return _ratio(2 * hits, said + meant)


def _ratio(part, whole):
  """Of whole numbers; 0 / 0 is 0."""
  return part / np.maximum(whole, 1)


class Labelled(NamedTuple):
  """The slides' ten labels of N galaxies."""

  names: tuple[str, ...]  # L
  truth: np.ndarray  # bool[N,L]
  said: np.ndarray  # bool[N,L]
  known: np.ndarray  # bool[N]: all questions were answered
  thresholds: np.ndarray  # f64[L], of the probabilities


def has_ten_labels(tree: Tree) -> bool:
  """Whether the tree asks the questions of the slides' ten labels."""
  names = [question.name for question in tree.questions]
  return set(campaigns.TEN_LABELS) <= set(names)


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
  names, truth, known = answers.multi_label(votes)
  truth = truth > 0
  p = found.labels[:, [votes.tree.index(name) for name in names]]
  thresholds = np.full(len(names), 0.5)
  if validation is not None:
    rows = validation[known[validation]]
    thresholds = choose_thresholds(truth[rows], p[rows])
  said = above(p, thresholds)
  return Labelled(names, truth, said, known, thresholds)


def question_tables(
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
    `questions`, see `questions.question_accuracy`; where the tree has them,
    of the slides' ten labels `scores` (see `label_scores.label_scores`; by
    `thresholds`, "0.5" or "tuned") and `per_label` (by the tuned ones). The
    first column of all is `method`.
  """
  seen = votes.select(test)
  questions, scores, each = [], [], []
  for method, found in predictions.items():
    said = found.votes.shares[test]
    table = question_accuracy(votes.tree, seen, said)
    questions.append(table.assign(method=method))
    if not has_ten_labels(votes.tree):
      continue
    for name, rows in (("0.5", None), ("tuned", validation)):
      given = label(votes, found, rows)
      judged = test[given.known[test]]
      pair = given.truth[judged], given.said[judged]
      line = {"method": method, "thresholds": name}
      scores.append({**line, **label_scores(*pair)})
    table = per_label(given.names, *pair)
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
