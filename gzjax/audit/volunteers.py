"""What is right where volunteers and a network have said something.

The volunteers are anonymous: of each galaxy it is known how many gave each
answer, not who did.
"""

from collections.abc import Iterator
import itertools
from typing import NamedTuple

import numpy as np
from scipy import special

from gzjax.audit import how_many, suspicion

_LEAST = 1e-6  # of a weight, and of a probability
_MOST_OUTCOMES = 5000  # that are enumerated
_MOST_NUMBERS = 2**20  # held at once, for each answer
_ROUNDING = 1e-9  # nats


class Consensus(NamedTuple):
  """What N galaxies are, by volunteers and network together."""

  posterior: np.ndarray  # f64[N,K], of the classes
  label: np.ndarray  # i64[N], the most probable class
  quality: np.ndarray  # f64[N], its probability
  majority: np.ndarray  # i64[N], what most volunteers said
  volunteer_weight: float  # of each of them
  network_weight: float


def consensus(counts: np.ndarray, probabilities: np.ndarray) -> Consensus:
  """Weighs votes and network by how far they are to be believed.

  CROWDLAB (Goh et al. 2022) for volunteers who are all alike. The posterior is
  the weighted mean of the network's p and of what each vote says: P for its own
  class and (1 - P) / (K - 1) for each other, where P is how often volunteers
  give the majority's answer. A vote weighs 1 - e / E, where e is how often two
  volunteers disagree and E how often the majority's answer is not the commonest
  one; the network the same, with how often it is against the majority as e,
  times the square root of the mean number of votes. Where nobody was asked, the
  network decides alone.

  Args:
    counts: i[N,K], how many volunteers gave each answer.
    probabilities: f[N,K], of a network that did not learn these votes. It
      breaks the ties of the majority.

  Raises:
    ValueError: for arrays of other shapes, numbers that are no votes or no
      probabilities, or where no galaxy has two votes.
  """
  counts, p = checked(counts, probabilities)
  n, k = counts.sum(axis=1, keepdims=True), counts.shape[1]
  majority = _majority(counts, p)
  several = n[:, 0] > 1
  if not several.any():
    raise ValueError("counts has no galaxy with two votes that could agree")
  right, volunteer, network = _reliability(
    counts[several], p[several], majority[several]
  )
  network *= np.sqrt(n[n > 0].mean())
  said = counts * right + (n - counts) * (1 - right) / (k - 1)
  posterior = (network * p + volunteer * said) / (network + volunteer * n)
  return Consensus(
    posterior,
    posterior.argmax(axis=1),
    posterior.max(axis=1),
    majority,
    float(volunteer),
    float(network),
  )


def _majority(counts: np.ndarray, p: np.ndarray) -> np.ndarray:
  """What most volunteers said, i64[N]; p breaks ties."""
  most = counts == counts.max(axis=1, keepdims=True)
  return np.where(most, p, -1).argmax(axis=1)


def _reliability(
  counts: np.ndarray, p: np.ndarray, majority: np.ndarray
) -> tuple[float, float, float]:
  """How often a volunteer is with the majority; weights of one and of p."""
  n = counts.sum(axis=1)
  rows = np.arange(len(n))
  right = np.mean(counts[rows, majority] / n)
  agreement = _agreement(counts)
  chance = max(np.mean(majority != np.bincount(majority).argmax()), _LEAST)
  missed = np.mean(p.argmax(axis=1) != majority)
  volunteer, network = (
    max(1 - error / chance, _LEAST) for error in (1 - agreement, missed)
  )
  return right, volunteer, network


def _agreement(counts: np.ndarray) -> float:
  """How often two volunteers of a galaxy agree, where there are two."""
  n = counts.sum(axis=1)
  return np.sum(counts * (counts - 1)) / np.sum(n * (n - 1))


