"""How suspicious labels are, beside loops, scikit-learn, jax.grad, cleanlab."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import spatial
from sklearn import metrics

from gzjax.audit import suspicion


def some(seed=0, n=60, k=4):
  """Probabilities f64[N,K] and labels i64[N] that often have the largest."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(k, size=n)
  p = rng.dirichlet(np.full(k, 0.5), n) + np.eye(k)[labels]
  return p / 2, labels


def test_scores_equal_a_loop():
  p, labels = some()
  found = suspicion.scores(p, labels)
  typical = [p[labels == j, j].mean() for j in range(4)]
  for i, (row, label) in enumerate(zip(p, labels, strict=True)):
    others = [j for j in range(4) if j != label]
    other = max(others, key=lambda j, row=row: row[j])
    assert found.suggested[i] == other
    assert found.self_confidence[i] == row[label]
    np.testing.assert_allclose(
      found.normalised_margin[i], row[label] - row[other]
    )
    shifted = [row[j] - typical[j] + max(typical) for j in range(4)]
    np.testing.assert_allclose(
      found.adjusted_self_confidence[i], shifted[label] / sum(shifted)
    )


def test_a_class_without_examples_changes_nothing():
  p, labels = some()
  wider = np.pad(p, ((0, 0), (0, 1)))
  for found, expected in zip(
    suspicion.scores(wider, labels), suspicion.scores(p, labels), strict=True
  ):
    np.testing.assert_allclose(found, expected)


def test_a_hard_class_is_not_blamed_as_a_whole():
  # Class 1 never gets more than .6, class 0 rarely less than .9.
  p = np.array([[0.95, 0.05], [0.7, 0.3], [0.4, 0.6], [0.42, 0.58]])
  found = suspicion.scores(p, np.array([0, 0, 1, 1]))
  assert found.self_confidence.argmin() == 3
  assert found.adjusted_self_confidence.argmin() == 1


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_cleanlab(seed):
  rank = pytest.importorskip("cleanlab.rank")
  p, labels = some(seed)
  found = suspicion.scores(p, labels)
  np.testing.assert_allclose(
    found.self_confidence, rank.get_self_confidence_for_each_label(labels, p)
  )
  np.testing.assert_allclose(
    (found.normalised_margin + 1) / 2,  # theirs lies within 0 and 1
    rank.get_normalized_margin_for_each_label(labels, p),
  )
  np.testing.assert_allclose(
    found.adjusted_self_confidence,
    rank.get_label_quality_scores(labels, p, adjust_pred_probs=True),
  )


PROBABILITIES, LABELS = some(n=5)


@pytest.mark.parametrize(
  ("p", "labels", "match"),
  [
    (PROBABILITIES[0], LABELS, r"probabilities is f\[4\]: give f\[N,K\]"),
    (PROBABILITIES[:, :1], LABELS, "K > 1"),
    (PROBABILITIES[:0], LABELS[:0], r"f\[0, 4\]"),
    (PROBABILITIES, LABELS[:4], r"labels is int64\[4\]: give i\[5\]"),
    (PROBABILITIES, LABELS * 1.0, "labels is float64"),
    (PROBABILITIES, LABELS - 9, "labels has numbers other than 0 to 3"),
    (PROBABILITIES, LABELS + 9, "labels has numbers other than 0 to 3"),
    (PROBABILITIES * np.nan, LABELS, "NaN"),
    (PROBABILITIES - 0.5, LABELS, "negative"),
    (PROBABILITIES * 1.1, LABELS, "do not sum to 1"),
  ],
)
def test_what_is_no_probability_or_label_is_refused(p, labels, match):
  with pytest.raises(ValueError, match=match):
    suspicion.scores(p, labels)
  with pytest.raises(ValueError, match=match):
    suspicion.self_influence(p, labels, np.ones((len(labels), 2)))


def test_labels_of_few_bits_are_enough():
  p, labels = some()
  found = suspicion.scores(p.astype(np.float32), labels.astype(np.uint8))
  expected = suspicion.scores(p, labels)
  np.testing.assert_array_equal(found.suggested, expected.suggested)


def test_area_under_the_margin_equals_a_loop_over_seen_epochs():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(6, 20, 3)).astype(np.float32)
  logits[rng.random((6, 20)) < 0.3] = np.nan
  logits[:, 7] = np.nan
  labels = rng.integers(3, size=20)
  found = suspicion.area_under_margin(logits, labels)
  for i, label in enumerate(labels):
    margins = [
      z[label] - np.delete(z, label).max()
      for z in logits[:, i].astype(np.float64)
      if not np.isnan(z).any()
    ]
    expected = np.mean(margins) if margins else np.nan
    np.testing.assert_allclose(found[i], expected)


