"""Numbers about the votes themselves, as in section 3 of the lab report."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy

from gzjax.morphology.splits import SPLITS


def correlations(values: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
  """Pearson's correlation of every two answers over the galaxies.

  Of values f[N,A], such as cumulative vote fractions, and A names: A x A; NaN
  for an answer that is the same for all galaxies.
  """
  return pd.DataFrame(values, columns=list(names)).corr()


def compare_splits(
  values: np.ndarray, split: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
  """Whether validation and test look like the training set, answer by answer.

  Of values f[N,A], such as cumulative vote fractions, in splits i[N], indices
  of SPLITS, and A names.

  Returns:
    A rows: `answer`, the mean in each split, and for validation and test the
    two-sample Kolmogorov-Smirnov distance to train (`ks_`) and its p-value
    (`p_`). With 2A comparisons a p under 0.05 is nothing; one under 0.05 / 2A
    would be.
  """
  parts = {label: values[split == k] for k, label in enumerate(SPLITS)}
  table = pd.DataFrame({"answer": list(names)})
  for label, part in parts.items():
    table[f"mean_{label}"] = pd.DataFrame(part).mean()
  for label in SPLITS[1:]:
    test = scipy.stats.ks_2samp(
      parts["train"],
      parts[label],
      method="asymp",
      axis=0,
      nan_policy="omit",
    )
    table[f"ks_{label}"], table[f"p_{label}"] = test.statistic, test.pvalue
  return table
