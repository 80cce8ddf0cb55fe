"""How many labels are wrong, between which classes, and which to take out."""

import math
from typing import NamedTuple

import numpy as np
import scipy
from scipy import special

from gzjax.audit import suspicion
from gzjax.evaluation import intervals

_ALMOST = 1e-6  # below a threshold still reaches it: rounding
_LOG_TEMPERATURE = (-3.0, 3.0)  # where it is sought
_ROUNDING = 1e-9  # of shares of right labels
_LEAST = 1e-9  # examples
# Of the examples that look like a class: fewer are surer to be of it, more tell
# more exactly which labels it is given.
_SUREST = 0.3


class Estimate(NamedTuple):
  """How many of N labels are wrong, with 95% intervals."""

  joint: np.ndarray  # f64[K,K], examples by given (rows) and true class
  low: np.ndarray  # f64[K,K]
  high: np.ndarray  # f64[K,K]
  wrong: float  # all examples off the diagonal
  wrong_low: float
  wrong_high: float


def calibrated(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The probabilities at the temperature that suits the labels, f64[N,K].

  p^(1/T), normalised, with the T of the least cross-entropy (Guo et al. 2017).

  Args:
    probabilities: f[N,K], of networks that did not learn these labels.
    labels: i[N], as given.

  Raises:
    ValueError: as `suspicion.scores` does.
  """
  p, labels = suspicion.checked(probabilities, labels)
  logits = np.log(np.maximum(p, np.finfo(np.float64).tiny))
  rows = np.arange(len(labels))

  def loss(log_temperature):
    scaled = logits / np.exp(log_temperature)
    return -special.log_softmax(scaled, axis=1)[rows, labels].mean()

  best = scipy.optimize.minimize_scalar(
    loss, bounds=_LOG_TEMPERATURE, method="bounded"
  )
  return special.softmax(logits / np.exp(best.x), axis=1)


def confident_joint(
  probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
  """Examples by given (rows) and true class (columns), f64[K,K], sum N.

  Confident learning (Northcutt et al. 2021, equations 1 to 3): an example
  counts for the likeliest of the classes whose mean self-confidence it reaches,
  and for none if it reaches none. At least one example of each class is right.
  Each row is then scaled to the number of examples with that label. Where
  classes are hard to tell apart this finds too many, fewer with `calibrated`
  probabilities.

  Args:
    probabilities: f[N,K], of networks that did not learn these labels.
    labels: i[N], as given.

  Raises:
    ValueError: as `suspicion.scores` does.
  """
  return _joint(*suspicion.checked(probabilities, labels))


def transitions(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Share of each label (columns) that each class (rows) is given, f64[K,K].

  Counted among the surest 30% of the examples that look like the class: they
  are of it, so that other labels of theirs are wrong (the anchor points of
  Patrini et al. 2017, many instead of one). Which are the surest matters, not
  how sure: no calibration is needed. At least one example of each class is
  right.

  Args:
    probabilities: f[N,K], of networks that did not learn these labels.
    labels: i[N], as given.

  Raises:
    ValueError: as `suspicion.scores` does.
  """
  return _transitions(*suspicion.checked(probabilities, labels), _SUREST)


def estimate(
  probabilities: np.ndarray,
  labels: np.ndarray,
  seed: int = 0,
  samples: int = 200,
) -> Estimate:
  """How many labels are wrong, by those of the surest examples of each class.

  The number is right where labels go wrong by class alone: what `transitions`
  counts among examples that are easy to tell then holds for all, and how often
  the network errs on hard ones does not count. Where hard ones are mislabelled
  more often, as by people, it is too small: from p and labels nobody can tell
  that from errors of the network. So the interval reaches up to the number of
  labels that are not the network's class, and down to what is left where errors
  among the surest are extrapolated away, each with the chance in which examples
  are in the table. It misses the truth where the network has learned the
  mistakes and agrees with wrong labels.

  Args:
    probabilities: f[N,K], of networks that did not learn these labels.
    labels: i[N], as given.
    seed: of the samples.
    samples: of N examples, from which the ends are taken.

  Raises:
    ValueError: as `suspicion.scores` does.
  """
  p, labels = suspicion.checked(probabilities, labels)

  def readings(rows):
    return [_with_wrong(x) for x in _readings(p[rows], labels[rows])]

  def extremes(rows):
    found = readings(rows)
    return np.stack([np.min(found, axis=0), np.max(found[:2], axis=0)])

  low, high = intervals.resampled_interval(
    extremes, len(p), seed, draws=samples
  )
  return _estimate(readings(slice(None))[0], low[0], high[1])


def expected(
  posterior: np.ndarray,
  labels: np.ndarray,
  seed: int = 0,
  samples: int = 200,
) -> Estimate:
  """How many labels are wrong by probabilities that already know the labels.

  Such as those of `endless.favourites`. The intervals tell of the chance in
  which examples are in the table and in what these are, not of how well the
  probabilities are calibrated.

  Args:
    posterior: f[N,K], of the true class.
    labels: i[N], as given.
    seed: of the samples.
    samples: of N examples and their classes.

  Raises:
    ValueError: as `suspicion.scores` does.
  """
  p, labels = suspicion.checked(posterior, labels)
  k, rng = p.shape[1], np.random.default_rng([seed, 1])
  ends = p.cumsum(axis=1)[:, :-1]

  def drawn(rows):
    true = np.sum(rng.random((len(rows), 1)) > ends[rows], axis=1)
    cells = np.bincount(labels[rows] * k + true, minlength=k * k)
    return _with_wrong(cells.reshape(k, k))

  low, high = intervals.resampled_interval(drawn, len(p), seed, draws=samples)
  joint = np.eye(k)[labels].T @ p
  return _estimate(_with_wrong(joint), low, high)


def cut(probability_wrong: np.ndarray, false_discovery: float = 0.2) -> int:
  """How many of the most suspicious labels to take out.

  The largest number among which the expected share of right labels is at most
  `false_discovery`; 0 if there is none.

  Args:
    probability_wrong: f[N], calibrated, of each label.
    false_discovery: 0 to 1.

  Raises:
    ValueError: for numbers that are no probabilities.
  """
  wrong = np.asarray(probability_wrong, np.float64)
  if wrong.ndim != 1 or not np.all((wrong >= 0) & (wrong <= 1)):
    raise ValueError("probability_wrong must be f[N], from 0 to 1")
  if not 0 <= false_discovery <= 1:
    raise ValueError(f"false_discovery is {false_discovery}: give 0 to 1")
  right = 1 - np.sort(wrong)[::-1]
  share = np.cumsum(right) / np.arange(1, len(right) + 1)
  return int(np.sum(share <= false_discovery + _ROUNDING))  # share only grows


def _with_wrong(joint: np.ndarray) -> np.ndarray:
  """The cells and their sum off the diagonal, f64[K*K+1]."""
  return np.append(joint, joint.sum() - joint.trace())


def _estimate(found: np.ndarray, low: np.ndarray, high: np.ndarray) -> Estimate:
  """Of cells and sums as `_with_wrong` has them."""
  k = math.isqrt(len(found) - 1)
  joint, least, most = (x[:-1].reshape(k, k) for x in (found, low, high))
  wrong, wrong_low, wrong_high = (float(x[-1]) for x in (found, low, high))
  return Estimate(joint, least, most, wrong, wrong_low, wrong_high)


def _readings(
  p: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Joints f64[K,K]: of the surest, of the network's classes, of the limit.

  The limit is where the line through the surest part and one of twice the size
  reaches a part without examples.
  """
  k = p.shape[1]
  surest = _transitions(p, labels, _SUREST)
  limit = np.maximum(2 * surest - _transitions(p, labels, 2 * _SUREST), 0)
  cells = np.bincount(labels * k + p.argmax(axis=1), minlength=k * k)
  return (
    _explained(surest, labels),
    cells.reshape(k, k).astype(np.float64),
    _explained(limit / limit.sum(axis=1, keepdims=True), labels),
  )


def _transitions(p: np.ndarray, labels: np.ndarray, part: float) -> np.ndarray:
  """Those of the surest part."""
  k = p.shape[1]
  likeliest, sure = p.argmax(axis=1), p.max(axis=1)
  found = np.eye(k)
  for j in np.unique(likeliest):
    like = likeliest == j
    least = np.sort(sure[like])[int((1 - part) * (like.sum() - 1))]
    found[j] = np.bincount(labels[like & (sure >= least)], minlength=k)
    found[j, j] = max(found[j, j], 1)
  return found / found.sum(axis=1, keepdims=True)


def _explained(transitions: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The joint f64[K,K] of as many examples of each class as fit the labels."""
  count = np.bincount(labels, minlength=len(transitions))
  joint = transitions.T * scipy.optimize.nnls(transitions.T, count)[0]
  # What no numbers of classes explain exactly is scaled, as elsewhere.
  return joint * (count / np.maximum(joint.sum(axis=1), _LEAST))[:, None]


def _joint(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
  k = p.shape[1]
  reached = p >= suspicion.thresholds(p, labels) - _ALMOST
  true = np.where(reached, p, -1).argmax(axis=1)
  sure = reached.any(axis=1)
  cells = np.bincount(labels[sure] * k + true[sure], minlength=k * k)
  joint = cells.reshape(k, k).astype(np.float64)
  np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
  count = np.bincount(labels, minlength=k)
  return joint * (count / joint.sum(axis=1))[:, None]
