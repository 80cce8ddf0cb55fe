"""How many labels are wrong, beside loops, cleanlab and known numbers."""

import numpy as np
import pytest
from scipy import special, stats

from gzjax.audit import how_many


def some(seed=0, n=300, k=4, noise=0.1, sharp=3.0):
  """Probabilities f64[N,K], labels i64[N] of which some are wrong, and true."""
  rng = np.random.default_rng(seed)
  true = rng.choice(k, n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
  logits = rng.normal(size=(n, k)) + sharp * np.eye(k)[true]
  wrong = rng.random(n) < noise
  labels = np.where(wrong, (true + rng.integers(1, k, n)) % k, true)
  return special.softmax(logits, axis=1), labels, true


def counted(p, labels):
  """The confident joint before it is scaled, by a loop over the examples."""
  k = p.shape[1]
  t = [np.mean(p[labels == j, j]) if j in labels else np.inf for j in range(k)]
  joint = np.zeros((k, k))
  for row, label in zip(p, labels, strict=True):
    sure = [j for j in range(k) if row[j] >= t[j]]
    if sure:
      joint[label, max(sure, key=lambda j, row=row: row[j])] += 1
  return np.maximum(joint, np.eye(k))


@pytest.mark.parametrize("seed", range(3))
def test_the_confident_joint_equals_a_loop(seed):
  p, labels, _ = some(seed, sharp=1.5)
  joint = counted(p, labels)
  found = how_many.confident_joint(p, labels)
  scaled = [
    row / row.sum() * np.sum(labels == i) for i, row in enumerate(joint)
  ]
  np.testing.assert_allclose(found, scaled)
  np.testing.assert_allclose(found.sum(axis=1), np.bincount(labels))


def test_a_class_without_examples_has_an_empty_row_and_column():
  p, labels, _ = some()
  found = how_many.confident_joint(np.pad(p, ((0, 0), (0, 1))), labels)
  np.testing.assert_array_equal(found[4], 0)
  np.testing.assert_array_equal(found[:, 4], 0)
  np.testing.assert_allclose(found[:4, :4], how_many.confident_joint(p, labels))


def test_of_two_classes_that_are_reached_the_likelier_counts():
  # Class 0 is the likeliest of the last row, but does not reach its threshold:
  # Northcutt et al. (2021) leave it out, cleanlab 2.9 counts it.
  p = np.array(
    [[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.6, 0.2, 0.2], [0.45, 0.3, 0.25]]
  )
  labels = np.array([0, 1, 2, 2])
  joint = how_many.confident_joint(p, labels)
  np.testing.assert_allclose(joint[2], [0, 1, 1])


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(5))
def test_the_confident_joint_is_that_of_cleanlab(seed):
  count = pytest.importorskip("cleanlab.count")
  p, labels, _ = some(seed, n=2000)
  t = count.get_confident_thresholds(labels, p)
  below = p.max(axis=1) < t[p.argmax(axis=1)]
  assert not np.any(below & (np.sum(p >= t, axis=1) > 1))  # see above
  found = how_many.confident_joint(p, labels)
  joint = count.compute_confident_joint(labels, p, calibrate=False)
  each = np.bincount(labels) / joint.sum(axis=1)
  np.testing.assert_allclose(found, joint * each[:, None])
  # Theirs is rounded to whole examples.
  rounded = count.compute_confident_joint(labels, p, calibrate=True)
  assert np.abs(found - rounded).max() < 1


def test_calibration_finds_the_law_of_the_labels():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(20_000, 3))
  law = special.softmax(logits, axis=1)
  labels = np.sum(rng.random((20_000, 1)) > law.cumsum(axis=1), axis=1)
  for factor in (0.5, 1.0, 4.0):
    p = special.softmax(factor * logits, axis=1)
    found = how_many.calibrated(p, labels)
    np.testing.assert_allclose(found, law, atol=0.02)
    # At the least cross-entropy the labels' mean logit is the expected one.
    np.testing.assert_allclose(
      logits[np.arange(20_000), labels].mean(),
      np.sum(found * logits, axis=1).mean(),
      atol=1e-4,
    )


def test_calibration_bears_probabilities_of_0_and_1():
  found = how_many.calibrated(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1]))
  assert np.isfinite(found).all()
  np.testing.assert_allclose(found.sum(axis=1), 1)
  assert found[3, 0] > found[3, 1]


def test_the_estimate_of_clear_examples_is_their_number():
  # Nobody takes one class for another, so the chance is in the sample alone:
  # wrong labels are a binomial number.
  rng = np.random.default_rng(0)
  n, k = 2000, 3
  true = rng.integers(k, size=n)
  labels = np.where(rng.random(n) < 0.1, (true + 1) % k, true)
  p = 0.05 + 0.85 * np.eye(k)[true]
  found = how_many.estimate(p, labels, samples=1000)
  wrong = np.sum(labels != true)
  assert found.wrong == pytest.approx(wrong)
  low, high = stats.binom.ppf([0.025, 0.975], n, wrong / n)
  np.testing.assert_allclose(
    [found.wrong_low, found.wrong_high], [low, high], atol=4
  )
  expected = np.zeros((k, k))
  np.add.at(expected, (labels, true), 1)
  np.testing.assert_allclose(found.joint, expected)
  assert np.all((found.low <= expected) & (expected <= found.high))
  assert found.joint.shape == found.low.shape == found.high.shape == (k, k)


def test_estimates_follow_the_seed():
  p, labels, _ = some()
  one, same, other = (how_many.estimate(p, labels, s, 20) for s in (1, 1, 2))
  for a, b in zip(one, same, strict=True):
    np.testing.assert_array_equal(a, b)
  assert np.any(one.low != other.low)
  assert one.wrong == other.wrong


def test_the_cut_is_the_largest_number_with_few_right_labels():
  rng = np.random.default_rng(0)
  wrong = rng.random(60).round(1)
  order = np.sort(wrong)[::-1]
  for q in (0, 0.05, 0.2, 0.35, 1):
    few = [k for k in range(61) if np.sum(1 - order[:k]) <= q * k + 1e-9]
    assert how_many.cut(wrong, q) == max(few)


@pytest.mark.parametrize(
  ("wrong", "q", "expected"),
  [
    ([], 0.2, 0),
    ([0.7, 0.79, 0.1], 0.2, 0),
    ([1.0, 0.6, 0.6], 0.2, 2),  # exactly a fifth
    ([1.0, 0.9, 1.0], 0.0, 2),
    ([0.0, 0.0], 1.0, 2),
  ],
)
def test_cuts_at_the_edges(wrong, q, expected):
  assert how_many.cut(np.array(wrong), q) == expected


def test_what_cannot_be_cut_is_refused():
  for wrong in ([[0.5]], [np.nan], [1.5], [-0.1]):
    with pytest.raises(ValueError, match="probability_wrong must be"):
      how_many.cut(np.array(wrong))
  with pytest.raises(ValueError, match="false_discovery is 20"):
    how_many.cut(np.array([0.5]), 20)
