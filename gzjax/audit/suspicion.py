"""How suspicious each label is, by probabilities, logits or features.

The probabilities should be of networks that did not learn the label.
"""

from typing import NamedTuple

import numpy as np

from gzjax.evaluation import metrics

_SUM = 1e-2  # how far from 1 probabilities in low precision may sum up


class Scores(NamedTuple):
  """How right the labels of N examples look; higher is more so."""

  self_confidence: np.ndarray  # f64[N], p of the label
  normalised_margin: np.ndarray  # f64[N], less the largest other p; -1 to 1
  adjusted_self_confidence: np.ndarray  # f64[N], for hard classes; 0 to 1
  suggested: np.ndarray  # i64[N], the likeliest other class


class Neighbours(NamedTuple):
  """The k examples that look most like each of N."""

  index: np.ndarray  # i64[N,k], rows of the reference, the nearest first
  share: np.ndarray  # f64[N], of them with another label
  oddity: np.ndarray  # f64[N], mean of one less the cosine, 0 to 2


def scores(probabilities: np.ndarray, labels: np.ndarray) -> Scores:
  """What the probabilities f[N,K] say of the labels i[N].

  Self-confidence and normalised margin are those of confident learning
  (Northcutt et al. 2021). The adjusted self-confidence is taken relative to the
  mean one of all examples with that label, so that a class that is hard to tell
  is not blamed as a whole: p - t is shifted and scaled to be probabilities.

  Raises:
    ValueError: for arrays of other shapes, labels that are no columns, or
      numbers that are no probabilities.
  """
  p, labels = checked(probabilities, labels)
  given, others = _given_and_others(p, labels)
  typical = thresholds(p, labels)
  known = typical[np.isfinite(typical)]
  adjusted = given - typical[labels] + known.max()
  return Scores(
    given,
    given - others.max(axis=1),
    adjusted / (1 + np.sum(known.max() - known)),
    others.argmax(axis=1),
  )


