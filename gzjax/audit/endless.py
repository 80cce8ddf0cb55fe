"""What endlessly many volunteers would say, by a few of them and a network."""

import numpy as np
import scipy
from scipy import special

from gzjax.audit import volunteers

_NODES = 64  # of the quadrature
_LEAST_P = 1e-4
_LEAST_CONCENTRATION = 1e-3
_MOST_FITTED = 5000  # galaxies


def favourites(counts: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
  """Probability that endlessly many votes would favour each answer, f64[N,K].

  Unlike `volunteers.consensus` it is calibrated: its sums are expected numbers.
  To the network a galaxy is of one of K kinds, of kind j with a probability in
  proportion to p_j^s. The shares of answers that its volunteers would give have
  a Dirichlet law of concentrations a_jk p_k^t: t is how much the network knows
  of how galaxies of one kind differ. All of s, t and a are those of the largest
  likelihood of the votes; Bayes' theorem and `favourite` give the rest. What
  all volunteers get wrong is right by this measure.

  Args:
    counts: i[N,K], how many volunteers gave each answer.
    probabilities: f[N,K], of a network that did not learn these votes.

  Raises:
    ValueError: as `volunteers.consensus` does.
  """
  counts, p = volunteers.checked(counts, probabilities)
  log_p = np.log(np.maximum(p, _LEAST_P))
  rows = np.flatnonzero(counts.sum(axis=1) > 1)
  if len(rows) > _MOST_FITTED:
    rows = np.random.default_rng(0).choice(rows, _MOST_FITTED, replace=False)
  found = _fit(counts[rows], log_p[rows])
  kinds, alpha = _laws(found, log_p)
  kinds = special.softmax(kinds + _log_likelihood(alpha, counts), axis=1)
  each = (
    kinds[:, [j]] * favourite(alpha[:, j] + counts) for j in range(len(p.T))
  )
  return sum(each, np.zeros(p.shape))


def favourite(concentration: np.ndarray) -> np.ndarray:
  """Probability that each share is the largest of a Dirichlet law, f64[N,K].

  Of concentrations f[N,K]. Shares are gammas over their sum, so that it is the
  mean of the others' distribution functions over that of each gamma, by the
  midpoint rule in its quantiles.
  """
  alpha = np.maximum(concentration, _LEAST_CONCENTRATION)
  quantile = (np.arange(_NODES) + 0.5) / _NODES
  found = np.zeros(alpha.shape)
  for k in range(alpha.shape[1]):
    size = special.gammaincinv(alpha[:, [k]], quantile)
    others = np.delete(alpha, k, axis=1)
    below = special.gammainc(others[:, :, None], size[:, None])
    found[:, k] = below.prod(axis=1).mean(axis=1)
  return found / found.sum(axis=1, keepdims=True)


def _fit(counts: np.ndarray, log_p: np.ndarray) -> np.ndarray:
  """Logarithm of s, t and logarithms of a, f64[2+K*K], of votes i[n,K]."""
  k = log_p.shape[1]
  start = np.r_[0.0, 0.2, np.log(0.5 + 4 * np.eye(k)).ravel()]
  bounds = [(-2, 2), (0, 3), *[(-4, 6)] * k**2]
  found = scipy.optimize.minimize(
    _loss, start, (counts, log_p), jac=True, method="L-BFGS-B", bounds=bounds
  )
  return found.x


def _laws(x: np.ndarray, log_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Log probability of each kind f64[n,K], concentrations f64[n,K,K]."""
  kinds = special.log_softmax(np.exp(x[0]) * log_p, axis=1)
  table = x[2:].reshape(2 * [log_p.shape[1]])
  return kinds, np.exp(table + x[1] * log_p[:, None])


def _log_likelihood(alpha: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Of votes i[n,K] by kind, f64[n,K], less a term of the row."""
  total, n = alpha.sum(axis=2), counts.sum(axis=1)[:, None]
  each = special.gammaln(alpha + counts[:, None]) - special.gammaln(alpha)
  return special.gammaln(total) - special.gammaln(total + n) + each.sum(axis=2)


def _loss(
  x: np.ndarray, counts: np.ndarray, log_p: np.ndarray
) -> tuple[float, np.ndarray]:
  """Mean negative log-likelihood of the votes and its gradient."""
  kinds, alpha = _laws(x, log_p)
  joint = kinds + _log_likelihood(alpha, counts)
  whole = special.logsumexp(joint, axis=1, keepdims=True)
  posterior = np.exp(joint - whole)
  total, n = alpha.sum(axis=2), counts.sum(axis=1)[:, None]
  slope = special.digamma(alpha + counts[:, None]) - special.digamma(alpha)
  slope += (special.digamma(total) - special.digamma(total + n))[..., None]
  slope *= posterior[..., None] * alpha  # by the logarithm of each alpha
  gradient = np.r_[
    np.sum((posterior - np.exp(kinds)) * log_p) * np.exp(x[0]),
    np.sum(slope * log_p[:, None]),
    slope.sum(axis=0).ravel(),
  ]
  return -whole.mean(), -gradient / len(counts)
