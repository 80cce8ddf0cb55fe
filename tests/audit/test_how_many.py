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


def gaussians(seed, distance, shares=(0.9, 0.1, 0.0), n=1000):
  """Probabilities of labels, these, and true ones, of overlapping classes.

  Each class is given its own label, the next and the one after that by the
  shares; the probabilities are the exact ones, given where an example lies.
  """
  rng = np.random.default_rng(seed)
  k = len(shares)
  true = rng.integers(k, size=n)
  place = distance / np.sqrt(2) * np.eye(k)
  x = place[true] + rng.normal(size=(n, k))
  p = special.softmax(x @ place, axis=1)
  labels = (true + rng.choice(k, n, p=shares)) % k
  mixed = sum(share * np.roll(p, j, axis=1) for j, share in enumerate(shares))
  return mixed, labels, true


def test_transitions_equal_a_loop():
  p, labels, _ = some(sharp=1.5)
  for j, row in enumerate(how_many.transitions(p, labels)):
    like = [i for i in range(len(p)) if p[i].argmax() == j]
    like.sort(key=lambda i: -p[i].max())
    surest = like[: len(like) - int(0.7 * (len(like) - 1))]
    expected = [np.mean(labels[surest] == c) for c in range(4)]
    np.testing.assert_allclose(row, expected)


def test_a_class_that_nothing_looks_like_keeps_its_labels():
  p, labels, _ = some()
  p = np.pad(p, ((0, 0), (0, 1)))
  np.testing.assert_array_equal(
    how_many.transitions(p, labels)[4], np.eye(5)[4]
  )
  labels[0] = 4
  found = how_many.estimate(p, labels, samples=2)
  np.testing.assert_allclose(found.joint.sum(axis=1), np.bincount(labels))


def test_the_estimate_of_clear_examples_is_their_number():
  # Nobody takes one class for another, so the chance is in the sample alone:
  # wrong labels are a binomial number.
  rng = np.random.default_rng(0)
  n, k = 2000, 3
  true = rng.integers(k, size=n)
  labels = np.where(rng.random(n) < 0.1, (true + 1) % k, true)
  p = 0.05 + 0.85 * np.eye(k)[true]
  found = how_many.estimate(p, labels, samples=500)
  wrong = np.sum(labels != true)
  assert found.wrong == pytest.approx(wrong)
  low, high = stats.binom.ppf([0.025, 0.975], n, wrong / n)
  np.testing.assert_allclose(
    [found.wrong_low, found.wrong_high], [low, high], atol=5
  )
  expected = np.zeros((k, k))
  np.add.at(expected, (labels, true), 1)
  np.testing.assert_allclose(found.joint, expected)
  assert np.all((found.low <= expected) & (expected <= found.high))
  assert found.joint.shape == found.low.shape == found.high.shape == (k, k)


@pytest.mark.parametrize("distance", [5.0, 3.0])
@pytest.mark.parametrize(
  "shares", [(0.9, 0.05, 0.05), (0.85, 0.15, 0.0), (0.96, 0.02, 0.02)]
)
def test_the_interval_holds_the_truth(distance, shares):
  ratio, held, cells = [], [], []
  for seed in range(20):
    p, labels, true = gaussians(seed, distance, shares)
    found = how_many.estimate(p, labels, samples=30)
    joint = np.zeros((3, 3))
    np.add.at(joint, (labels, true), 1)
    wrong = np.sum(labels != true)
    ratio.append(found.wrong / wrong)
    held.append(found.wrong_low <= wrong <= found.wrong_high)
    cells.append((found.low <= joint) & (joint <= found.high))
  assert np.mean(held) >= 0.9
  assert np.mean(cells) >= 0.95
  # What classes share is not counted, as it is in the confident joint.
  assert np.mean(ratio) == pytest.approx(1, abs=0.15)


def test_where_classes_overlap_the_confident_joint_finds_too_many():
  p, labels, true = gaussians(0, 3, n=20_000)
  joint = how_many.confident_joint(p, labels)
  wrong = np.sum(labels != true)
  assert joint.sum() - joint.trace() > 1.35 * wrong
  found = how_many.estimate(p, labels, samples=2)
  assert found.wrong == pytest.approx(wrong, rel=0.15)


def test_how_sure_a_network_says_that_it_is_does_not_matter():
  p, labels, _ = gaussians(0, 3, (0.8, 0.2))
  found = how_many.estimate(p, labels, samples=10)
  for temperature in (0.3, 3.0):
    other = special.softmax(np.log(p) / temperature, axis=1)
    other = how_many.estimate(other, labels, samples=10)
    for a, b in zip(found, other, strict=True):
      np.testing.assert_allclose(a, b)


def test_mistakes_among_hard_examples_are_inside_of_the_interval():
  # None of the surest is wrong, and the number says so; the interval reaches to
  # all that the network would label otherwise.
  p, true, _ = gaussians(0, 4, (1.0, 0.0, 0.0))
  rng = np.random.default_rng(1)
  hard = np.argsort(p.max(axis=1))[:250]
  labels = true.copy()
  labels[hard] += rng.choice(3, len(hard), p=(0.6, 0.2, 0.2))
  labels %= 3
  found = how_many.estimate(p, labels)
  wrong = np.sum(labels != true)
  assert found.wrong < 0.5 * wrong
  assert found.wrong_low <= wrong <= found.wrong_high


def test_expected_numbers_hold_what_is_drawn():
  held = []
  for seed in range(20):
    p, _, _ = gaussians(seed, 2)
    rng = np.random.default_rng(seed)
    labels, true = (
      np.sum(rng.random((len(p), 1)) > p.cumsum(axis=1), axis=1)
      for _ in range(2)
    )
    found = how_many.expected(p, labels, samples=50)
    each = np.zeros((3, 3))
    for row, label in zip(p, labels, strict=True):
      each[label] += row
    np.testing.assert_allclose(found.joint, each)
    assert found.wrong == pytest.approx(each.sum() - each.trace())
    held.append(found.wrong_low <= np.sum(labels != true) <= found.wrong_high)
  assert np.mean(held) >= 0.9


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
