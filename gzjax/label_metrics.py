"""Numbers about labels beside predictions, on the host in float64."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats


def rank_correlations(
  names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, seed: int
) -> pd.DataFrame:
  """Spearman's rank correlation for each answer, with its 95% interval.

  Args:
    names: A answers.
    truth: f[N,A], NaN where it is not known.
    predicted: f[N,A]; not finite ones are left out.
    seed: of the bootstrap over galaxies (percentiles of 1000 draws).

  Returns:
    A rows: `answer`, `galaxies` (how many are compared), `spearman`, `low` and
    `high`; NaN with fewer than three galaxies or where one side is constant.
  """
  rows = []
  for a, name in enumerate(names):
    known = np.isfinite(truth[:, a]) & np.isfinite(predicted[:, a])
    pair = truth[known, a], predicted[known, a]
    rng = np.random.default_rng(seed)
    draws = rng.integers(max(known.sum(), 1), size=(1000, known.sum()))
    again = [_spearman(*(side[draw] for side in pair)) for draw in draws]
    low, high = _percentiles(np.array(again))
    rows.append((name, int(known.sum()), _spearman(*pair), low, high))
  return pd.DataFrame(
    rows, columns=["answer", "galaxies", "spearman", "low", "high"]
  )


def _spearman(x, y) -> float:
  if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
    return np.nan
  return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def _percentiles(values):
  found = values[np.isfinite(values)]
  return np.quantile(found, [0.025, 0.975]) if len(found) else (np.nan, np.nan)
