"""Metrics against closed forms and scikit-learn, edge cases first."""

import tracemalloc

import numpy as np
import pytest
from scipy import optimize, special, stats

from gzjax.evaluation import attacks, intervals, metrics
from gzjax.objectives import targets

NAN_ROW = np.array([[np.nan, 1.0, 2.0], [0.0, 3.0, 1.0], [np.inf, 0.0, 0.0]])


def test_a_row_that_is_not_finite_has_no_class():
  np.testing.assert_array_equal(metrics.predicted_class(NAN_ROW), [-1, 1, -1])
  assert metrics.accuracy(np.array([0, 1, 0]), np.array([-1, 1, -1])) == 1 / 3


def test_softmax_and_loss_of_a_row_that_is_not_finite():
  p = targets.softmax(NAN_ROW)
  assert np.isnan(p[[0, 2]]).all()
  np.testing.assert_allclose(p[1].sum(), 1)
  loss = metrics.cross_entropy(p, np.array([0, 1, 0]))
  assert np.isinf(loss[[0, 2]]).all()


def test_the_margin_of_logits_comes_back_from_probabilities():
  logits = np.random.default_rng(0).normal(size=(40, 4))
  label = np.arange(40) % 4
  wanted = []
  for z, k in zip(logits, label, strict=True):
    wanted.append(z[k] - max(x for j, x in enumerate(z) if j != k))
  found = metrics.log_margin(targets.softmax(logits), label)
  np.testing.assert_allclose(found, wanted)


def test_a_margin_is_finite_whatever_the_network_says():
  p = np.array([[1.0, 0, 0], [0, 1, 0], [np.nan] * 3, [0.5, 0.5, 0], [0, 0, 0]])
  found = metrics.log_margin(p, np.zeros(5, int))
  np.testing.assert_array_equal(found, [30, -30, -30, 0, -30])
  # Probabilities in low precision are read as they are.
  half = np.array([[0.75, 0.25]], np.float32)
  np.testing.assert_allclose(
    metrics.log_margin(half, np.array([1])), -np.log(3)
  )
  assert half.tolist() == [[0.75, 0.25]]


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
  assert attacks.auc(np.array(positive), np.array(negative)) == wanted


def test_auc_of_nothing_is_nan():
  assert np.isnan(attacks.auc(np.array([]), np.array([1.0])))


def test_attack_finds_memorised_wrong_labels_and_not_unseen_ones():
  rng = np.random.default_rng(0)
  label = rng.integers(0, 3, 200)
  clean = rng.dirichlet(np.ones(3), 200)
  memorised = np.eye(3)[label] * 0.9 + 0.1 / 3
  unseen = rng.dirichlet(np.ones(3), 200)
  memorised, clean, unseen = (
    metrics.cross_entropy(p, label) for p in (memorised, clean, unseen)
  )
  assert attacks.attack_auc(memorised, unseen) > 0.9
  assert abs(attacks.attack_auc(clean, unseen) - 0.5) < 0.1


def test_wilson_interval_is_scipys():
  from scipy import stats

  for hits, n in ((0, 9), (9, 9), (3, 9), (480, 500)):
    wanted = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose(
      intervals.wilson_interval(hits, n), wanted, atol=1e-12
    )
  assert intervals.wilson_interval(0, 0) == (0.0, 1.0)


def test_resampled_interval_of_a_deviation_is_that_of_the_normal_law():
  values = np.random.default_rng(4).normal(size=2000)
  low, high = intervals.resampled_interval(
    lambda rows: values[rows].std(), 2000, draws=2000
  )
  half = 1.96 * values.std() / np.sqrt(2 * 2000)
  np.testing.assert_allclose(
    (low, high), (values.std() - half, values.std() + half), atol=0.005
  )
  bad = intervals.resampled_interval(lambda rows: rows.mean() * np.nan, 3)
  assert np.isnan(bad).all()


def test_a_class_that_does_not_occur_is_left_out():
  label, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
  assert metrics.balanced_accuracy(label, predicted, 3) == 0.75


def test_confusion_matrix_leaves_invalid_predictions_out():
  matrix = metrics.confusion_matrix(
    np.array([0, 1, 1]), np.array([0, 0, -1]), 2
  )
  np.testing.assert_array_equal(matrix, [[1, 0], [1, 0]])


