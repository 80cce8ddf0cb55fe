"""Checkpoints: what is kept, and that it comes back as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax import sharding
from gzjax.pipeline.checkpoint import (
  Checkpoints,
  read_fisher_info,
  restore_fisher,
  save_fisher,
)
from gzjax.types import Fisher


def _parts(mesh, number):
  params = {"w": jnp.full((4, 3), number, jnp.float32)}
  training = {
    "opt_state": optax.adam(1e-3).init(params),
    "step": jnp.int32(number),
  }
  return sharding.replicate(mesh, (params, training))


def test_keeps_the_last_and_the_best(tmp_path, mesh):
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest() is None
    for number, score in enumerate([0.1, 0.9, 0.3, 0.4], 1):
      model, training = _parts(mesh, number)
      checkpoints.save(number, model, training, {"epoch": number}, score)
  with Checkpoints(tmp_path) as checkpoints:
    assert (checkpoints.latest(), checkpoints.best()) == (4, 2)
    model, training = _parts(mesh, 0)
    for number in (2, 4):
      found = checkpoints.restore(number, model, training)
      np.testing.assert_array_equal(found.model["w"], number)
      assert found.info == {"epoch": number}
      assert jax.tree.structure(found.training) == jax.tree.structure(training)
      assert found.model["w"].sharding == model["w"].sharding
  assert len([p for p in tmp_path.iterdir() if p.name.isdigit()]) == 2


def test_the_model_can_be_read_without_the_optimizer(tmp_path, one_device):
  model, training = _parts(one_device, 7)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, model, training, {}, 0.0)
  with Checkpoints(tmp_path) as checkpoints:
    found = checkpoints.restore(1, model)
  assert found.training is None
  np.testing.assert_array_equal(found.model["w"], 7)


def test_an_unfinished_checkpoint_does_not_count(tmp_path, one_device):
  model, training = _parts(one_device, 1)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, model, training, {}, 0.0)
  killed = tmp_path / "2.orbax-checkpoint-tmp"
  (killed / "model").mkdir(parents=True)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest() == 1


def test_a_fisher_comes_back_with_what_is_known_of_it(tmp_path, mesh):
  folder = tmp_path / "fisher" / "retain"
  assert read_fisher_info(folder) is None
  for count in (3.0, 5.0):  # the second takes the place of the first
    found = sharding.replicate(
      mesh, Fisher(jnp.float32(count), {"w": jnp.full((2, 3), count)})
    )
    save_fisher(folder, found, {"kind": "true", "count": count})
  assert read_fisher_info(folder) == {"kind": "true", "count": 5.0}
  like = sharding.replicate(
    mesh, Fisher(jnp.zeros(()), {"w": jnp.zeros((2, 3))})
  )
  got = restore_fisher(folder, like)
  assert got.count == 5
  np.testing.assert_array_equal(got.sum_sq["w"], 5)
  assert got.sum_sq["w"].sharding == like.sum_sq["w"].sharding
