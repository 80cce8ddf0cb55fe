"""Numbers about predictions, on the host in float64.

A prediction that is not finite belongs to no class: it is counted as wrong,
never as class 0 (which is what argmax makes of NaN).
"""

import numpy as np
from scipy import special, stats

INVALID_CLASS = -1


def predicted_class(logits: np.ndarray) -> np.ndarray:
  """f[N,K] -> i64[N]; `INVALID_CLASS` where a row is not finite."""
  finite = np.isfinite(logits).all(axis=1)
  return np.where(finite, logits.argmax(axis=1), INVALID_CLASS)


def softmax(logits: np.ndarray) -> np.ndarray:
  """f[N,K] -> f64[N,K]; NaN where a row is not finite."""
  logits = np.asarray(logits, np.float64)
  finite = np.isfinite(logits).all(axis=1, keepdims=True)
  return np.where(
    finite, special.softmax(np.where(finite, logits, 0), axis=1), np.nan
  )


def cross_entropy(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
  """-log p(label) in nats, f64[N]; inf where p is 0 or not finite."""
  p = probabilities[np.arange(len(label)), label]
  with np.errstate(divide="ignore"):
    return -np.log(np.where(np.isfinite(p), p, 0.0))


def confusion_matrix(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """i64[K,K]: rows are labels, columns predictions; invalid ones left out."""
  keep = predicted != INVALID_CLASS
  matrix = np.zeros((num_classes, num_classes), np.int64)
  np.add.at(matrix, (label[keep], predicted[keep]), 1)
  return matrix


def accuracy(label: np.ndarray, predicted: np.ndarray) -> float:
  """Share of equal entries; NaN for no entries."""
  return float(np.mean(label == predicted)) if len(label) else float("nan")


def recalls(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """Recall of each class, f64[K]; NaN for a class that does not occur."""
  return np.array(
    [
      accuracy(label[label == k], predicted[label == k])
      for k in range(num_classes)
    ]
  )


def balanced_accuracy(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> float:
  """Mean recall over the classes that occur."""
  return float(np.nanmean(recalls(label, predicted, num_classes)))


def macro_f1(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> float:
  """Mean F1 over the classes that occur as label or prediction."""
  scores = []
  for k in range(num_classes):
    hits = np.sum((label == k) & (predicted == k))
    total = np.sum(label == k) + np.sum(predicted == k)
    if total:
      scores.append(2 * hits / total)
  return float(np.mean(scores))


def wilson_interval(
  hits: float, n: int, confidence: float = 0.95
) -> tuple[float, float]:
  """Wilson score interval of a share (Wilson 1927); (0, 1) for n = 0."""
  if n == 0:
    return 0.0, 1.0
  z = stats.norm.ppf(0.5 + confidence / 2)
  p = hits / n
  centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
  half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
  return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
  """P(positive score > negative score) + P(equal) / 2 (Mann and Whitney).

  Infinite scores keep their order; NaN for an empty side.
  """
  if not len(positive) or not len(negative):
    return float("nan")
  ranks = stats.rankdata(np.concatenate([positive, negative]))
  n = len(positive)
  return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def attack_auc(
  forget_probabilities: np.ndarray,
  forget_label: np.ndarray,
  unseen_probabilities: np.ndarray,
  unseen_label: np.ndarray,
) -> float:
  """How well the loss tells memorised wrong labels from unseen wrong ones.

  The population membership attack on the loss (Yeom et al. 2018) with a fair
  outside group: galaxies that were never trained on, given wrong labels by the
  same flip model. Real retraining scores about 0.5, a model that memorised its
  wrong labels about 1. (Against unseen galaxies with their true labels, even
  real retraining would look suspicious: its loss on wrong labels is high.)
  """
  return auc(
    -cross_entropy(forget_probabilities, forget_label),
    -cross_entropy(unseen_probabilities, unseen_label),
  )


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """Jensen-Shannon divergence of each row in nats, f64[N], at most ln 2.

  A row that is not finite counts as ln 2, the largest distance.
  """
  m = (p + q) / 2
  divergence = (
    special.rel_entr(p, m).sum(axis=1) + special.rel_entr(q, m).sum(axis=1)
  ) / 2
  return np.clip(np.where(np.isnan(divergence), np.log(2), divergence), 0, None)
