"""Checkpoints: what is kept, and that it comes back as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax import sharding
from gzjax.checkpoint import Checkpoints


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