def test_the_mean_of_what_is_known_is_that_of_a_loop():
  values = np.random.default_rng(0).normal(size=(5, 4))
  values[0, 1] = values[1:, 2] = values[:, 3] = np.nan  # 4, 1 and none left
  wanted = []
  for column in values.T:
    known = [x for x in column if x == x]
    wanted.append(sum(known) / len(known) if known else np.nan)
  np.testing.assert_allclose(metrics.known_mean(values), wanted)


def test_a_ratio_to_nothing_is_unknown():
  assert metrics.ratio(3, 4) == 0.75
  assert np.isnan(metrics.ratio(3, 0))


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
  """Of a class that is only meant or only said 0; one of neither is none."""
  label = np.array([0, 0, 1, 1, 1, 3, 0])
  predicted = np.array([0, 1, 1, 1, 4, -1, 0])
  scores = []
  for k in (0, 1):
    hits = sum(x == y == k for x, y in zip(label, predicted, strict=True))
    precision, recall = hits / sum(predicted == k), hits / sum(label == k)
    scores.append(2 / (1 / precision + 1 / recall))
  found = metrics.macro_f1(label, predicted, 6)
  assert found == pytest.approx(sum(scores) / 4)


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
    [
      metrics.balanced_accuracy(label, predicted, 4),
      metrics.hit_weights(label) @ (label == predicted),
    ],
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
    attacks.auc(score[label == 0], score[label != 0]),
    sk.roc_auc_score(label == 0, score),
  )


def test_attack_accuracy_of_losses_that_can_and_cannot_be_told_apart():
  rng = np.random.default_rng(0)
  low, high = rng.uniform(0, 1, 60), rng.uniform(3, 4, 40)
  assert attacks.attack_accuracy(low, high) > 0.95
  same = rng.exponential(size=(2, 400))
  assert abs(attacks.attack_accuracy(*same) - 0.5) < 0.08
  # Infinite and missing losses are the largest ones, not a crash.
  high[:5], high[5:9] = np.inf, np.nan
  assert attacks.attack_accuracy(low, high) > 0.95
  assert np.isnan(attacks.attack_accuracy(low[:1], high))
  # A constant predictor tells nothing.
  assert attacks.attack_accuracy(np.ones(30), np.ones(50)) == 0.5


def test_attack_accuracy_equals_a_threshold_found_by_hand():
  """In one dimension a logistic regression is a threshold."""
  rng = np.random.default_rng(1)
  members, others = rng.normal(1, 1, 300) ** 2, rng.normal(2, 1, 300) ** 2
  loss = np.concatenate([members, others])
  truth = np.repeat([1, 0], 300)

  def negative_log_likelihood(x):
    return np.logaddexp(0, -(2 * truth - 1) * (x[0] + x[1] * loss)).sum()

  # The default of the regression: half the squared slope as a penalty.
  fit = optimize.minimize(
    lambda x: negative_log_likelihood(x) + x[1] ** 2 / 2, [0.0, 0.0]
  )
  predicted = (fit.x[0] + fit.x[1] * loss) > 0
  by_hand = (predicted[:300].mean() + 1 - predicted[300:].mean()) / 2
  assert abs(attacks.attack_accuracy(members, others) - by_hand) < 0.02


def test_entropy_and_distance_to_constant():
  assert metrics.entropy(np.array([1.0, 0, 0])) == 0
  assert metrics.entropy(np.full(4, 0.25)) == pytest.approx(np.log(4))
  constant = np.tile([0.2, 0.5, 0.3], (7, 1))
  assert metrics.distance_to_constant(constant) == pytest.approx(0, abs=1e-12)
  certain = np.eye(3)[[0, 1, 2] * 5]
  assert metrics.distance_to_constant(certain) == pytest.approx(np.log(3))
  assert metrics.distance_to_constant(np.full((4, 3), np.nan)) == 0
  # A row that is not finite is left out, be it in part.
  some = np.concatenate([certain, [[np.nan, 0.5, 0.5]]])
  assert metrics.distance_to_constant(some) == pytest.approx(np.log(3))


def test_distance_to_constant_is_the_least_over_all_constants():
  p = np.random.default_rng(2).dirichlet(np.ones(3), 20)

  def mean_divergence(free):
    q = special.softmax([*free, 0.0])
    return special.rel_entr(p, q).sum(axis=1).mean()

  best = optimize.minimize(mean_divergence, [0.0, 0.0]).fun
  assert metrics.distance_to_constant(p) == pytest.approx(best, abs=1e-6)


