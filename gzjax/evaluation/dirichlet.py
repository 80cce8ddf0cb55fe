"""Dirichlet-multinomial laws of votes: intervals, coverage, likelihood."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scipy
from scipy import special

from gzjax.evaluation import intervals
from gzjax.morphology import trees
from gzjax.morphology.trees import Tree

ALL = "all"  # the row over all questions or answers
CONSTANT = "one law for all"  # the baseline of the Dirichlet laws
LEVELS = tuple(k / 20 for k in range(1, 20))


def mean_shares(tree: Tree, alpha: np.ndarray) -> np.ndarray:
  """Means of Dirichlet laws of concentrations f[N,A], f64[N,A].

  NaN for laws that are not finite.
  """
  return trees.conditional(tree, _law(alpha), empty=np.nan)


def credible_interval(
  tree: Tree, alpha: np.ndarray, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
  """Central interval of each share, (f64[N,A], f64[N,A]).

  Of the marginal Beta(alpha, A - alpha) of a Dirichlet law of concentrations
  alpha f[N,A] with the sum A: what all volunteers of the world would say. The
  level is the probability within.
  """
  alpha, rest = _beta(tree, alpha)
  tail = (1 - level) / 2
  low, high = (special.betaincinv(alpha, rest, p) for p in (tail, 1 - tail))
  return low, high


def coverage(
  tree: Tree,
  counts: np.ndarray,
  alpha: np.ndarray,
  levels: Sequence[float] = LEVELS,
  seed: int = 0,
) -> pd.DataFrame:
  """How often the votes lie inside the central intervals of their laws.

  Votes are whole numbers, and no interval of those has a probability of, say,
  0.9. So a vote count k is placed at random between P(fewer than k) and P(at
  most k) (the randomised probability integral transform, Smith 1985): the true
  law is inside exactly as often as the level says. Of votes and concentrations,
  f[N,A]; questions without votes are left out.

  Returns:
    A row for each level and question, and over all questions: `question`,
    `level`, `shares` (galaxies x answers), `inside` and its `standard_error`
    over galaxies, since the answers of a galaxy are not independent.
  """
  counts = np.rint(counts)
  place = _places(tree, counts, alpha, np.random.default_rng(seed))
  known = trees.sums(tree, counts)[:, tree.question_of] > 0
  rows = []
  for name, part in question_parts(tree).items():
    for level in levels:
      inside = np.abs(place[:, part] - 0.5) <= level / 2
      share, error = mean_over_galaxies(inside, known[:, part])
      rows.append((name, level, known[:, part].sum(), share, error))
  names = ["question", "level", "shares", "inside", "standard_error"]
  return pd.DataFrame(rows, columns=names)


def negative_log_likelihood(
  tree: Tree, counts: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
  """-log P(votes) of Dirichlet-multinomial laws in nats, f64[N,Q].

  Of votes f[N,A] and concentrations f[N,A], or f[A] for the same law everywhere
  (Walmsley et al. 2022, the questions taken as independent given how many
  volunteers are asked each). Exactly 0 where nobody is, infinite where somebody
  is and alpha is not finite.
  """
  counts = np.asarray(counts, np.float64)
  alpha = np.broadcast_to(_law(alpha), counts.shape)
  found = np.zeros((len(counts), len(tree.questions)))
  for q, part in enumerate(tree.slices):
    known = counts[:, part].sum(axis=1) > 0
    loss = -_log_likelihood(counts[known, part], alpha[known, part])
    found[known, q] = np.where(np.isfinite(loss), loss, np.inf)
  return found


def fit_concentration(tree: Tree, counts: np.ndarray) -> np.ndarray:
  """The likeliest Dirichlet laws of all votes f[N,A] together, f64[A].

  What can be said of votes without an image: the baseline of
  `negative_log_likelihood`. Concentrations are sought from 1e-3 to 1e4.
  """
  counts = np.asarray(counts, np.float64)
  return np.concatenate([_fit(counts[:, part]) for part in tree.slices])


def _fit(counts):
  n = counts.sum(axis=1, keepdims=True)

  def loss(log_alpha):
    alpha = np.exp(log_alpha)
    slope = special.digamma(alpha.sum()) - special.digamma(n + alpha.sum())
    slope = slope + special.digamma(counts + alpha) - special.digamma(alpha)
    value = _log_likelihood(counts, alpha[None])
    return -value.mean(), -alpha * slope.mean(axis=0)

  bounds = [(np.log(1e-3), np.log(1e4))] * counts.shape[1]
  start = np.zeros(counts.shape[1])
  found = scipy.optimize.minimize(
    loss, start, jac=True, method="L-BFGS-B", bounds=bounds
  )
  return np.exp(found.x)


def likelihood(
  tree: Tree, counts: np.ndarray, alpha: Mapping[str, np.ndarray], seed: int = 0
) -> pd.DataFrame:
  """Mean `negative_log_likelihood` per galaxy of the votes.

  A row for each method (by its concentrations) and question, and for the sum of
  the questions: `method`, `question`, `nll` and its 95% interval, a bootstrap,
  `nll_low` to `nll_high`.
  """
  tables = []
  for name, found in alpha.items():
    loss = negative_log_likelihood(tree, counts, found)
    loss = np.column_stack([loss, loss.sum(axis=1)])
    low, high = intervals.bootstrap_interval(loss, seed)
    columns = {"method": name, "question": list(question_parts(tree))}
    columns |= {"nll": loss.mean(axis=0), "nll_low": low, "nll_high": high}
    tables.append(pd.DataFrame(columns))
  return pd.concat(tables, ignore_index=True)


def question_parts(tree: Tree) -> dict[str, slice]:
  """Where the answers of each question stand, and all of them."""
  names = [question.name for question in tree.questions]
  return {**dict(zip(names, tree.slices, strict=True)), ALL: slice(None)}


def _places(tree, counts, alpha, rng):
  """Randomised probability integral transform, f64[N,A]; NaN if unknown."""
  alpha, rest = _beta(tree, alpha)
  asked = trees.sums(tree, counts)
  place = np.full(alpha.shape, np.nan)
  for a, q in enumerate(tree.question_of):
    valid = (asked[:, q] > 0) & np.isfinite(alpha[:, a] + rest[:, a])
    votes, n = (x[valid].astype(int) for x in (counts[:, a], asked[:, q]))
    beta = alpha[valid, a, None], rest[valid, a, None]
    upwards = np.arange(n.max(initial=0) + 1)
    law = scipy.stats.betabinom.pmf(upwards, n[:, None], *beta)
    at = np.arange(len(votes)), votes
    upto = law.cumsum(axis=1)[at]
    place[valid, a] = upto - rng.random(len(votes)) * law[at]
  return place


def _log_likelihood(counts, alpha):
  """Dirichlet-multinomial log P of counts [N,K], f64[N]."""
  n, total = counts.sum(axis=1), alpha.sum(axis=1)
  log_gamma = special.gammaln
  each = log_gamma(counts + alpha) - log_gamma(alpha) - log_gamma(counts + 1)
  of_all = log_gamma(total) + log_gamma(n + 1) - log_gamma(n + total)
  return of_all + each.sum(axis=1)


def _law(alpha):
  """Concentrations in f64, NaN where not finite: infinite ones would warn."""
  alpha = np.asarray(alpha, np.float64)
  return np.where(np.isfinite(alpha), alpha, np.nan)


def _beta(tree, alpha):
  """The parameters of each answer's marginal Beta law."""
  alpha = _law(alpha)
  total = trees.sums(tree, alpha)[:, tree.question_of]
  return alpha, total - alpha


def mean_over_galaxies(values, weight) -> tuple[float, float]:
  """Weighted mean of [N,K] and its standard error with galaxies as units."""
  total = weight.sum()
  if not total:
    return np.nan, np.nan
  mean = np.sum(weight * values) / total
  residual = np.sum(weight * (values - mean), axis=1)
  return mean, np.sqrt(np.sum(residual**2)) / total
