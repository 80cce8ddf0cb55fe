"""The contract that every row of the table of methods keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import defaults, sharding, training
from gzjax.types import UnlearnBatch
from gzjax.unlearning.methods import METHODS
from gzjax.unlearning.step import make_unlearn_step
from tests import networks

_DRIVER_SETTINGS = ("epochs", "max_damage", "microbatch")


def _settings(name):
  settings = defaults.get_config().unlearn[name].to_dict()
  return {k: v for k, v in settings.items() if k not in _DRIVER_SETTINGS}


def _start(name, mesh, **changes):
  """(step, state, batch, extras) of a method on the mesh."""
  apply_fn, params, stats = networks.tiny()
  method = METHODS[name].build(jax.random.key(0), **(_settings(name) | changes))
  params, stats = sharding.replicate(mesh, (params, stats))
  reference = sharding.replicate(mesh, params)
  state = sharding.replicate(
    mesh, training.init_state(params, stats, method.transform)
  )
  arrays = {
    "reference_params": reference,
    "retain_fisher": jax.tree.map(lambda p: p**2, reference),
  }
  extras = {key: arrays[key] for key in method.extras}
  extras["an_extra_that_no_method_expects"] = jnp.zeros(())
  batch = UnlearnBatch(
    sharding.shard_batch(mesh, networks.batch(16)),
    sharding.shard_batch(mesh, networks.batch(16, padding=3, seed=1)),
  )
  return make_unlearn_step(apply_fn, method), state, batch, extras


@pytest.mark.parametrize("name", METHODS)
def test_keeps_structure_dtype_and_sharding_and_stays_finite(name, mesh):
  step, state, batch, extras = _start(name, mesh)
  kind = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)
  for _ in range(3):
    state, outputs = step(state, (batch, extras))
  after = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)
  assert after == kind
  for value in jax.tree.leaves((state.params, outputs)):
    assert np.isfinite(value).all()
  assert state.step == 3


@pytest.mark.parametrize("name", METHODS)
def test_compiles_once(name, mesh):
  step, state, batch, extras = _start(name, mesh)
  for _ in range(3):
    state, _ = step(state, (batch, extras))
  assert step._cache_size() == 1


@pytest.mark.parametrize("name", METHODS)
def test_changes_nothing_at_the_neutral_setting(name, mesh):
  step, state, batch, extras = _start(name, mesh, **METHODS[name].neutral)
  before = jax.device_get(state.params)
  for _ in range(2):
    state, _ = step(state, (batch, extras))
  jax.tree.map(np.testing.assert_array_equal, state.params, before)


@pytest.mark.parametrize("name", METHODS)
def test_changes_something_at_its_defaults(name, mesh):
  step, state, batch, extras = _start(name, mesh)
  before = jax.device_get(state.params["head"]["kernel"])
  state, _ = step(state, (batch, extras))
  assert not np.array_equal(state.params["head"]["kernel"], before)


@pytest.mark.parametrize("name", METHODS)
def test_leaves_the_stored_statistics_alone(name, mesh):
  step, state, batch, extras = _start(name, mesh)
  before = jax.device_get(state.batch_stats)
  state, _ = step(state, (batch, extras))
  jax.tree.map(np.testing.assert_array_equal, state.batch_stats, before)


@pytest.mark.parametrize("name", METHODS)
def test_padding_and_the_order_of_examples_do_not_matter(name, mesh):
  step, state, batch, extras = _start(name, mesh)
  _, same_state, _, _ = _start(name, mesh)
  order = np.random.default_rng(0).permutation(16)
  shuffled = jax.tree.map(lambda x: np.asarray(x)[order], batch)
  shuffled.forget["image"][shuffled.forget["valid"] == 0] = 7.0
  shuffled = sharding.shard_batch(mesh, shuffled)
  state, _ = step(state, (batch, extras))
  other, _ = step(same_state, (shuffled, extras))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
    state.params,
    other.params,
  )


@pytest.mark.parametrize("name", METHODS)
def test_devices_do_not_matter(name, mesh, one_device):
  results = []
  for devices in (mesh, one_device):
    step, state, batch, extras = _start(name, devices)
    state, _ = step(state, (batch, extras))
    results.append(jax.device_get(state.params))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *results
  )
