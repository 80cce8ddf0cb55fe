"""Checkpoints: what is kept, and that it comes back as it was."""

import gc
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from gzjax import sharding
from gzjax.errors import DamagedError
from gzjax.pipeline.checkpoint import (
  Checkpoints,
  FolderStore,
  read_fisher_info,
  restore_fisher,
  save_fisher,
)
from gzjax.types import Cost, Fisher, TrainState


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


def _saved(folder, mesh, numbers=(1, 2)):
  with Checkpoints(folder) as checkpoints:
    for number in numbers:
      model, training = _parts(mesh, number)
      checkpoints.save(number, model, training, {"epoch": number}, -number)


def _bytes(folder):
  return sorted(path for path in folder.rglob("*") if path.is_file())


# Orbax does not await what it has begun when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_flipped_bit_changes_a_number(tmp_path, one_device, monkeypatch):
  """Every byte of a checkpoint is tried: it is noticed, or does nothing.

  And orbax has nothing more to say later, of what it left unfinished.
  """
  late = []
  monkeypatch.setattr(sys, "unraisablehook", late.append)
  _saved(tmp_path / "whole", one_device, (1,))
  model, training = _parts(one_device, 1)
  rng, noticed, tried = np.random.default_rng(0), 0, 0
  for path in _bytes(tmp_path / "whole"):
    content = path.read_bytes()
    for place in rng.permutation(len(content))[:12]:
      changed = bytearray(content)
      changed[place] ^= 1 << rng.integers(8)
      path.write_bytes(changed)
      tried += 1
      try:
        with Checkpoints(tmp_path / "whole") as checkpoints:
          assert checkpoints.best() in (None, 1)
          found = checkpoints.restore(1, model, training)
      except DamagedError as error:
        noticed += 1
        assert str(tmp_path / "whole" / "1") in str(error)
      else:
        np.testing.assert_array_equal(found.model["w"], 1)
        assert found.training["step"] == 1
        assert found.info == {"epoch": 1}
    path.write_bytes(content)
  assert tried > 40
  assert noticed > tried / 4
  gc.collect()
  # Where a thread of tensorstore comes too late there is no object to it.
  assert not [x for x in late if x.object is not None]


def test_a_checkpoint_as_they_were_once(tmp_path, one_device):
  """Array by array, and without digests."""
  model, training = _parts(one_device, 7)
  options = ocp.CheckpointManagerOptions(best_fn=lambda x: x["score"])
  with ocp.CheckpointManager(tmp_path, options=options) as manager:
    manager.save(
      1,
      args=ocp.args.Composite(
        model=ocp.args.StandardSave(model),
        training=ocp.args.StandardSave(training),
        info=ocp.args.JsonSave({"epoch": 1}),
      ),
      metrics={"score": 0.5},
    )
  model, training = _parts(one_device, 0)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.best() == 1
    found = checkpoints.restore(1, model, training)
    assert checkpoints.digest(best=True) == ""
  assert found.info == {"epoch": 1}
  np.testing.assert_array_equal(found.model["w"], 7)
  assert found.training["step"] == 7


def test_arrays_of_all_kinds_come_back_from_one(tmp_path, mesh):
  model = {
    "half": jnp.arange(3, dtype=jnp.bfloat16),
    "none": jnp.zeros((0, 2)),
    "yes": jnp.array([True, False, True]),
    **{f"w{i}": jnp.full((i, 2), i, jnp.float32) for i in range(1, 9)},
  }
  model = sharding.replicate(mesh, model)
  training = {"count": jnp.int32(3), "seen": np.arange(4.0)}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, model, training, {}, 0.0)
    training["seen"][:] = -1  # while it is written
    like = jax.tree.map(ocp.utils.to_shape_dtype_struct, model)
    found = checkpoints.restore(1, like, training)
  assert not (tmp_path / "1" / "model" / "manifest.ocdbt").exists()
  assert len(_bytes(tmp_path / "1" / "model")) < 6

  def check(found, wanted):
    assert found.dtype == wanted.dtype
    assert getattr(found, "sharding", 0) == getattr(wanted, "sharding", 0)
    np.testing.assert_array_equal(found, wanted)

  jax.tree.map(check, found.model, model)
  jax.tree.map(check, found.training, {**training, "seen": np.arange(4.0)})


def test_another_network_is_not_read(tmp_path, one_device):
  _saved(tmp_path, one_device, (1,))
  with Checkpoints(tmp_path) as checkpoints:
    for other in ((4, 4), (3, 4)):
      with pytest.raises(DamagedError):
        checkpoints.restore(1, {"w": jnp.zeros(other)})


def _resume(folder, mesh):
  """What a training finds: its state, the epochs done."""
  model, training = _parts(mesh, 0)
  with FolderStore(folder) as store:
    state, _, done = store.resume(
      TrainState(training["step"], model, {}, training["opt_state"]), {}
    )
  return state, done


def test_training_goes_on_from_the_last_whole_checkpoint(
  tmp_path, one_device, capsys
):
  for number in (1, 2):
    model, training = _parts(one_device, number)
    state = TrainState(training["step"], model, {}, training["opt_state"])
    with FolderStore(tmp_path) as store:
      store.resume(state, {})
      store.save(number, state, Cost(), -number, {})
  for number, after in ((2, 1), (1, 0)):
    assert _resume(tmp_path, one_device)[1] == number
    for path in _bytes(tmp_path / "checkpoints" / str(number) / "model"):
      path.write_bytes(bytes(len(path.read_bytes())))
    capsys.readouterr()
    state, done = _resume(tmp_path, one_device)
    assert done == after
    np.testing.assert_array_equal(state.params["w"], after)
    said = " ".join(capsys.readouterr().err.split())
    start = f"checkpoint {after}" if after else "the beginning"
    assert f"/{number} is damaged" in said
    assert f"going on from {start}" in said
    assert (tmp_path / "checkpoints.damaged" / str(number)).is_dir()