def test_distances_between_predictions():
  p, q = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 0, 1]]
  assert metrics.activation_distance(p, p) == 0
  assert metrics.activation_distance(p, q) == 1  # half of them by 2
  assert metrics.agreement(p, q) == 0.5
  assert metrics.agreement(p[:3], q[:3]) == pytest.approx(2 / 3)
  nan = np.full((4, 3), np.nan)
  assert metrics.activation_distance(nan, q) == 2
  assert metrics.agreement(nan, nan) == 0


def test_tug_of_war():
  assert metrics.tug_of_war([0.1, 1, 0.9], [0.1, 1, 0.9]) == 1
  assert metrics.tug_of_war([0.6, 0.9, 0.9], [0.1, 1, 0.9]) == pytest.approx(
    0.5 * 0.9
  )


def test_scaled_confidence():
  p = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0, 1, 0], [np.nan] * 3])
  got = attacks.scaled_confidence(p, np.zeros(4, int))
  np.testing.assert_allclose(got, [0, 30, -30, -30])
  assert np.isfinite(got).all()


def test_u_lira_is_the_ratio_of_two_gaussians():
  rng = np.random.default_rng(3)
  unlearned, retrained = rng.normal(2, 1, (5, 4)), rng.normal(0, 2, (6, 4))
  target = rng.normal(size=4)
  got = attacks.u_lira(target, unlearned, retrained)
  for n in range(4):
    a, b = unlearned[:, n], retrained[:, n]
    wanted = np.log(
      stats.norm(a.mean(), a.std(ddof=1)).pdf(target[n])
      / stats.norm(b.mean(), b.std(ddof=1)).pdf(target[n])
    )
    assert got[n] == pytest.approx(wanted)
  with pytest.raises(ValueError, match="two shadow"):
    attacks.u_lira(target, unlearned[:1], retrained)


def test_mean_interval_is_scipys():
  values = [0.9, 0.95, 0.97]
  mean, low, high = intervals.mean_interval(values)
  wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
  np.testing.assert_allclose((low, high), wanted)
  assert mean == pytest.approx(np.mean(values))
  assert np.isnan(intervals.mean_interval([0.5])[1:]).all()


def test_iam_is_a_loop_over_interpolated_scores():
  """Gumbel distributions written out; the formula of the publication."""
  rng = np.random.default_rng(0)
  low, high, own = rng.uniform(0, 0.3, 9), rng.uniform(0.7, 1, 9), rng.random(9)
  score = [-np.log(0.01 - np.log(1e-5 + p)) for p in (own, low, high)]
  total = weights = 0.0
  for share in np.linspace(0, 1, 100):
    mean = score[1] + share * (score[2] - score[1])
    scale = np.sqrt(6) / np.pi * np.std(mean)
    place = mean - 0.5772156649 * scale
    passed = np.exp(-np.exp(-(score[0] - place) / scale))
    total, weights = total + share * passed.mean(), weights + share
  assert attacks.iam(own, low, high) == pytest.approx(total / weights)
  forgotten, kept = attacks.iam(low, low, high), attacks.iam(high, low, high)
  assert forgotten < 0.3 < 0.5 < kept
  # Networks that agree on all wrong labels: the distributions are points.
  same = np.full(9, 0.5)
  assert attacks.iam(same - 0.4, same, same) == 0
  assert attacks.iam(same + 0.4, same, same) == 1


def test_iam_needs_no_more_memory_than_a_few_arrays_of_its_examples():
  scores = np.random.default_rng(0).random((3, 20_000))
  attacks.iam(*scores)  # what is made once, at the first call
  tracemalloc.start()
  attacks.iam(*scores)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 20 * scores[0].nbytes, peak


def test_confidence_bins_say_how_often_answers_are_right():
  p = np.array([[0.9, 0.1], [0.85, 0.15], [0.2, 0.8], [0.4, 0.6], [1.0, 0.0]])
  p = np.concatenate([p, [[np.nan, 1.0]]])
  found = metrics.confidence_bins(p, np.array([0, 1, 1, 0, 0, 1]))
  np.testing.assert_allclose(found["said"], [0.6, 0.825, 0.95])
  np.testing.assert_allclose(found["right"], [0.0, 0.5, 1.0])
  assert found["count"].tolist() == [1, 2, 2]
  nothing = metrics.confidence_bins(p[-1:], np.array([1]))
  assert not len(nothing["count"])
