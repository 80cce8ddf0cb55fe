"""Correlations against NumPy's, and a split that is not like the others."""

import numpy as np
import pytest

from gzjax.morphology import vote_statistics

NAMES = ("a", "b", "c")


def test_correlations_are_numpys_and_constants_have_none():
  values = np.random.default_rng(0).random((200, 3))
  values[:, 1] += values[:, 0]
  wanted = np.corrcoef(values.T)
  got = vote_statistics.correlations(values, NAMES)
  np.testing.assert_allclose(got, wanted, atol=1e-12)
  values[:, 2] = 0.5
  got = vote_statistics.correlations(values, NAMES)
  assert np.isnan(got["c"]).all()
  assert got.loc["a", "b"] == pytest.approx(wanted[0, 1])


def test_a_split_that_differs_is_found_and_one_that_does_not_is_not():
  rng = np.random.default_rng(1)
  values = rng.random((3000, 3))
  split = rng.integers(0, 3, 3000)
  values[split == 2, 1] **= 1.5
  got = vote_statistics.compare_splits(values, split, NAMES).set_index("answer")
  assert got.loc["b", "p_test"] < 1e-6
  others = [got.loc["b", "p_validation"], *got.loc[["a", "c"], "p_test"]]
  assert min(others) > 0.001
  np.testing.assert_allclose(
    got.loc["b", "mean_test"], values[split == 2, 1].mean()
  )
