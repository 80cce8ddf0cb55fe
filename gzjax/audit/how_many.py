"""How many labels are wrong, between which classes, and which to take out."""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from gzjax.audit import suspicion
from gzjax.evaluation import intervals

_ALMOST = 1e-6  # below a threshold still reaches it: rounding
_LOG_TEMPERATURE = (-3.0, 3.0)  # where it is sought
_ROUNDING = 1e-9  # of shares of right labels


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

  best = optimize.minimize_scalar(
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


def estimate(
  probabilities: np.ndarray,
  labels: np.ndarray,
  seed: int = 0,
  samples: int = 200,
) -> Estimate:
  """The confident joint with intervals by resampling the examples.

  The intervals tell of the chance in which galaxies are in the table, not of
  what the network takes one class for another.

  Args:
    probabilities: f[N,K], of networks that did not learn these labels.
    labels: i[N], as given.
    seed: of the samples.
    samples: of N examples, with thresholds of their own.

  Raises:
    ValueError: as `suspicion.scores` does.
  """
  p, labels = suspicion.checked(probabilities, labels)

  def cells_and_wrong(rows):
    joint = _joint(p[rows], labels[rows])
    return np.append(joint, joint.sum() - joint.trace())

  found = cells_and_wrong(np.arange(len(p)))
  ends = intervals.resampled_interval(
    cells_and_wrong, len(p), seed, draws=samples
  )
  (joint, wrong), (low, wrong_low), (high, wrong_high) = (
    (x[:-1].reshape(2 * [p.shape[1]]), float(x[-1])) for x in (found, *ends)
  )
  return Estimate(joint, low, high, wrong, wrong_low, wrong_high)


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
