"""Metrics against closed forms and scikit-learn, edge cases first."""

import numpy as np
import pytest

from gzjax import metrics

NAN_ROW = np.array([[np.nan, 1.0, 2.0], [0.0, 3.0, 1.0], [np.inf, 0.0, 0.0]])


def test_a_row_that_is_not_finite_has_no_class():
  np.testing.assert_array_equal(metrics.predicted_class(NAN_ROW), [-1, 1, -1])
  assert metrics.accuracy(np.array([0, 1, 0]), np.array([-1, 1, -1])) == 1 / 3


def test_softmax_and_loss_of_a_row_that_is_not_finite():
  p = metrics.softmax(NAN_ROW)
  assert np.isnan(p[[0, 2]]).all()
  np.testing.assert_allclose(p[1].sum(), 1)
  loss = metrics.cross_entropy(p, np.array([0, 1, 0]))
  assert np.isinf(loss[[0, 2]]).all()


def test_jensen_shannon_of_disjoint_predictions_is_ln_2():
  for k in (2, 3, 100):
    p, q = np.eye(k)[[0]], np.eye(k)[[1]]
    np.testing.assert_allclose(metrics.jensen_shannon(p, q), np.log(2))
    np.testing.assert_allclose(metrics.jensen_shannon(p, p), 0, atol=1e-15)


def test_jensen_shannon_equals_scipys_squared_distance():
  from scipy.spatial import distance

  rng = np.random.default_rng(0)
  p, q = rng.dirichlet(np.ones(4), (2, 20))
  wanted = [distance.jensenshannon(a, b) ** 2 for a, b in zip(p, q)]
  np.testing.assert_allclose(metrics.jensen_shannon(p, q), wanted)


def test_jensen_shannon_of_nan_is_the_largest_distance():
  got = metrics.jensen_shannon(np.full((1, 3), np.nan), np.ones((1, 3)) / 3)
  np.testing.assert_allclose(got, np.log(2))


@pytest.mark.parametrize(
  ("positive", "negative", "wanted"),
  [
    ([1, 2], [0, 0.5], 1.0),
    ([0, 0.5], [1, 2], 0.0),
    ([1, 1], [1, 1], 0.5),
    ([-np.inf, -np.inf], [-np.inf, 0], 0.25),
    ([1, 3], [2], 0.5),
  ],
)
def test_auc(positive, negative, wanted):
  assert metrics.auc(np.array(positive), np.array(negative)) == wanted


def test_auc_of_nothing_is_nan():
  assert np.isnan(metrics.auc(np.array([]), np.array([1.0])))


def test_attack_finds_memorised_wrong_labels_and_not_unseen_ones():
  rng = np.random.default_rng(0)
  label = rng.integers(0, 3, 200)
  clean = rng.dirichlet(np.ones(3), 200)
  memorised = np.eye(3)[label] * 0.9 + 0.1 / 3
  unseen = rng.dirichlet(np.ones(3), 200)
  assert metrics.attack_auc(memorised, label, unseen, label) > 0.9
  assert abs(metrics.attack_auc(clean, label, unseen, label) - 0.5) < 0.1


def test_wilson_interval_is_scipys():
  from scipy import stats

  for hits, n in ((0, 9), (9, 9), (3, 9), (480, 500)):
    wanted = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose(
      metrics.wilson_interval(hits, n), wanted, atol=1e-12
    )
  assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


def test_a_class_that_does_not_occur_is_left_out():
  label, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
  assert metrics.balanced_accuracy(label, predicted, 3) == 0.75


def test_confusion_matrix_leaves_invalid_predictions_out():
  matrix = metrics.confusion_matrix(
    np.array([0, 1, 1]), np.array([0, 0, -1]), 2
  )
  np.testing.assert_array_equal(matrix, [[1, 0], [1, 0]])


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_scikit_learn(seed):
  sk = pytest.importorskip("sklearn.metrics")
  rng = np.random.default_rng(seed)
  label, predicted = rng.integers(0, 4, (2, 60))
  assert metrics.accuracy(label, predicted) == sk.accuracy_score(
    label, predicted
  )
  np.testing.assert_allclose(
    metrics.balanced_accuracy(label, predicted, 4),
    sk.balanced_accuracy_score(label, predicted),
  )
  np.testing.assert_allclose(
    metrics.macro_f1(label, predicted, 4),
    sk.f1_score(label, predicted, average="macro"),
  )
  np.testing.assert_array_equal(
    metrics.confusion_matrix(label, predicted, 4),
    sk.confusion_matrix(label, predicted),
  )
  score = rng.normal(size=60).round(1)
  np.testing.assert_allclose(
    metrics.auc(score[label == 0], score[label != 0]),
    sk.roc_auc_score(label == 0, score),
  )
