"""Objectives against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gzjax.objectives import losses

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]], "f")
BATCH = {"label": np.array([0, 2, 2])}
P = special.softmax(LOGITS, axis=1)[np.arange(3), BATCH["label"]]


def test_cross_entropy():
  got = losses.cross_entropy(LOGITS, BATCH)
  np.testing.assert_allclose(got, -np.log(P), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal(gamma):
  got = losses.focal(focal_gamma=gamma)(LOGITS, BATCH)
  np.testing.assert_allclose(got, -((1 - P) ** gamma) * np.log(P), rtol=1e-5)


def test_focal_gradient_is_finite_where_the_label_is_certain():
  logits = jnp.array([[200.0, 0.0, 0.0]])

  def loss(logits):
    return jnp.sum(
      losses.focal(focal_gamma=0.5)(logits, {"label": jnp.array([0])})
    )

  assert np.isfinite(jax.grad(loss)(logits)).all()


def test_early_learning_holds_on_to_what_was_said_before():
  """Liu et al. (2020), written out."""
  rng = np.random.default_rng(0)
  before = rng.dirichlet(np.ones(3), 3).astype(np.float32)
  batch = {**BATCH, "remembered": before}
  objective = losses.early_learning(elr_weight=2.0, elr_memory=0.6)
  p = special.softmax(LOGITS.astype(np.float64), axis=1)
  kept = 0.6 * before + 0.4 * p
  wanted = -np.log(P) + 2 * np.log(1 - np.sum(kept * p, axis=1))
  np.testing.assert_allclose(objective(LOGITS, batch), wanted, rtol=1e-5)
  # What is kept moves along without a gradient.
  got = jax.grad(lambda x: jnp.sum(objective(x, batch)))(jnp.asarray(LOGITS))
  total = np.sum(kept * p, axis=1, keepdims=True)
  against = p * (total - kept) / (1 - total)
  label = np.eye(3)[BATCH["label"]]
  np.testing.assert_allclose(got, p - label + 2 * against, rtol=1e-4, atol=1e-6)


def test_early_learning_stays_finite_where_all_is_certain():
  logits = jnp.array([[300.0, 0.0, 0.0]])
  batch = {"label": jnp.array([0]), "remembered": jnp.array([[1.0, 0, 0]])}
  value, slope = jax.value_and_grad(
    lambda x: jnp.sum(losses.early_learning()(x, batch))
  )(logits)
  assert np.isfinite(value)
  assert np.isfinite(slope).all()


@pytest.mark.parametrize("certain", [0, 1])
def test_early_learning_keeps_each_probability_off_0_and_1(certain):
  """As the authors' code: clipped, and what is kept of it sums to 1."""
  logits = np.zeros((1, 3), np.float32)
  logits[0, certain] = 300
  before = np.array([[0.2, 0.5, 0.3]], np.float32)
  batch = {"label": np.array([2]), "remembered": before}
  objective = losses.early_learning(
    lambda logits, batch: jnp.zeros(1), elr_weight=1.0, elr_memory=0.6
  )
  p = np.full((1, 3), 1e-4)
  p[0, certain] = 1 - 1e-4
  kept = 0.6 * before + 0.4 * p / p.sum()
  wanted = np.log(1 - np.sum(kept * p, axis=1))
  np.testing.assert_allclose(objective(logits, batch), wanted, rtol=1e-6)


def test_weighted_takes_the_weight_of_the_label():
  weights = np.array([1.0, 5.0, 0.5])
  got = losses.weighted(losses.cross_entropy, weights)(LOGITS, BATCH)
  np.testing.assert_allclose(got, [1, 0.5, 0.5] * -np.log(P), rtol=1e-5)


def test_effective_weights_lie_between_none_and_balanced():
  counts = np.array([1000, 100, 10])
  flat = losses.effective_weights(counts, beta=1e-9)
  steep = losses.effective_weights(counts, beta=1 - 1e-9)
  np.testing.assert_allclose(flat, 1, atol=1e-6)
  balanced = losses.balanced_weights(counts)
  np.testing.assert_allclose(steep, balanced / balanced.mean(), rtol=1e-3)


def test_effective_weights_are_those_of_the_publication():
  """Cui et al. (2019): one over the sum of beta^i, i below n; their beta."""
  counts = np.array([3, 20, 1])
  sums = np.array([sum(0.9999**i for i in range(n)) for n in counts])
  wanted = 3 / sums / np.sum(1 / sums)
  np.testing.assert_allclose(losses.effective_weights(counts), wanted)


def test_losses_and_class_weights_have_names():
  objective = losses.complement
  found = losses.LOSSES.with_settings("cross_entropy", {})(objective)
  assert found is objective
  for name, function in (
    ("focal", losses.focal),
    ("early_learning", losses.early_learning),
  ):
    assert losses.LOSSES[name] is function
  counts = np.array([6, 2])
  assert losses.CLASS_WEIGHTS["none"](counts) is None
  np.testing.assert_allclose(
    losses.CLASS_WEIGHTS["balanced"](counts), [8 / 12, 8 / 4]
  )
  assert losses.CLASS_WEIGHTS["effective"] is losses.effective_weights


