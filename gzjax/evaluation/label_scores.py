"""Numbers about several labels at once, on the host in float64.

A prediction that is not finite gives no label. Labels are bool or 0 and 1,
[N,L] of N galaxies and L labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax.evaluation import intervals
from gzjax.morphology import answers, campaigns
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Votes
from gzjax.objectives.targets import Prediction


def choose_thresholds(
  truth: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
  """The threshold of the largest F1 of each label, for `above`, f64[L].

  All cuts between the probabilities f[N,L] of validation galaxies are compared.
  Of equally good ones the highest is taken, which gives the label to the fewest
  galaxies. 0.5 where no galaxy with a finite probability has the label.
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

  A row for each: `label`; galaxies: `positives`, `predicted`, `true_positive`,
  `false_positive`, `false_negative`, `true_negative`; and `precision`, `recall`
  and `f1`, 0 where they are 0 / 0.
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

  (difference, low, high); the interval (95%) is a bootstrap over galaxies,
  drawn for both together.
  """
  truth, one, other = (np.asarray(x, bool) for x in (truth, one, other))
  marks = np.hstack([truth, one, truth & one, other, truth & other])

  def difference(rows):
    counts = np.split(marks[rows].sum(axis=0), 5)
    meant, said, hits, others_said, others_hits = counts
    return np.mean(
      _f1(hits, said, meant) - _f1(others_hits, others_said, meant)
    )

  return intervals.with_interval(difference, len(marks), seed)


def _counts(truth, predicted):
  """Galaxies: hits, those that were said and those that were meant, i64[L]."""
  return tuple(x.sum(axis=0) for x in (truth & predicted, predicted, truth))


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
  return set(campaigns.TEN_LABELS) <= {q.name for q in tree.questions}


def label(
  votes: Votes, found: Prediction, validation: np.ndarray | None
) -> Labelled:
  """The labels that a network gives to galaxies with votes on its tree.

  The thresholds are those of the best F1 on the rows `validation`; None: 0.5.
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
