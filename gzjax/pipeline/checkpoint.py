"""Checkpoints on disk; the only module that imports orbax."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np
import orbax.checkpoint as ocp

from gzjax import sharding
from gzjax.files import MetricsLog
from gzjax.training.loop import Clock
from gzjax.types import Fisher, PyTree, TrainState


class Restored(NamedTuple):
  """What `Checkpoints.restore` gives back."""

  model: PyTree
  training: PyTree  # None if it was not asked for
  info: dict[str, Any]


class Checkpoints(AbstractContextManager):
  """The last and the best checkpoint of one run; a context manager.

  A checkpoint has three parts: `model` (what prediction needs), `training`
  (what only going on needs: optimizer state, counters) and `info` (JSON: what
  a person needs). Orbax writes each under a temporary name and renames it, so
  a killed run leaves only whole checkpoints.
  """

  def __init__(self, folder: Path):
    policies, score = ocp.checkpoint_managers, itemgetter("score")
    kept = [policies.LatestN(1), policies.BestN(get_metric_fn=score, n=1)]
    self._manager = ocp.CheckpointManager(
      folder,
      options=ocp.CheckpointManagerOptions(
        best_fn=score, preservation_policy=policies.AnyPreservationPolicy(kept)
      ),
    )

  def __exit__(self, *error: object) -> None:
    self._manager.close()

  def latest(self) -> int | None:
    """The number of the last whole checkpoint."""
    self._manager.wait_until_finished()
    return self._manager.latest_step()

  def best(self) -> int | None:
    """The number of the checkpoint with the highest score."""
    self._manager.wait_until_finished()
    return self._manager.best_step()

  def save(
    self,
    number: int,
    model: PyTree,
    training: PyTree,
    info: dict[str, Any],
    score: float,
  ) -> None:
    """Starts writing; the arrays may be donated when this returns."""
    self._manager.save(
      number,
      args=ocp.args.Composite(
        model=ocp.args.StandardSave(_one_copy(model)),
        training=ocp.args.StandardSave(_one_copy(training)),
        info=ocp.args.JsonSave(info),
      ),
      metrics={"score": score},
    )

  def restore(
    self, number: int, model_like: PyTree, training_like: PyTree = None
  ) -> Restored:
    """Reads into arrays as the examples are; no example leaves a part out."""
    parts = {
      "model": ocp.args.StandardRestore(_abstract(model_like)),
      "info": ocp.args.JsonRestore(),
    }
    if training_like is not None:
      parts["training"] = ocp.args.StandardRestore(_abstract(training_like))
    found = self._manager.restore(number, args=ocp.args.Composite(**parts))
    return Restored(found["model"], found.get("training"), found["info"])

  def networks(
    self, like: PyTree, *, best: bool
  ) -> tuple[PyTree, PyTree] | None:
    """(params, batch_stats) of the best checkpoint, or of the last; or none."""
    number = self.best() if best else self.latest()
    if number is None:
      return None
    model = self.restore(number, like).model
    return model["params"], model["batch_stats"]


def _one_copy(tree: PyTree) -> PyTree:
  """The copies on the first device of arrays that all devices have.

  Orbax would let each device write a slice, which it cuts array by array: for
  small arrays that takes longer than the writing.
  """

  def first(x):
    whole = x.is_fully_addressable and x.is_fully_replicated
    return x.addressable_data(0) if whole else x

  return jax.tree.map(first, tree)


def _abstract(tree: PyTree) -> PyTree:
  return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


def save_fisher(folder: Path, fisher: Fisher, info: dict[str, Any]) -> None:
  """Writes a Fisher and what a person needs to know of it (JSON)."""
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(
      folder,
      args=ocp.args.Composite(
        fisher=ocp.args.StandardSave(fisher._asdict()),
        info=ocp.args.JsonSave(info),
      ),
      force=True,
    )


def read_fisher_info(folder: Path) -> dict[str, Any] | None:
  """The `info` that `save_fisher` wrote; None where there is no Fisher."""
  if not folder.exists():
    return None
  return _restore(folder, info=ocp.args.JsonRestore())["info"]


def restore_fisher(folder: Path, like: Fisher) -> Fisher:
  """Reads a Fisher into arrays shaped and placed as the example is."""
  parts = ocp.args.StandardRestore(_abstract(like._asdict()))
  return Fisher(**_restore(folder, fisher=parts)["fisher"])


def _restore(folder, **parts):
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    return checkpointer.restore(folder, args=ocp.args.Composite(**parts))


class FolderStore(ExitStack):
  """A `Store` on disk: checkpoints/ and metrics.jsonl; a context manager."""

  def __init__(self, folder: Path, mesh: Mesh):
    super().__init__()
    self._folder, self._mesh = folder, mesh

  def resume(
    self, state: TrainState, extra: Mapping[str, np.ndarray]
  ) -> tuple[TrainState, Clock, int]:
    # Made here: a mistake in a recipe leaves no folder behind.
    folder = Checkpoints(self._folder / "checkpoints")
    self._checkpoints = self.enter_context(folder)
    self._like = {"params": state.params, "batch_stats": state.batch_stats}
    number = self._checkpoints.latest()
    log = self._folder / "metrics.jsonl"
    self._log = MetricsLog(log, epochs_done=number or 0)
    if number is None:
      return state, Clock(), 0
    model, training, info = self._checkpoints.restore(
      number,
      self._like,
      {
        "step": state.step,
        "opt_state": state.opt_state,
        "extra": sharding.replicate(self._mesh, dict(extra)),
      },
    )
    for name, value in training.pop("extra").items():
      extra[name][...] = np.asarray(value)
    clock = Clock(info["wall_seconds"], info["compile_seconds"])
    return TrainState(**model, **training), clock, number

  def save(self, number, state, clock, score, extra):
    model = {"params": state.params, "batch_stats": state.batch_stats}
    training = {
      "step": state.step,
      "opt_state": state.opt_state,
      # Copies: the next epoch adds to these arrays while they are written.
      "extra": jax.tree.map(jnp.array, dict(extra)),
    }
    self._checkpoints.save(number, model, training, clock.seconds(), score)

  def networks(self, *, best):
    return self._checkpoints.networks(self._like, best=best)

  def log(self, step, epoch, split, /, **values):
    self._log.write(step, epoch, split, **values)
