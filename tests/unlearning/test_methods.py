"""The contract that every row of the table of methods keeps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import defaults, sharding, training
from gzjax.types import TrainState, UnlearnBatch
from gzjax.unlearning.methods import METHODS
from gzjax.unlearning.step import make_unlearn_step
from tests import networks

_DRIVER_SETTINGS = ("epochs", "max_damage")


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


class Run(NamedTuple):
  """What three steps of a method did."""

  kind_before: Any  # shapes, dtypes and shardings of the state
  kind_after: Any
  before: TrainState  # on the host
  after: TrainState
  outputs: dict[str, np.ndarray]
  compilations: int


@pytest.fixture(scope="module", params=METHODS)
def run(request, mesh):
  """Three steps of each method at its defaults."""

  def kind(state):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)

  step, state, batch, extras = _start(request.param, mesh)
  kind_before, before = kind(state), jax.device_get(state)
  for _ in range(3):
    state, outputs = step(state, (batch, extras))
  return Run(
    kind_before,
    kind(state),
    before,
    *jax.device_get((state, outputs)),
    step._cache_size(),
  )


def test_keeps_structure_dtype_and_sharding(run):
  assert run.kind_after == run.kind_before


def test_stays_finite(run):
  for value in jax.tree.leaves((run.after.params, run.outputs)):
    assert np.isfinite(value).all()
  assert run.after.step == 3


def test_compiles_once(run):
  assert run.compilations == 1


def test_changes_something(run):
  a, b = (s.params["head"]["kernel"] for s in (run.before, run.after))
  assert not np.array_equal(a, b)


def test_leaves_the_stored_statistics_alone(run):
  jax.tree.map(
    np.testing.assert_array_equal, run.before.batch_stats, run.after.batch_stats
  )


@pytest.mark.parametrize("name", METHODS)
def test_changes_nothing_at_the_neutral_setting(name, mesh):
  step, state, batch, extras = _start(name, mesh, **METHODS[name].neutral)
  before = jax.device_get(state.params)
  for _ in range(2):
    state, _ = step(state, (batch, extras))
  jax.tree.map(np.testing.assert_array_equal, state.params, before)


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
