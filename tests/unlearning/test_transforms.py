"""Transforms on small problems with a closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax.unlearning import edits, transforms

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


def _update(tx, updates, params=PARAMS, state=None, **extras):
  """(new updates, new state) of one step, an unknown extra among others."""
  state = tx.init(params) if state is None else state
  return tx.update(updates, state, params, unknown=1, **extras)


def _tree(w, b):
  return {"w": jnp.array([w], jnp.float32), "b": jnp.array([b], jnp.float32)}


def _check(got, w, b):
  np.testing.assert_allclose(got["w"], [w], rtol=1e-6)
  np.testing.assert_allclose(got["b"], [b], rtol=1e-6)


def test_forget_gradients_are_added_with_their_weight():
  tx = transforms.add_forget_gradients(0.5)
  got, _ = _update(tx, _tree([1, 2], 3), forget_grads=_tree([4, 0], -2))
  _check(got, [3, 2], 2)


@pytest.mark.parametrize(
  ("ascent_steps", "wanted"),
  [(4, [1, -3, 1, -3, 1, 1]), (3, [1, -3, 1, 1, 1, 1]), (0, [1] * 6)],
)
def test_gradients_alternate_and_then_only_the_retain_gradient_is_left(
  ascent_steps, wanted
):
  tx = transforms.alternate_gradients(ascent_steps)
  retain, forget = _tree([1, 0], 1), _tree([0, 2], 3)
  state, signs = None, []
  for _ in range(6):
    got, state = _update(tx, retain, state=state, forget_grads=forget)
    signs.append(float(got["b"][0]))
  assert signs == wanted


def test_surgery_takes_out_what_would_undo_the_retain_gradient():
  retain = _tree([2, 0], 0)
  ascent = transforms.contrast_gradients(0.0)
  # Ascent along (1, 1) undoes descent along (2, 0): (0, 1) is left.
  tx = transforms.project_conflicts(ascent, ascends=True)
  got, _ = _update(tx, retain, forget_grads=_tree([1, 1], 0))
  _check(got, [0, -1], 0)
  # Along (-1, 1) it does not.
  got, _ = _update(tx, retain, forget_grads=_tree([-1, 1], 0))
  _check(got, [1, -1], 0)
  descent = transforms.add_forget_gradients(1.0)
  tx = transforms.project_conflicts(descent, ascends=False)
  got, _ = _update(tx, retain, forget_grads=_tree([-1, 1], 0))
  _check(got, [2, 1], 0)


def test_surgery_never_raises_the_retain_loss_to_first_order():
  rng = np.random.default_rng(0)
  for ascends, inner in (
    (True, transforms.contrast_gradients(0.0)),
    (False, transforms.add_forget_gradients(3.0)),
  ):
    tx = transforms.project_conflicts(inner, ascends=ascends)
    for _ in range(20):
      retain, forget = (
        _tree(*rng.normal(size=(2, 2))[0:1], x) for x in rng.normal(size=2)
      )
      got, _ = _update(tx, retain, forget_grads=forget)
      # The step is -got: it must not go up the retain gradient.
      assert float(optax.tree.vdot(got, retain)) > -1e-5


def test_surgery_without_a_retain_gradient_changes_nothing():
  tx = transforms.project_conflicts(
    transforms.contrast_gradients(0.0), ascends=True
  )
  got, _ = _update(tx, _tree([0, 0], 0), forget_grads=_tree([1, 2], 3))
  _check(got, [-1, -2], -3)


def test_surgery_hands_on_what_its_chain_needs():
  chain = optax.chain(
    transforms.add_forget_gradients(1.0), transforms.project_to_ball(0.0)
  )
  tx = transforms.project_conflicts(chain, ascends=False)
  got, _ = _update(
    tx, _tree([1, 0], 0), forget_grads=_tree([0, 1], 0), reference_params=PARAMS
  )
  _check(got, [0, 0], 0)


def test_l1_decay_is_the_gradient_of_the_norm_of_the_matrices():
  schedule = optax.linear_schedule(0.4, 0.0, 2)
  tx = transforms.add_l1_decay(schedule)
  params = {"w": jnp.array([[3.0, -4.0, 0.0]]), "b": jnp.array([1.0])}
  zeros = jax.tree.map(jnp.zeros_like, params)
  state, found = None, []
  for _ in range(3):
    got, state = _update(tx, zeros, params, state)
    found.append(np.asarray(got["w"][0]))
    np.testing.assert_array_equal(got["b"], 0)
  wanted = [[0.4, -0.4, 0], [0.2, -0.2, 0], [0, 0, 0]]
  np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize(
  ("share", "kept"), [(0.0, 0), (0.25, 25), (0.5, 50), (1.0, 100)]
)
def test_saliency_keeps_the_largest_share_from_the_first_step_on(share, kept):
  rng = np.random.default_rng(1)
  saliency = {"a": rng.normal(size=(6, 10)), "b": rng.normal(size=(40,))}
  saliency = jax.tree.map(jnp.float32, saliency)
  ones = jax.tree.map(jnp.ones_like, saliency)
  tx = transforms.mask_by_saliency(share)
  first, state = _update(tx, ones, ones, saliency=saliency)
  again, _ = _update(tx, ones, ones, state, saliency=saliency)
  flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(first)])
  size = np.concatenate([np.ravel(x) for x in jax.tree.leaves(saliency)])
  assert flat.sum() == kept
  if 0 < kept < 100:
    assert np.abs(size[flat > 0]).min() > np.abs(size[flat == 0]).max()
  jax.tree.map(np.testing.assert_array_equal, first, again)


def test_all_entries_but_those_of_the_first_step_are_slowed():
  pulls = {"w": jnp.array([[1.0, 2.0]]), "b": jnp.array([3.0])}

  def entries(retain, forget):
    return jax.tree.map(jnp.greater, retain, forget)

  tx = transforms.slow_but_for(entries, 0.5)
  twos = jax.tree.map(lambda p: jnp.full(p.shape, 1.5), PARAMS)
  extras = {"retain_saliency": pulls, "saliency": twos}
  ones = jax.tree.map(jnp.ones_like, PARAMS)
  got, state = _update(tx, ones, PARAMS, **extras)
  np.testing.assert_array_equal(got["w"], [[0.5, 1]])
  np.testing.assert_array_equal(got["b"], [1])
  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  again, _ = _update(tx, ones, PARAMS, state, **extras | {"saliency": zeros})
  jax.tree.map(np.testing.assert_array_equal, got, again)


def test_preconditioning_is_a_newton_step_on_a_quadratic():
  fisher = _tree([4, 1], 2)
  # Gradient of sum f p^2 / 2: the whole way to the minimum in one step.
  gradient = jax.tree.map(lambda f, p: f * p, fisher, PARAMS)
  tx = transforms.precondition_by_fisher(0.0)
  got, _ = _update(tx, gradient, retain_fisher=fisher)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, PARAMS
  )
  # delta = 3 * mean F = 7.
  got, _ = _update(
    transforms.precondition_by_fisher(3.0),
    _tree([1, 1], 1),
    retain_fisher=fisher,
  )
  _check(got, [1 / 11, 1 / 8], 1 / 9)


def test_trust_region_shortens_only_long_updates():
  tx = transforms.clip_to_trust_region(0.1)
  norm = 26**0.5
  got, _ = _update(tx, _tree([30, 40], 0))
  np.testing.assert_allclose(optax.tree.norm(got), 0.1 * norm, rtol=1e-6)
  _check(_update(tx, _tree([0.1, 0], 0.1))[0], [0.1, 0], 0.1)


def test_freeze_pins_by_path():
  tx = transforms.freeze(lambda path: path == "a/w")
  params = {"a": {"w": jnp.ones(2)}, "b": {"w": jnp.ones(2)}}
  got, _ = tx.update(params, tx.init(params), params)
  np.testing.assert_array_equal(got["a"]["w"], 0)
  np.testing.assert_array_equal(got["b"]["w"], 1)


def test_dampening_by_hand():
  # Ratios 3, 0.5 and 2; params 3, 4 and 1.
  forget, train = _tree([3, 1], 4), _tree([1, 2], 2)
  got, _ = _update(
    edits.dampen_by_fisher(1.5, 1.0),
    _tree([0, 0], 0),
    forget_fisher=forget,
    train_fisher=train,
  )
  _check(got, [3 / 3 - 3, 0], 1 / 2 - 1)
  # strength 3 dampens nothing by 3/2 > 1, and a ratio of 3 not at all.
  got, _ = _update(
    edits.dampen_by_fisher(1.5, 3.0),
    _tree([0, 0], 0),
    forget_fisher=forget,
    train_fisher=train,
  )
  _check(got, [0, 0], 0)


def test_dampening_leaves_a_zero_fisher_and_an_infinite_threshold_alone():
  zeros = _tree([0, 0], 0)
  got, _ = _update(
    edits.dampen_by_fisher(1.0, 1.0),
    zeros,
    forget_fisher=zeros,
    train_fisher=zeros,
  )
  _check(got, [0, 0], 0)
  for tx, forget in (
    (edits.dampen_by_fisher(1.0, 1.0), zeros),
    (edits.dampen_by_fisher(np.inf, 1.0), _tree([5, 5], 5)),
    (edits.dampen_by_percentile(0.1, scale=0.0), _tree([5, 1], 2)),
  ):
    got, _ = _update(
      tx, zeros, forget_fisher=forget, train_fisher=_tree([1, 1], 1)
    )
    _check(got, [0, 0], 0)


def test_percentile_dampens_the_share_that_its_formula_says():
  rng = np.random.default_rng(2)
  train = {"w": jnp.ones((100, 100))}
  forget = {"w": jnp.asarray(rng.exponential(size=(100, 100)), jnp.float32)}
  got, _ = _update(
    edits.dampen_by_percentile(0.1),
    jax.tree.map(jnp.zeros_like, train),
    train,
    forget_fisher=forget,
    train_fisher=train,
  )
  # ln(1 + 10) = 2.4 percent, all of them with a ratio above 1.
  assert np.sum(np.asarray(got["w"]) < 0) == round(1e4 * np.log(11) / 100)


def test_a_parameter_that_no_example_depends_on_has_no_ratio():
  """The percentile is that of the others: with zeros it were 2.75."""
  train, forget = _tree([0, 0, 0, 1, 1], 1), _tree([0, 0, 0, 3, 2], 4)
  got, _ = _update(
    # The third quartile of 3, 2 and 4.
    edits.dampen_by_percentile(1.0, scale=25 / np.log(101)),
    jax.tree.map(jnp.zeros_like, train),
    jax.tree.map(jnp.ones_like, train),
    forget_fisher=forget,
    train_fisher=train,
  )
  np.testing.assert_array_equal(got["w"], 0)
  np.testing.assert_allclose(got["b"], [1 / 4 - 1])


def test_published_noise_is_that_of_the_publication():
  fisher = {"w": jnp.array([[0.0, 1e-8, 1.0]]), "b": jnp.array([0.0])}
  params = jax.tree.map(jnp.ones_like, fisher)
  scale = edits.published_noise_scale(
    fisher, params, noise_scale=0.01, stabiliser=1e-8
  )
  np.testing.assert_allclose(
    scale.sigma["w"], [[100, 100 / 2**0.5, 0.01]], rtol=1e-5
  )
  np.testing.assert_allclose(scale.sigma["b"], [100], rtol=1e-5)
  np.testing.assert_allclose(scale.effective_parameters, 1.5, rtol=1e-5)
  # sigma^2 = alpha / (F + delta); sum F sigma^2 / 2 = alpha P_eff / 2.
  np.testing.assert_allclose(scale.alpha, 1e-4, rtol=1e-5)
  np.testing.assert_allclose(scale.predicted_loss, 1e-4 * 1.5 / 2, rtol=1e-5)
  assert scale.capped == {"w": 0, "b": 0}


def _fisher():
  rng = np.random.default_rng(0)
  return {
    "w": jnp.asarray(rng.exponential(size=(40, 50)), jnp.float32),
    "b": jnp.ones(3),
  }


WIDE = {"w": jnp.full((40, 50), 10.0), "b": jnp.ones(3)}


def test_noise_spends_the_loss_budget():
  scale = edits.fisher_noise_scale(
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
  scale = edits.fisher_noise_scale(
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
  scale = edits.fisher_noise_scale(
    f, WIDE, budget=0.05, stabiliser=0.1, cap=0.2
  )
  np.testing.assert_allclose(scale.sigma["w"], 2.0, rtol=1e-6)
  np.testing.assert_allclose(scale.capped["w"], 1.0)
  # As if one parameter counted: what none feels has no budget to divide.
  np.testing.assert_allclose(scale.alpha, 2 * 0.05, rtol=1e-6)


def test_injected_noise_has_the_scale_and_new_draws_each_time():
  scale = functools.partial(
    edits.fisher_noise_scale, budget=0.05, stabiliser=0.1, cap=1e9
  )
  tx = edits.inject_noise(jax.random.key(0), scale)
  zeros = jax.tree.map(jnp.zeros_like, WIDE)
  first, state = tx.update(zeros, tx.init(WIDE), WIDE, retain_fisher=_fisher())
  second, _ = tx.update(zeros, state, WIDE, retain_fisher=_fisher())
  sigma = scale(_fisher(), WIDE).sigma["w"]
  ratio = np.std(first["w"] / sigma)
  assert abs(ratio - 1) < 4 / (2 * 2000) ** 0.5
  assert not np.array_equal(first["w"], second["w"])
  np.testing.assert_array_equal(first["b"], 0)
