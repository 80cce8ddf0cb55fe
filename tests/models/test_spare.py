"""Spare channels: beside the network, each example's own, and then gone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import models
from gzjax.models import spare
from gzjax.training import train
from gzjax.unlearning import METHODS, plan, run
from tests import networks, problems


class Net(nn.Module):
  @nn.compact
  def __call__(self, image):
    x = nn.Conv(8, (3, 3), (2, 2), padding="VALID", name="stem")(image)
    x = nn.Conv(8, (3, 3), feature_group_count=8, name="depthwise")(x)
    return nn.Dense(3, name="head")(nn.relu(x).mean((1, 2)))


def _network():
  model = Net()
  params, _ = models.init_variables(model, jax.random.key(0), 7)
  return models.make_apply_fn(model), params


def test_each_convolution_but_depthwise_ones_has_some():
  _, params = _network()
  found = spare.init(params, jax.random.key(0), 0.25)
  shapes = jax.tree.map(jnp.shape, found)
  assert shapes == {"stem": {"down": (3, 3, 3, 2), "up": (2, 8)}}
  again = spare.init(params, jax.random.key(0), 0.01)
  assert again["stem"]["up"].shape == (1, 8)
  tiny = networks.tiny()[1]
  convolutions = [x for x in jax.tree.leaves(tiny) if x.ndim == 4]
  assert len(spare.init(tiny, jax.random.key(0), 0.25)) == len(convolutions)


def _said(on, example, up):
  """Of two images: with spare channels, without, and as loops have it."""
  apply_fn, params = _network()
  rng = np.random.default_rng(0)
  image = rng.normal(size=(2, 7, 7, 3)).astype(np.float32)
  found = spare.init(params, jax.random.key(0), 0.5)
  own = {"stem": found["stem"] | {"up": jnp.full((4, 8), up)}}
  beside = spare.beside(apply_fn, on)
  example = jnp.asarray(example, jnp.int32)
  both, _ = beside((params, own), {}, image, train=True, example=example)
  alone, _ = apply_fn(params, {}, image, train=True)
  down = np.asarray(own["stem"]["down"])
  hidden = np.zeros((2, 3, 3, 4))
  for b, i, j, k in np.ndindex(hidden.shape):
    seen = image[b, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
    hidden[b, i, j, k] = max((seen * down[..., k]).sum(), 0)
  return both, alone, hidden


def test_at_first_they_add_nothing():
  both, alone, _ = _said(1.0, [0, 1], 0.0)
  np.testing.assert_array_equal(both, alone)


def test_all_of_them_add_what_a_loop_finds():
  both, alone, hidden = _said(1.0, [0, 1], 0.1)
  _, params = _network()
  rng = np.random.default_rng(0)
  image = rng.normal(size=(2, 7, 7, 3)).astype(np.float32)
  stem = nn.Conv(8, (3, 3), (2, 2), padding="VALID")
  x = stem.apply({"params": params["stem"]}, image)
  x = x + 0.1 * hidden.sum(axis=-1, keepdims=True)
  depthwise = nn.Conv(8, (3, 3), feature_group_count=8)
  x = depthwise.apply({"params": params["depthwise"]}, x)
  x = np.maximum(x, 0).mean(axis=(1, 2))
  wanted = x @ params["head"]["kernel"] + params["head"]["bias"][None]
  np.testing.assert_allclose(both, wanted, rtol=1e-5, atol=1e-6)
  assert not np.allclose(both, alone)


@pytest.mark.parametrize("example", [0, 7])
def test_examples_of_one_number_have_the_same_ones(example):
  first, *_ = _said(0.5, [example, 1], 0.1)
  second, *_ = _said(0.5, [example, 2], 0.1)
  np.testing.assert_array_equal(first[0], second[0])


def test_a_share_of_the_examples_has_each_of_them():
  numbers = jnp.arange(2000)
  found = models.layers.own_channels(numbers, 3, 0.2, 4)
  np.testing.assert_allclose(found.mean(axis=0), 0.2, atol=0.03)
  other = models.layers.own_channels(numbers, 4, 0.2, 4)
  assert not np.array_equal(found, other)


class Convolutional(nn.Module):
  @nn.compact
  def __call__(self, image):
    x = nn.relu(nn.Conv(16, (3, 3), name="stem")(image)).reshape(len(image), -1)
    return nn.Dense(3, name="head")(x)


def test_rem_keeps_the_network_and_leaves_the_spare_channels():
  """It forgets, and what it is measured by is the network without them."""
  problem = problems.make(Convolutional())
  recipe = problems.RECIPE._replace(learning_rate=1e-3)
  original = train(problem, recipe=recipe)
  how = {"learning_rate": 1e-3, "epochs": 4, "max_damage": 1.0}
  found = run(problem, METHODS["rem"], original, **how)
  before, after = (jax.tree.map(jnp.shape, x.params) for x in (original, found))
  assert before == after
  report = found.report
  assert report["original"]["forget_accuracy"] > 0.3
  assert report["forget_accuracy"] < 0.1
  losses = report["forget_loss"]
  assert losses["after"] > losses["before"]


def test_rem_keeps_all_labels_and_the_wrong_ones_share_channels():
  problem = problems.make()
  found = plan.make_plan(problem, METHODS["rem"], {})
  assert found.steps == len(problem.sets.train) // problem.batch_size
  batches = plan.batches(problem, found, {}, {}, 0)
  retain = [batch.retain for batch, _ in batches]
  id_, example = (
    np.concatenate([batch[name] for batch in retain])
    for name in ("id", "example")
  )
  forget = np.isin(id_, problem.sets.forget)
  assert forget.any()
  assert set(example[forget]) == {problem.sets.forget[0]}
  np.testing.assert_array_equal(example[~forget], id_[~forget])
