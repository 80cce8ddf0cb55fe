"""95% intervals of shares, means and resampled numbers."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy

_CONFIDENCE = 0.95


def wilson_interval(hits: float, n: int) -> tuple[float, float]:
  """Wilson score interval of a share (Wilson 1927); (0, 1) for n = 0."""
  if n == 0:
    return 0.0, 1.0
  # By hand: SciPy's test also finds a p-value, ten times as slowly.
  z, p = scipy.stats.norm.ppf(0.5 + _CONFIDENCE / 2), hits / n
  centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
  half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
  return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
  """(mean, low, high): Student's t interval over runs; NaN ends for one run."""
  runs = np.asarray(values, np.float64)
  centre = float(runs.mean())
  if len(runs) < 2:
    return centre, float("nan"), float("nan")
  quantile = scipy.stats.t.ppf(0.5 + _CONFIDENCE / 2, len(runs) - 1)
  half = quantile * scipy.stats.sem(runs)
  return centre, float(centre - half), float(centre + half)


def resampled_interval(
  statistic: Callable[[np.ndarray], np.ndarray | float],
  count: int,
  seed: int = 0,
  *,
  draws: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
  """Percentile interval of a statistic of galaxies (Efron 1979).

  Args:
    statistic: of the galaxies in the rows i64[N], some of them several times:
      f[...].
    count: N > 0, galaxies.
    seed: of the draws; equal seeds draw equal galaxies.
    draws: samples of N galaxies, with replacement.

  Returns:
    (f64[...], f64[...]), NaN where the statistic of a sample is.
  """
  rng = np.random.default_rng(seed)
  found = np.array(
    [statistic(rng.integers(count, size=count)) for _ in range(draws)]
  )
  tail = (1 - _CONFIDENCE) / 2
  # No interpolation: it would make NaN of infinite values.
  low, high = np.quantile(
    found, [tail, 1 - tail], axis=0, method="inverted_cdf"
  )
  return low, high


def with_interval(
  statistic: Callable[[np.ndarray], float], count: int, seed: int
) -> tuple[float, float, float]:
  """(value, low, high): of all galaxies, and its `resampled_interval`."""
  low, high = resampled_interval(statistic, count, seed)
  return float(statistic(np.arange(count))), float(low), float(high)


def bootstrap_interval(
  values: np.ndarray, seed: int = 0, *, draws: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
  """`resampled_interval` of the mean of f[N,...], a galaxy a row."""
  return resampled_interval(
    lambda rows: values[rows].mean(axis=0), len(values), seed, draws=draws
  )
