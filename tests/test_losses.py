"""Objectives against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gzjax import losses

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]], "f")
BATCH = {"label": np.array([0, 2, 2])}
P = special.softmax(LOGITS, axis=1)[np.arange(3), BATCH["label"]]


def test_cross_entropy():
  got = losses.cross_entropy(LOGITS, BATCH)
  np.testing.assert_allclose(got, -np.log(P), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal(gamma):
  got = losses.focal(gamma)(LOGITS, BATCH)
  np.testing.assert_allclose(got, -((1 - P) ** gamma) * np.log(P), rtol=1e-5)


def test_focal_gradient_is_finite_where_the_label_is_certain():
  logits = jnp.array([[200.0, 0.0, 0.0]])

  def loss(logits):
    return jnp.sum(losses.focal(0.5)(logits, {"label": jnp.array([0])}))

  assert np.isfinite(jax.grad(loss)(logits)).all()


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


@pytest.mark.oracle
def test_balanced_weights_equal_scikit_learn():
  utils = pytest.importorskip("sklearn.utils")
  label = np.repeat([0, 1, 2], [7, 2, 5])
  wanted = utils.compute_class_weight("balanced", classes=np.arange(3), y=label)
  got = losses.balanced_weights(np.bincount(label))
  np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize(
  ("valid", "wanted"), [([1, 1, 1], 2.0), ([1, 0, 1], 2.5), ([0, 0, 0], 0.0)]
)
def test_masked_mean(valid, wanted):
  got = losses.masked_mean(jnp.array([1.0, 1.0, 4.0]), jnp.array(valid, "f"))
  np.testing.assert_allclose(got, wanted)