def dawid_skene(counts: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
  """The posterior f64[N,K] of a network and volunteers who err together.

      q_k ~ p_k^(1/T) prod_j C_kj^(t n_j),    t = 1 / (1 + (n - 1) r)

  C_kj is how often volunteers answer j where the class is k (Dawid and Skene
  1979, one matrix for all of them; one more vote of each counted), r by how
  much more than that two of them agree on a galaxy: so n are worth
  n / (1 + (n - 1) r) independent ones (the design effect, Kish 1965), and T the
  temperature of the network. `consensus`, with a network at the temperature
  that suits the majorities, stands for the class in all three: its labels tell
  T, the mean of its labels, which never doubt, and of its posterior, which
  doubts too much, tells C and r. The network alone may not, or a weak one would
  be believed; nor may q itself, as in an EM algorithm, or what volunteers all
  miss would seem to be right.

  Unlike the posterior of `consensus` it is calibrated where volunteers err
  together. Where they do not, both believe the network too much; with many
  votes their majority is better than either.

  Args:
    counts: i[N,K], how many volunteers gave each answer.
    probabilities: f[N,K], of a network that did not learn these votes.

  Raises:
    ValueError: as `consensus` does.
  """
  counts, p = checked(counts, probabilities)
  p = np.maximum(p, _LEAST)
  p /= p.sum(axis=1, keepdims=True)
  found = consensus(counts, how_many.calibrated(p, _majority(counts, p)))
  true = (found.posterior + np.eye(counts.shape[1])[found.label]) / 2
  answers = true.T @ counts + 1
  answers /= answers.sum(axis=1, keepdims=True)
  n = counts.sum(axis=1)
  pairs = n * (n - 1)
  by_chance = pairs @ true @ np.sum(answers**2, axis=1) / pairs.sum()
  together = np.clip((_agreement(counts) - by_chance) / (1 - by_chance), 0, 1)
  worth = 1 / (1 + np.maximum(n - 1, 0) * together)
  said = worth[:, None] * (counts @ np.log(answers).T)
  network = np.log(how_many.calibrated(p, found.label))
  return special.softmax(network + said, axis=1)


def conjugate(counts: np.ndarray, alpha: np.ndarray) -> np.ndarray:
  """What a network of counts expects of more votes after those, f64[N,K].

  Its Dirichlet laws of concentrations alpha f[N,K] have the mean
  (alpha_k + n_k) / (sum alpha + n) after votes of counts f[N,K].

  Raises:
    ValueError: for arrays of other shapes, numbers that are no votes, or
      concentrations that are not finite and above 0.
  """
  counts, alpha = _checked_law(counts, alpha)
  after = alpha + counts
  return after / after.sum(axis=1, keepdims=True)


def tail_probability(
  counts: np.ndarray, alpha: np.ndarray, seed: int = 0, samples: int = 1000
) -> np.ndarray:
  """Probability of votes at most as likely as those of each galaxy, f64[N].

  Small where votes contradict a network of counts, by its Dirichlet-multinomial
  law: few votes never do. All outcomes are enumerated where there are at most
  5,000, (n + K - 1)! / n! / (K - 1)!; else `samples` are drawn, and the least
  that can be found is 1 / (samples + 1). 1 where nobody was asked.

  Args:
    counts: i[N,K], votes.
    alpha: f[N,K], concentrations.
    seed: of the samples.
    samples: for each galaxy.

  Raises:
    ValueError: as `conjugate` does.
  """
  counts, alpha = _checked_law(counts, alpha)
  rng = np.random.default_rng(seed)
  n, k = counts.sum(axis=1), counts.shape[1]
  tail = np.ones(len(n))
  for total in np.unique(n[n > 0]):
    rows = np.flatnonzero(n == total)
    if special.comb(total + k - 1, k - 1) <= _MOST_OUTCOMES:
      every = _outcomes(total, k)
      for part in _blocks(rows, max(len(every), total)):
        tail[part] = _enumerated(counts[part], alpha[part], every)
    else:
      for part in _blocks(rows, max(samples, total)):
        tail[part] = _sampled(counts[part], alpha[part], rng, samples)
  return tail


def _outcomes(n: int, k: int) -> np.ndarray:
  """All ways in which n votes fall on k answers, i64[C,K]: stars and bars."""
  bars = np.array([*itertools.combinations(range(n + k - 1), k - 1)])
  ends = np.pad(
    bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + k - 1))
  )
  return np.diff(ends, axis=1) - 1