def checked(
  probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The probabilities f64[N,K] and labels i64[N]; raises as `scores` does."""
  p = np.asarray(probabilities, np.float64)
  if p.ndim != 2 or p.shape[1] < 2 or not len(p):
    raise ValueError(f"probabilities is f{list(p.shape)}: give f[N,K], K > 1")
  labels = _checked_labels(labels, *p.shape)
  if not (np.isfinite(p).all() and np.all(p >= 0)):
    raise ValueError("probabilities has NaN, infinite or negative numbers")
  if np.abs(p.sum(axis=1) - 1).max() > _SUM:
    raise ValueError("probabilities has rows that do not sum to 1")
  return p, labels


def thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Mean self-confidence of each class, f64[K]; infinite without examples.

  The t_j of confident learning (Northcutt et al. 2021, equation 2).
  """
  k = probabilities.shape[1]
  given = probabilities[np.arange(len(labels)), labels]
  count = np.bincount(labels, minlength=k)
  total = np.bincount(labels, given, minlength=k)
  return np.divide(total, count, out=np.full(k, np.inf), where=count > 0)


def area_under_margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Mean over epochs of the label's logit less the largest other, f64[N].

  Low where similar examples teach something else (Pleiss et al. 2020). To be
  taken while these labels are learned.

  Args:
    logits: f[E,N,K], after E epochs; NaN where an example was not seen.
    labels: i[N], as learned.

  Returns:
    NaN for examples that were never seen.

  Raises:
    ValueError: for arrays of other shapes, labels that are no columns, or
      infinite logits.
  """
  z = np.asarray(logits, np.float64)
  if z.ndim != 3 or z.shape[2] < 2 or not z.size:
    raise ValueError(f"logits is f{list(z.shape)}: give f[E,N,K], K > 1")
  labels = _checked_labels(labels, *z.shape[1:])
  if np.isinf(z).any():
    raise ValueError("logits has infinite numbers: the training went astray")
  given, others = _given_and_others(z, labels)
  return metrics.known_mean(given - others.max(axis=2))


def neighbours(
  features: np.ndarray,
  labels: np.ndarray,
  reference_features: np.ndarray | None = None,
  reference_labels: np.ndarray | None = None,
  k: int = 10,
) -> Neighbours:
  """The nearest of a reference, and how many of them have another label.

  The search is exact, by the cosine of the features, and needs little memory.
  A row of zeros is as far from all others. The distance from the nearest tells
  what is like nothing else (the outlier score of Ramaswamy et al. 2000 in its
  mean form, Angiulli & Pizzuti 2002).

  Args:
    features: f[N,F], of the N examples.
    labels: [N], as given.
    reference_features: f[M,F], among which to search; by default the same
      examples, each of which is then left out of its own neighbours.
    reference_labels: [M], with `reference_features` only.
    k: of them, at most as many as there are.

  Raises:
    ValueError: for arrays of other shapes, numbers that are not finite, or
      another k.
  """
  from sklearn import neighbors, preprocessing  # slow to import

  x, labels = _checked_features(features, labels)
  same = reference_features is None
  if same != (reference_labels is None):
    raise ValueError("give reference_features and reference_labels together")
  among, known = x, labels
  if not same:
    among, known = _checked_features(
      reference_features, reference_labels, "reference_"
    )
  most = len(among) - same
  if not 1 <= k <= most:
    raise ValueError(f"k is {k}: there are {most} neighbours to choose from")
  # Of unit vectors, the nearest by the Euclidean distance.
  search = neighbors.NearestNeighbors(n_neighbors=k, algorithm="brute")
  search.fit(preprocessing.normalize(among))
  far, found = search.kneighbors(None if same else preprocessing.normalize(x))
  share = np.mean(known[found] != labels[:, None], axis=1)
  # Of unit vectors |a - b|^2 = 2 (1 - cos).
  oddity = np.asarray(np.mean(far**2 / 2, axis=1, dtype=np.float64))
  return Neighbours(found, share, oddity)


def self_influence(
  probabilities: np.ndarray, labels: np.ndarray, features: np.ndarray
) -> np.ndarray:
  """Squared norm of the gradient of each loss by the last layer, f64[N].

  Of cross-entropy by weights and bias of a dense layer on features h f[N,F]:
  ||p - onehot||^2 (1 + ||h||^2), high where a label looks wrong. One checkpoint
  of TracIn (Pruthi et al. 2020).

  Raises:
    ValueError: as `scores` does, and for features that are not finite.
  """
  p, labels = checked(probabilities, labels)
  h, _ = _checked_features(features, labels)
  error = p.copy()
  error[np.arange(len(p)), labels] -= 1
  squares = np.sum(h.astype(np.float64) ** 2, axis=1)
  return np.sum(error**2, axis=1) * (1 + squares)


def _given_and_others(
  values: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The label's values, f[...,N], and f[...,N,K] with -inf in their place."""
  rows = np.arange(len(labels))
  others = values.copy()
  others[..., rows, labels] = -np.inf
  return values[..., rows, labels], others


def _checked_labels(labels: np.ndarray, n: int, k: int) -> np.ndarray:
  labels = np.asarray(labels)
  if labels.shape != (n,) or labels.dtype.kind not in "iu":
    raise ValueError(
      f"labels is {labels.dtype}{list(labels.shape)}: give i[{n}]"
    )
  if labels.min() < 0 or labels.max() >= k:
    raise ValueError(f"labels has numbers other than 0 to {k - 1}")
  return labels.astype(np.int64)


def _checked_features(features, labels, prefix=""):
  x, labels = np.asarray(features), np.asarray(labels)
  if x.ndim != 2 or not x.size or labels.shape != x.shape[:1]:
    raise ValueError(
      f"{prefix}features is f{list(x.shape)} and {prefix}labels "
      f"{list(labels.shape)}: give f[N,F] and [N]"
    )
  if not np.isfinite(x).all():
    raise ValueError(f"{prefix}features has numbers that are not finite")
  return x, labels
