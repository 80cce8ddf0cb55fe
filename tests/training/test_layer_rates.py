"""Finetuning against updates computed by hand."""

import jax
import numpy as np
import optax
import pytest

from gzjax import models
from gzjax.errors import UserError
from gzjax.training import optim

LAYERS = ("stem_conv", "stage1_block1", "head")
RATE, DECAY = 0.1, 0.5


def _params(value=2.0):
  return {
    layer: {
      "kernel": np.full((2, 3), value, np.float32),
      "bias": np.full(3, value, np.float32),
    }
    for layer in LAYERS
  }


def _matrices(params):
  return jax.tree.map(lambda p: p.ndim > 1, params)


def _sgd(first_step=0):
  """Torch's SGD with a rate that grows from step to step."""
  return optax.chain(
    optax.add_decayed_weights(DECAY, _matrices),
    optax.sgd(lambda count: RATE * (count + first_step + 1), momentum=0.9),
  )


def _adamw(first_step=0):
  return optax.adamw(
    lambda count: RATE * (count + first_step + 1),
    weight_decay=DECAY,
    mask=_matrices,
  )


def _run(tx, steps):
  """Updates of each step with gradients of 1, 2, ...; and the last state."""
  params = _params()
  state, updates = tx.init(params), []
  update = jax.jit(tx.update)
  for step in range(steps):
    grads = jax.tree.map(lambda p, g=step + 1.0: np.full_like(p, g), params)
    update_now, state = update(grads, state, params)
    updates.append(update_now)
  assert update._cache_size() == 1
  return updates, state


def _moments(state, layer):
  """The first moments of a layer, in all states that have some."""
  return [
    leaf
    for path, leaf in jax.tree.leaves_with_path(state)
    if layer in jax.tree_util.keystr(path)
  ]


@pytest.mark.parametrize("make, moments", [(_sgd, 2), (_adamw, 4)])
def test_a_frozen_backbone_neither_moves_nor_remembers(make, moments):
  tx = optim.freeze_backbone(make, 2)
  updates, state = _run(tx, 2)
  alone, _ = _run(make(), 2)
  for update, wanted in zip(updates, alone, strict=True):
    for layer in LAYERS[:-1]:
      for leaf in jax.tree.leaves(update[layer]):
        np.testing.assert_array_equal(leaf, 0)
    for got, want in zip(
      jax.tree.leaves(update["head"]),
      jax.tree.leaves(wanted["head"]),
      strict=True,
    ):
      np.testing.assert_array_equal(got, want)
  for layer in LAYERS[:-1]:
    found = _moments(state, layer)
    assert len(found) == moments
    for leaf in found:
      np.testing.assert_array_equal(leaf, 0)
  assert all(np.all(leaf != 0) for leaf in _moments(state, "head"))


def test_the_first_step_of_a_backbone_with_sgd():
  """Momentum begins with this gradient; the rate is that of step 2."""
  updates, _ = _run(optim.freeze_backbone(_sgd, 2), 4)
  stem = updates[2]["stem_conv"]
  np.testing.assert_allclose(stem["kernel"], -0.3 * (3 + DECAY * 2), rtol=1e-6)
  np.testing.assert_allclose(stem["bias"], -0.3 * 3, rtol=1e-6)
  np.testing.assert_allclose(
    updates[3]["stem_conv"]["bias"], -0.4 * (4 + 0.9 * 3), rtol=1e-6
  )
  # The head's momentum remembers all steps.
  np.testing.assert_allclose(
    updates[2]["head"]["bias"], -0.3 * (3 + 0.9 * (2 + 0.9 * 1)), rtol=1e-6
  )


def test_the_first_step_of_a_backbone_with_adamw():
  """m/sqrt(v) is 1 at the first step, as for any Adam that begins."""
  updates, _ = _run(optim.freeze_backbone(_adamw, 2), 3)
  stem = updates[2]["stem_conv"]
  np.testing.assert_allclose(stem["kernel"], -0.3 * (1 + DECAY * 2), rtol=1e-5)
  np.testing.assert_allclose(stem["bias"], -0.3, rtol=1e-5)


@pytest.mark.parametrize("make", [_sgd, _adamw])
def test_rates_scale_steps_and_weight_decay(make):
  factors = {"stem_conv": 0.0, "stage1_block1": 0.25, "head": 1.0}
  updates, _ = _run(optim.scale_rates(make(), factors), 3)
  plain, _ = _run(make(), 3)
  for update, whole in zip(updates, plain, strict=True):
    for layer, factor in factors.items():
      for leaf in ("kernel", "bias"):
        assert np.all(whole[layer][leaf] != 0)
        np.testing.assert_array_equal(
          update[layer][leaf], factor * whole[layer][leaf]
        )


def test_a_scaled_rate_by_hand():
  factors = {"stem_conv": 0.5, "stage1_block1": 1.0, "head": 1.0}
  (update,), _ = _run(optim.scale_rates(_sgd(), factors), 1)
  np.testing.assert_allclose(
    update["stem_conv"]["kernel"], -0.5 * RATE * (1 + DECAY * 2), rtol=1e-6
  )
  np.testing.assert_allclose(update["stem_conv"]["bias"], -0.05, rtol=1e-6)


def test_with_nothing_to_do_the_optimizer_is_itself():
  inner = _sgd()
  assert optim.freeze_backbone(lambda first: inner, 0) is inner
  rates = optim.decay_by_depth(LAYERS, 1.0)
  assert optim.scale_rates(inner, rates) is inner
  rates = optim.match_prefixes(LAYERS, {})
  assert optim.scale_rates(inner, rates) is inner


def test_pieces_compose():
  def make(first_step):
    factors = optim.decay_by_depth(LAYERS, 0.5)
    return optim.scale_rates(_sgd(first_step), factors)

  updates, _ = _run(optim.freeze_backbone(make, 1), 2)
  np.testing.assert_array_equal(updates[0]["stem_conv"]["bias"], 0)
  np.testing.assert_allclose(
    updates[1]["stem_conv"]["bias"], -0.25 * 0.2 * 2, rtol=1e-6
  )
  np.testing.assert_allclose(
    updates[1]["stage1_block1"]["bias"], -0.5 * 0.2 * 2, rtol=1e-6
  )


def test_rates_fall_with_the_depth_below_the_head():
  model = models.MODELS["resnet_tiny"](num_classes=3, width=4)
  params, _ = jax.eval_shape(
    lambda key: models.init_variables(model, key, 16), jax.random.key(0)
  )
  assert optim.decay_by_depth(models.depth_order(params), 0.5) == {
    "head": 1.0,
    "stage2_block1": 0.5,
    "stage1_block1": 0.25,
    "stem_norm": 0.125,
    "stem_conv": 0.0625,
  }


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.1, float("nan")])
def test_another_decay_is_refused(decay):
  with pytest.raises(UserError, match="above 0 and at most 1"):
    optim.decay_by_depth(LAYERS, decay)


def test_the_longest_prefix_counts():
  rates = {"st": 0.5, "stage1": 0.1}
  assert optim.match_prefixes(LAYERS, rates) == {
    "stem_conv": 0.5,
    "stage1_block1": 0.1,
    "head": 1.0,
  }


def test_a_prefix_of_no_layer_is_named():
  with pytest.raises(UserError, match=r"'layer1': the layers are stem_conv"):
    optim.match_prefixes(LAYERS, {"layer1": 0.1})
