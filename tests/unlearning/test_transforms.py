"""Transforms on small problems with a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax.unlearning import transforms

PARAMS = {"w": jnp.array([[3.0, 4.0]]), "b": jnp.array([1.0])}


def test_contrast_descends_retain_and_ascends_forget():
  tx = transforms.contrast_gradients(0.75)
  retain = {"w": jnp.array([[1.0, 0.0]]), "b": jnp.array([2.0])}
  forget = {"w": jnp.array([[0.0, 4.0]]), "b": jnp.array([4.0])}
  updates, _ = tx.update(
    retain, tx.init(PARAMS), PARAMS, forget_grads=forget, unknown=1
  )
  np.testing.assert_allclose(updates["w"], [[0.75, -1.0]])
  np.testing.assert_allclose(updates["b"], [0.5])


def test_gradient_ascent_raises_a_quadratic_loss():
  tx = optax.chain(transforms.contrast_gradients(0.0), optax.sgd(0.1))

  def loss(p):
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(p))

  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  updates, _ = tx.update(
    zeros, tx.init(PARAMS), PARAMS, forget_grads=jax.grad(loss)(PARAMS)
  )
  # p + 0.1 * 2 p = 1.2 p
  moved = optax.apply_updates(PARAMS, updates)
  np.testing.assert_allclose(loss(moved), 1.44 * loss(PARAMS), rtol=1e-6)


def test_a_missing_extra_is_named():
  tx = transforms.contrast_gradients(0.0)
  with pytest.raises(TypeError, match="forget_grads"):
    tx.update(PARAMS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize(
  ("radius", "step", "moved"),
  [(0.5, 1.0, 1.0), (0.5, 100.0, 0.5 * 26**0.5), (0.0, 1.0, 0.0)],
)
def test_projection_keeps_to_the_ball(radius, step, moved):
  tx = transforms.project_to_ball(radius)
  updates = {"w": jnp.array([[0.0, step]]), "b": jnp.array([0.0])}
  updates, _ = tx.update(
    updates, tx.init(PARAMS), PARAMS, reference_params=PARAMS
  )
  np.testing.assert_allclose(optax.tree.norm(updates), moved, rtol=1e-6)


def test_projection_passes_inner_steps_bit_for_bit():
  tx = transforms.project_to_ball(1.0)
  updates = jax.tree.map(lambda p: p * np.float32(0.1234567), PARAMS)
  got, _ = tx.update(updates, tx.init(PARAMS), PARAMS, reference_params=PARAMS)
  jax.tree.map(np.testing.assert_array_equal, got, updates)


def _fisher():
  rng = np.random.default_rng(0)
  return {
    "w": jnp.asarray(rng.exponential(size=(40, 50)), jnp.float32),
    "b": jnp.ones(3),
  }


WIDE = {"w": jnp.full((40, 50), 10.0), "b": jnp.ones(3)}


def test_noise_spends_the_loss_budget():
  scale = transforms.fisher_noise_scale(
    _fisher(), WIDE, budget=0.05, stabiliser=0.1, cap=1e9
  )
  np.testing.assert_allclose(scale.predicted_loss, 0.05, rtol=1e-4)
  f = np.asarray(_fisher()["w"], np.float64)
  delta = 0.1 * f.mean()
  effective = np.sum(f / (f + delta))
  np.testing.assert_allclose(scale.effective_parameters, effective, rtol=1e-4)
  np.testing.assert_allclose(
    scale.sigma["w"], np.sqrt(2 * 0.05 / effective / (f + delta)), rtol=1e-4
  )
  np.testing.assert_array_equal(scale.sigma["b"], 0)


def test_noise_raises_a_quadratic_loss_by_the_budget():
  """Monte Carlo: E[sum F w^2 / 2] over the noise is the prediction."""
  f = _fisher()
  scale = transforms.fisher_noise_scale(
    f, WIDE, budget=0.05, stabiliser=0.1, cap=1e9
  )
  draws = scale.sigma["w"][None] * jax.random.normal(
    jax.random.key(0), (500, 40, 50)
  )
  losses = jnp.sum(f["w"][None] * draws**2 / 2, axis=(1, 2))
  error = 4 * float(losses.std()) / 500**0.5
  assert abs(float(losses.mean()) - 0.05) < error


def test_cap_holds_where_the_fisher_vanishes():
  f = {"w": jnp.zeros((40, 50)), "b": jnp.ones(3)}
  scale = transforms.fisher_noise_scale(
    f, WIDE, budget=0.05, stabiliser=0.1, cap=0.2
  )
  np.testing.assert_allclose(scale.sigma["w"], 2.0, rtol=1e-6)
  np.testing.assert_allclose(scale.capped["w"], 1.0)


def test_injected_noise_has_the_scale_and_new_draws_each_time():
  tx = transforms.inject_fisher_noise(
    jax.random.key(0), budget=0.05, stabiliser=0.1, cap=1e9
  )
  zeros = jax.tree.map(jnp.zeros_like, WIDE)
  first, state = tx.update(zeros, tx.init(WIDE), WIDE, retain_fisher=_fisher())
  second, _ = tx.update(zeros, state, WIDE, retain_fisher=_fisher())
  sigma = transforms.fisher_noise_scale(
    _fisher(), WIDE, budget=0.05, stabiliser=0.1, cap=1e9
  ).sigma["w"]
  ratio = np.std(first["w"] / sigma)
  assert abs(ratio - 1) < 4 / (2 * 2000) ** 0.5
  assert not np.array_equal(first["w"], second["w"])
  np.testing.assert_array_equal(first["b"], 0)
