"""Numbers about predictions, on the host in float64.

A prediction that is not finite belongs to no class: it is counted as wrong,
never as class 0 (which is what argmax makes of NaN).
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

INVALID_CLASS = -1


def predicted_class(logits: np.ndarray) -> np.ndarray:
  """f[N,K] -> i64[N]; `INVALID_CLASS` where a row is not finite."""
  finite = np.isfinite(logits).all(axis=1)
  return np.where(finite, logits.argmax(axis=1), INVALID_CLASS)


def cross_entropy(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
  """-log p(label) in nats, f64[N]; inf where p is 0 or not finite."""
  p = probabilities[np.arange(len(label)), label]
  with np.errstate(divide="ignore"):
    return -np.log(np.where(np.isfinite(p), p, 0.0))


def log_margin(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
  """Log p(label) - log of the largest other p, f64[N]: a margin of logits.

  Within +-30; -30 where a row is not finite.
  """
  rows = np.arange(len(label))
  others = probabilities.astype(np.float64)
  given = others[rows, label]
  others[rows, label] = 0
  with np.errstate(divide="ignore", invalid="ignore"):
    found = np.log(given) - np.log(others.max(axis=1))
  return np.clip(np.nan_to_num(found, nan=-30.0), -30, 30)


def confusion_matrix(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """i64[K,K]: rows are labels, columns predictions; invalid ones left out."""
  keep = predicted != INVALID_CLASS
  matrix = np.zeros((num_classes, num_classes), np.int64)
  np.add.at(matrix, (label[keep], predicted[keep]), 1)
  return matrix


def confidence_bins(
  probabilities: np.ndarray, label: np.ndarray, bins: int = 10
) -> dict[str, np.ndarray]:
  """Whether answers of probability p are right with p, by bins of 0 to 1.

  Of f[N,K] and i[N]; rows that are not finite are left out.

  Returns:
    Of the B bins that are not empty `said` and `right`, f64[B], the means of
    the probability of the class that is named and of whether it is right, and
    `count`, i64[B].
  """
  finite = np.isfinite(probabilities).all(axis=1)
  said = probabilities[finite].max(axis=1)
  right = probabilities[finite].argmax(axis=1) == label[finite]
  place = np.minimum(said * bins, bins - 1).astype(int)
  count = np.bincount(place, minlength=bins)
  full = count > 0
  sums = (np.bincount(place, x, bins)[full] for x in (said, right))
  means = (x / count[full] for x in sums)
  return {**dict(zip(("said", "right"), means)), "count": count[full]}


def mean_or_nan(values: np.ndarray) -> float:
  """The mean of all values; NaN of nothing."""
  return float(values.mean()) if values.size else float("nan")


def known_mean(values: np.ndarray) -> np.ndarray:
  """The mean over the first axis of what is not NaN; NaN of nothing."""
  known = ~np.isnan(values)
  total, count = values.sum(axis=0, where=known), known.sum(axis=0)
  return np.divide(
    total, count, out=np.full(total.shape, np.nan), where=count > 0
  )


def ratio(part: float, whole: float) -> float:
  """The part of the whole; NaN of nothing."""
  return float(part / whole) if whole else float("nan")


def accuracy(label: np.ndarray, predicted: np.ndarray) -> float:
  """Share of equal entries; NaN for no entries."""
  return mean_or_nan(label == predicted)


def recalls(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """Recall of each class, f64[K]; NaN for a class that does not occur."""
  return np.array(
    [mean_or_nan(predicted[label == k] == k) for k in range(num_classes)]
  )


def balanced_accuracy(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> float:
  """Mean recall over the classes that occur."""
  return float(np.nanmean(recalls(label, predicted, num_classes)))


def hit_weights(label: np.ndarray) -> np.ndarray:
  """What a hit on each galaxy adds to the balanced accuracy, f64[N].

  Of labels i[N]: one over the galaxies of its class and the classes that occur.
  """
  counts = np.bincount(label)
  return 1 / counts[label] / np.count_nonzero(counts)


def macro_f1(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> float:
  """Mean F1 over the classes that occur as label or prediction."""
  k = np.arange(num_classes)[:, None]
  meant, said = label == k, predicted == k
  hits = np.sum(meant & said, axis=1)
  total = np.sum(meant, axis=1) + np.sum(said, axis=1)
  return float(np.mean(2 * hits[total > 0] / total[total > 0]))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """Jensen-Shannon divergence of each row in nats, f64[N], at most ln 2.

  A row that is not finite counts as ln 2, the largest distance.
  """
  m = (p + q) / 2
  divergence = (
    special.rel_entr(p, m).sum(axis=1) + special.rel_entr(q, m).sum(axis=1)
  ) / 2
  return np.clip(np.where(np.isnan(divergence), np.log(2), divergence), 0, None)


def entropy(shares: np.ndarray) -> float:
  """-sum p log p of shares f[K], nats."""
  return float(special.entr(np.asarray(shares, np.float64)).sum())


def distance_to_constant(probabilities: np.ndarray) -> float:
  """How much the prediction depends on the galaxy, nats; 0 for a constant one.

  The least mean KL divergence to any constant prediction, which is that to the
  mean prediction: the mutual information of galaxy and predicted class, at most
  ln K. NaN rows are left out; 0 if nothing is left.
  """
  finite = probabilities[np.isfinite(probabilities).all(axis=1)]
  if not len(finite):
    return 0.0
  kl = special.rel_entr(finite, finite.mean(axis=0)).sum(axis=1)
  return float(max(kl.mean(), 0.0))


def activation_distance(p: np.ndarray, q: np.ndarray) -> float:
  """Mean L1 distance of the probabilities (Golatkar et al. 2020), 0 to 2.

  A row that is not finite counts as 2.
  """
  distance = np.abs(p - q).sum(axis=1)
  return float(np.mean(np.where(np.isnan(distance), 2.0, distance)))


def agreement(p: np.ndarray, q: np.ndarray) -> float:
  """Share of rows with the same predicted class; invalid ones never agree."""
  a, b = predicted_class(p), predicted_class(q)
  return float(np.mean((a == b) & (a != INVALID_CLASS)))


def tug_of_war(
  accuracies: Sequence[float], retrained: Sequence[float]
) -> float:
  """Product of 1 - |a - a of retraining| (Zhao et al. 2024): 1 is best.

  Of the accuracies (0 to 1) on the forget, retain and test set.
  """
  return float(np.prod(1 - np.abs(np.subtract(accuracies, retrained))))