def _blocks(rows: np.ndarray, each: int) -> Iterator[np.ndarray]:
  """Parts of the rows with no more than `_MOST_NUMBERS`, `each` for a row."""
  size = max(_MOST_NUMBERS // each, 1)
  return (rows[i : i + size] for i in range(0, len(rows), size))


def _enumerated(
  counts: np.ndarray, alpha: np.ndarray, every: np.ndarray
) -> np.ndarray:
  law = _law(alpha, counts.sum(axis=1).max())
  seen = _weights(law, counts[..., None])
  each = _weights(law, np.broadcast_to(every.T, (len(law), *every.T.shape)))
  unlikely = each <= seen + _ROUNDING
  tail = special.softmax(each, axis=1).sum(axis=1, where=unlikely)
  return np.minimum(tail, 1.0)


def _sampled(
  counts: np.ndarray,
  alpha: np.ndarray,
  rng: np.random.Generator,
  samples: int,
) -> np.ndarray:
  n = counts.sum(axis=1)
  law = _law(alpha, n.max())
  seen = _weights(law, counts[..., None])
  each = _weights(law, _draw(n, alpha, rng, samples))
  # The votes themselves are one of the outcomes: never 0.
  return (1 + np.sum(each <= seen + _ROUNDING, axis=1)) / (1 + samples)


def _draw(n, alpha, rng, samples):
  """Votes of the law, i64[N,K,S]: each answer against all later ones."""
  later = alpha[:, ::-1].cumsum(axis=1)[:, ::-1]
  left = np.repeat(n[:, None], samples, axis=1)
  votes = []
  for a, rest in zip(alpha.T[:-1], later.T[1:], strict=True):
    share = rng.beta(a[:, None], rest[:, None], left.shape)
    votes.append(rng.binomial(left, share))
    left = left - votes[-1]
  return np.stack([*votes, left], axis=1)


def _law(alpha: np.ndarray, n: int) -> np.ndarray:
  """What 0 to n votes for an answer weigh, nats, f64[N,K,n+1].

  log Gamma(alpha + c) / Gamma(alpha) / c!, as a sum without large terms.
  """
  votes = np.arange(n)
  each = np.log((alpha[..., None] + votes) / (1 + votes))
  return np.pad(each.cumsum(axis=2), ((0, 0), (0, 0), (1, 0)))


def _weights(law: np.ndarray, votes: np.ndarray) -> np.ndarray:
  """Log probability of votes i[N,K,S], less a term of the row, f64[N,S]."""
  return np.take_along_axis(law, votes, axis=2).sum(axis=1)


def one_more_volunteer(found: Consensus, counts: np.ndarray) -> np.ndarray:
  """How sure a label stays if another volunteer votes at random, f64[N].

  The lowest are to be shown first: ActiveLab (Goh and Mueller 2023), the mean
  of the quality, with the weight of the network and the votes i[N,K] so far,
  and of 1 / K, with that of one more volunteer.

  Raises:
    ValueError: for arrays of other shapes or numbers that are no votes.
  """
  counts, posterior = checked(counts, found.posterior)
  so_far = found.network_weight + found.volunteer_weight * counts.sum(axis=1)
  one = found.volunteer_weight
  return (so_far * found.quality + one / posterior.shape[1]) / (so_far + one)


def checked(
  counts: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Votes i64[N,K] and probabilities f64[N,K]; raises as `consensus` does."""
  votes = np.asarray(counts)
  p, _ = suspicion.checked(probabilities, np.zeros(len(votes), int))
  return _checked_votes(votes, p.shape), p


def _checked_law(counts, alpha):
  """Votes as i64[N,K] and concentrations f64[N,K]."""
  alpha = np.asarray(alpha, np.float64)
  if alpha.ndim != 2 or alpha.shape[1] < 2:
    raise ValueError(f"alpha is f{list(alpha.shape)}: give f[N,K], K > 1")
  if not (np.isfinite(alpha).all() and np.all(alpha > 0)):
    raise ValueError("alpha has numbers that are not finite and above 0")
  return _checked_votes(np.asarray(counts), alpha.shape), alpha


def _checked_votes(counts, shape):
  if counts.shape != shape:
    raise ValueError(f"counts is {list(counts.shape)}: give i{list(shape)}")
  if not (np.isfinite(counts).all() and np.all(counts >= 0)):
    raise ValueError("counts has NaN, infinite or negative numbers")
  if np.any(counts != np.rint(counts)):
    raise ValueError("counts has fractions of votes: give whole numbers")
  return counts.astype(np.int64)
