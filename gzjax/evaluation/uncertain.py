"""Classes with `uncertain` beside them: galaxies that a network leaves open."""

from typing import Any

import numpy as np

from gzjax.evaluation import metrics
from gzjax.morphology.labels import LEFT_OUT


def with_uncertain(probabilities: np.ndarray, below: float) -> np.ndarray:
  """Class of the largest probability of f[N,C], i64[N].

  C, which stands for uncertain, where it is under `below` or not all
  probabilities are finite.
  """
  found = metrics.predicted_class(probabilities)
  sure = probabilities.max(axis=1) >= below
  return np.where(
    sure & (found != metrics.INVALID_CLASS), found, probabilities.shape[1]
  )


def confusion_with_uncertain(
  true_label: np.ndarray, probabilities: np.ndarray, below: float
) -> np.ndarray:
  """i64[C+1,C+1]: rows are labels, columns predictions, uncertain is last.

  The labels are i[N], LEFT_OUT where volunteers are uncertain.
  """
  uncertain = probabilities.shape[1]
  return metrics.confusion_matrix(
    np.where(true_label == LEFT_OUT, uncertain, true_label),
    with_uncertain(probabilities, below),
    uncertain + 1,
  )


def coverage_accuracy(
  true_label: np.ndarray, probabilities: np.ndarray, below: float
) -> dict[str, float]:
  """How many galaxies get a class, and how many of those the right one.

  `coverage` (share of the galaxies that get a class) and `accuracy` (among
  them); NaN of no galaxies. Those with the label LEFT_OUT do not count.
  """
  known = confusion_with_uncertain(true_label, probabilities, below)[:-1]
  covered = known[:, :-1]
  return {
    "coverage": metrics.ratio(covered.sum(), known.sum()),
    "accuracy": metrics.ratio(np.trace(covered), covered.sum()),
  }


def compare_confusion(
  label: np.ndarray, probabilities: np.ndarray, below: float
) -> dict[str, Any]:
  """How a network does on all galaxies, and on those that people agree on.

  Of labels i[N], a class or LEFT_OUT, and probabilities f64[N,C].

  Returns:
    `common`, see `confusion_with_uncertain`; `balanced`, that of the galaxies
    with a label as shares of their class, so that each class weighs the same;
    `coverage` and `accuracy` of those, see `coverage_accuracy`, and `forced`,
    the accuracy if the network has to choose.
  """
  known = label != LEFT_OUT
  common = confusion_with_uncertain(label, probabilities, below)
  sizes = np.maximum(common[:-1].sum(axis=1, keepdims=True), 1)
  chosen = metrics.predicted_class(probabilities[known])
  return {
    "common": common.tolist(),
    "balanced": (common[:-1] / sizes).tolist(),
    **coverage_accuracy(label, probabilities, below),
    "forced": metrics.accuracy(label[known], chosen),
  }