@pytest.mark.oracle
def test_balanced_weights_equal_scikit_learn():
  utils = pytest.importorskip("sklearn.utils")
  label = np.repeat([0, 1, 2], [7, 2, 5])
  wanted = utils.compute_class_weight("balanced", classes=np.arange(3), y=label)
  got = losses.balanced_weights(np.bincount(label))
  np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize(
  ("valid", "wanted"),
  [([1, 1, 1], 2.0), ([1, 0, 1], 2.5), ([0, 0, 1], 4.0), ([0, 0, 0], 0.0)],
)
def test_masked_mean(valid, wanted):
  got = losses.masked_mean(jnp.array([1.0, 1.0, 4.0]), jnp.array(valid, "f"))
  np.testing.assert_allclose(got, wanted)


def test_a_cap_stops_the_loss_and_its_gradient():
  objective = losses.capped(losses.cross_entropy, 1.0)
  np.testing.assert_allclose(
    objective(LOGITS, BATCH), np.minimum(-np.log(P), 1.0), rtol=1e-5
  )
  slopes = jax.grad(lambda x: jnp.sum(objective(x, BATCH)))(jnp.array(LOGITS))
  over = -np.log(P) > 1
  assert over.any()
  assert not over.all()
  np.testing.assert_array_equal(np.any(np.asarray(slopes) != 0, axis=1), ~over)


def test_complement_is_minus_log_of_one_minus_p():
  np.testing.assert_allclose(
    losses.complement(LOGITS, BATCH), -np.log1p(-P), rtol=1e-5
  )


def test_complement_of_a_certain_label_is_large_and_finite():
  sure = jnp.array([[60.0, 0.0, 0.0]])
  batch = {"label": jnp.array([0])}
  value, slope = jax.value_and_grad(lambda x: losses.complement(x, batch)[0])(
    sure
  )
  np.testing.assert_allclose(value, 60 - np.log(2), rtol=1e-6)
  assert np.isfinite(slope).all()


def test_mended_label_takes_the_other_label():
  batch = {**BATCH, "mended_label": np.array([2, 1, 0])}
  wanted = losses.cross_entropy(LOGITS, {"label": batch["mended_label"]})
  np.testing.assert_array_equal(losses.mended_label(LOGITS, batch), wanted)


def test_random_labels_are_other_classes_drawn_once_and_evenly():
  n = 3000
  logits = jnp.tile(jnp.array([[10.0, 5.0, 0.0]]), (n, 1))
  batch = {"label": jnp.zeros(n, jnp.int32), "id": jnp.arange(n)}
  objective = losses.random_label(jax.random.key(0))
  got = np.asarray(objective(logits, batch))
  np.testing.assert_array_equal(got, objective(logits, batch))
  # Losses of class 1 and 2 are about 5 and 10, never that of the label.
  assert got.min() > 4
  assert abs((got > 7).mean() - 0.5) < 4 * 0.5 / n**0.5
  order = np.random.default_rng(0).permutation(n)
  shuffled = {key: value[order] for key, value in batch.items()}
  np.testing.assert_array_equal(objective(logits, shuffled), got[order])


def test_redrawn_labels_are_any_class_evenly_and_anew_at_each_step():
  n = 3000
  logits = jnp.tile(jnp.array([[10.0, 5.0, 0.0]]), (n, 1))
  batch = {"label": jnp.zeros(n, jnp.int32), "id": jnp.arange(n)}
  objective = losses.random_label(jax.random.key(0), redraw=True)
  drawn = []
  for step in (0, 1):
    loss = objective(logits, batch | {"step": jnp.full(n, step)})
    drawn.append(np.rint(loss / 5).astype(int))  # losses of about 0, 5 and 10
  error = (2 / 9 / n) ** 0.5
  shares = np.bincount(drawn[0]) / n
  np.testing.assert_allclose(shares, np.full(3, 1 / 3), atol=4 * error)
  assert abs((drawn[0] != drawn[1]).mean() - 2 / 3) < 4 * error


@pytest.mark.parametrize("given", [(), (4.0,)])
def test_distillation_is_scipys_divergence(given):
  (temperature,) = given or (1.0,)
  teacher = LOGITS[::-1].copy()
  batch = {"reference_logits": teacher}
  got = losses.distillation("reference_logits", *given)(LOGITS, batch)
  p, q = (special.softmax(x / temperature, axis=1) for x in (teacher, LOGITS))
  wanted = temperature**2 * special.rel_entr(p, q).sum(axis=1)
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_combined_is_the_weighted_sum():
  objective = losses.combined(
    (2.0, losses.cross_entropy), (0.5, losses.complement)
  )
  np.testing.assert_allclose(
    objective(LOGITS, BATCH), -2 * np.log(P) - np.log1p(-P) / 2, rtol=1e-5
  )