@pytest.mark.parametrize(
  ("logits", "match"),
  [
    (np.zeros((5, 4)), r"logits is f\[5, 4\]: give f\[E,N,K\]"),
    (np.zeros((0, 5, 4)), r"logits is f\[0, 5, 4\]"),
    (np.zeros((2, 6, 4)), r"give i\[6\]"),
    (np.full((2, 5, 4), np.inf), "infinite"),
  ],
)
def test_logits_that_cannot_be_are_refused(logits, match):
  with pytest.raises(ValueError, match=match):
    suspicion.area_under_margin(logits, LABELS)


def nearest(x, among, k):
  distance = metrics.pairwise.cosine_distances(x, among)
  if x is among:
    np.fill_diagonal(distance, np.inf)
  return distance.argsort(axis=1)[:, :k]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_neighbours_are_those_of_all_distances(kind):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(50, 6)).astype(kind)
  among = rng.normal(size=(30, 6)).astype(kind)
  labels, known = rng.integers(3, size=50), rng.integers(3, size=30)
  own = suspicion.neighbours(x, labels, k=7)
  np.testing.assert_array_equal(own.index, nearest(x, x, 7))
  found = suspicion.neighbours(x, labels, among, known, k=30)
  np.testing.assert_array_equal(found.index, nearest(x, among, 30))
  for i, label in enumerate(labels):
    others = [labels[j] != label for j in own.index[i]]
    assert own.share[i] == sum(others) / 7
    np.testing.assert_allclose(found.share[i], np.mean(known != label))


def test_what_is_far_from_its_neighbours_is_odd():
  rng = np.random.default_rng(0)
  x, among = rng.normal(size=(50, 6)), rng.normal(size=(30, 6))
  own = suspicion.neighbours(x, np.zeros(50), k=7)
  other = suspicion.neighbours(x, np.zeros(50), among, np.zeros(30), k=4)
  for found, where in ((own, x), (other, among)):
    for i, near in enumerate(found.index):
      expected = [spatial.distance.cosine(x[i], where[j]) for j in near]
      np.testing.assert_allclose(found.oddity[i], np.mean(expected))
  flat = suspicion.neighbours(np.eye(6)[:4], np.zeros(4), k=2)
  np.testing.assert_allclose(flat.oddity, 1)


def test_an_example_is_no_neighbour_of_itself_even_if_there_are_twins():
  x = np.repeat(np.eye(3), 3, axis=0)
  found = suspicion.neighbours(x, np.arange(9), k=2)
  assert not np.any(found.index == np.arange(9)[:, None])
  assert np.all(found.index // 3 == np.arange(9)[:, None] // 3)
  np.testing.assert_array_equal(found.share, 1)
  one = suspicion.neighbours(x, np.arange(9), k=1).index[:, 0]
  assert not np.any(one == np.arange(9))


def test_neighbours_do_not_depend_on_the_length_of_features():
  rng = np.random.default_rng(0)
  x, labels = rng.normal(size=(40, 5)), rng.integers(2, size=40)
  x[3] = 0  # no direction at all
  scaled = x * rng.uniform(0.1, 9, (40, 1))
  np.testing.assert_array_equal(
    np.delete(suspicion.neighbours(x, labels, k=5).index, 3, axis=0),
    np.delete(suspicion.neighbours(scaled, labels, k=5).index, 3, axis=0),
  )


@pytest.mark.parametrize(
  ("change", "match"),
  [
    ({"k": 0}, "k is 0"),
    ({"k": 5}, "k is 5: there are 4 neighbours to choose from"),
    ({"features": np.ones(5)}, r"features is f\[5\]"),
    ({"labels": LABELS[:4]}, r"labels \[4\]: give f\[N,F\] and \[N\]"),
    ({"features": np.full((5, 2), np.nan)}, "features has numbers that are"),
    ({"reference_features": np.ones((3, 2))}, "together"),
    (
      {"reference_features": np.full((1, 2), np.inf), "reference_labels": [0]},
      "reference_features has numbers that are not finite",
    ),
  ],
)
def test_features_that_cannot_be_are_refused(change, match):
  given = {"features": np.ones((5, 2)), "labels": LABELS, "k": 2}
  with pytest.raises(ValueError, match=match):
    suspicion.neighbours(**given | change)


def test_self_influence_is_the_gradient_of_the_last_layer():
  rng = np.random.default_rng(0)
  features, labels = rng.normal(size=(9, 5)), rng.integers(3, size=9)
  weights, bias = rng.normal(size=(5, 3)), rng.normal(size=3)

  def loss(head, h, label):
    return -jax.nn.log_softmax(h @ head[0] + head[1])[label]

  gradients = jax.vmap(jax.grad(loss), (None, 0, 0))(
    (jnp.array(weights), jnp.array(bias)),
    jnp.array(features),
    jnp.array(labels),
  )
  expected = sum(np.sum(np.square(x.reshape(9, -1)), axis=1) for x in gradients)
  p = np.asarray(jax.nn.softmax(features @ weights + bias[None]))
  np.testing.assert_allclose(
    suspicion.self_influence(p, labels, features), expected, rtol=1e-4
  )
