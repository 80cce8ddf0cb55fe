"""Where arrays lie, and that copies are copies."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import sharding
from gzjax.compilation import Compilation


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_replicated_tree_can_be_donated_and_the_original_stays(devices):
  mesh = sharding.make_mesh(jax.devices()[:devices])
  consume = jax.jit(lambda x: x + 1, donate_argnums=0)
  for original in (jnp.ones(3), sharding.replicate(mesh, jnp.ones(3))):
    copy = sharding.replicate(mesh, original)
    again = sharding.replicate(mesh, copy)
    consume(copy)
    np.testing.assert_array_equal(original, 1)
    np.testing.assert_array_equal(again, 1)
    assert again.sharding.is_fully_replicated


@pytest.mark.parametrize("devices", [1, 8])
def test_a_spread_tree_is_whole_on_each_device(devices):
  mesh = sharding.make_mesh(jax.devices()[:devices])
  with Compilation() as compilation:
    spread = sharding.spread(mesh, {"x": np.arange(5.0, dtype=np.float32)})
  assert spread["x"].sharding == sharding.replicated(mesh)
  np.testing.assert_array_equal(spread["x"], np.arange(5.0))
  assert not compilation.programs  # for a copy


def test_a_batch_is_split_over_the_devices(mesh):
  batch = sharding.shard_batch(mesh, {"x": np.arange(16.0)})
  shapes = {s.data.shape for s in batch["x"].addressable_shards}
  assert shapes == {(2,)}


def test_a_prng_key_can_be_replicated(mesh):
  key = sharding.replicate(mesh, jax.random.key(3))
  assert jax.random.key_data(key)[1] == 3


def test_a_chunk_is_split_along_the_axis_of_examples(mesh):
  tree = {"x": np.ones((3, 16)), "position": np.arange(3)}
  chunk = sharding.shard_batch(mesh, tree, axis=1)
  assert chunk["x"].addressable_shards[0].data.shape == (3, 2)
  assert chunk["position"].sharding.is_fully_replicated


@pytest.mark.parametrize(
  ("platform", "stats", "spare"),
  [
    ("gpu", {"bytes_limit": 1000}, 500),
    ("tpu", None, 0),  # it does not say
    ("cpu", {"bytes_limit": 1000}, 0),
  ],
)
def test_half_of_an_accelerator_is_for_pixels(platform, stats, spare):
  device = mock.Mock(platform=platform)
  device.memory_stats.return_value = stats
  some = mock.Mock(devices=np.array([device], object), local_devices=[device])
  assert sharding.spare_bytes(some) == spare
