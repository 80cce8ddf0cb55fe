"""Numbers about the votes themselves, as in section 3 of the lab report."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from gzjax.morphology.splits import SPLITS


def correlations(values: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
  """Pearson's correlation of every two answers over the galaxies.

  Of values f[N,A], such as cumulative vote fractions, and A names: A x A; NaN
  for an answer that is the same for all galaxies.
  """
  centred = values - values.mean(axis=0)
  spread = np.sqrt(np.sum(centred**2, axis=0))
  centred[:, spread > 0] /= spread[spread > 0]
  found = centred.T @ centred
  found[spread == 0] = found[:, spread == 0] = np.nan
  return pd.DataFrame(found, list(names), list(names))


def compare_splits(
  values: np.ndarray, split: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
  """Whether validation and test look like the training set, answer by answer.

  Args:
    values: f[N,A], such as cumulative vote fractions.
    split: i[N], indices of SPLITS.
    names: A answers.

  Returns:
    A rows: `answer`, the mean in each split, and for validation and test the
    two-sample Kolmogorov-Smirnov distance to train (`ks_`) and its p-value
    (`p_`). With 2A comparisons a p under 0.05 is nothing; one under 0.05 / 2A
    would be.
  """
  parts = {label: values[split == k] for k, label in enumerate(SPLITS)}
  rows = []
  for a, name in enumerate(names):
    row: dict[str, object] = {"answer": name}
    column = {label: part[:, a] for label, part in parts.items()}
    for label in SPLITS:
      row[f"mean_{label}"] = column[label].mean()
    for label in SPLITS[1:]:
      found = stats.ks_2samp(column["train"], column[label], method="asymp")
      row[f"ks_{label}"], row[f"p_{label}"] = found.statistic, found.pvalue
    rows.append(row)
  return pd.DataFrame(rows)
