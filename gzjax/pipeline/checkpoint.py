"""Checkpoints on disk; the only module that imports orbax."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
import gc
import math
from operator import itemgetter
from pathlib import Path
import sys
import traceback
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from gzjax import digests
from gzjax.errors import DamagedError
from gzjax.files import MetricsLog, read_json, write_json
from gzjax.pipeline import hosts, origin
from gzjax.pipeline.replaced import delete
from gzjax.progress import say
from gzjax.types import Cost, Fisher, PyTree, TrainState


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
  a killed run leaves only whole checkpoints. With them lie digests of the
  numbers, so that no other ones are read. The arrays of a part are written as
  one: of small ones each would take longer than the bytes of all.
  """

  def __init__(self, folder: Path):
    """Opens a folder; DamagedError for scores that cannot be read."""
    self._folder = folder = hosts.shared(folder)
    hosts.wait()  # the first may just have moved what was there
    policies, score = ocp.checkpoint_managers, itemgetter("score")
    kept = [policies.LatestN(1), policies.BestN(get_metric_fn=score, n=1)]
    options = ocp.CheckpointManagerOptions(
      best_fn=score, preservation_policy=policies.AnyPreservationPolicy(kept)
    )
    with _damage_of(lambda: _without_a_score(folder)):
      self._manager = ocp.CheckpointManager(folder, options=options)

  def __exit__(self, *error: object) -> None:
    self._manager.close()

  def latest(self) -> int | None:
    """The number of the last whole checkpoint."""
    self._manager.wait_until_finished()
    return self._manager.latest_step()

  def best(self) -> int | None:
    """The number of the checkpoint with the highest score.

    Raises:
      DamagedError: for a score that is another one than was written.
    """
    self._manager.wait_until_finished()
    for number in self._manager.all_steps():
      self._check_score(number)
    return self._manager.best_step()

  def put_aside(self, number: int) -> None:
    """Moves a checkpoint to a folder beside that of the others."""
    hosts.first_alone(partial(_put_aside, self._folder / str(number)))
    self._manager.reload()

  def save(
    self,
    number: int,
    model: PyTree,
    training: PyTree,
    info: dict[str, Any],
    score: float,
  ) -> None:
    """Starts writing; the arrays may be donated when this returns."""
    arrays = jax.device_get({"model": model, "training": training})
    known = {name: digests.of_arrays(tree) for name, tree in arrays.items()}
    record = {"info": info, "score": float(score), "digests": known}
    parts = {n: ocp.args.ArraySave(_packed(x)) for n, x in arrays.items()}
    self._manager.save(
      number,
      args=ocp.args.Composite(
        **parts,
        info=ocp.args.JsonSave(digests.signed(record)),
      ),
      metrics={"score": record["score"]},
    )

  def restore(
    self, number: int, model_like: PyTree, training_like: PyTree = None
  ) -> Restored:
    """Reads into arrays as the examples are; no example leaves a part out.

    Examples are arrays, or their shapes, types and shardings.

    Raises:
      DamagedError: for other numbers than were written.
    """
    record = self._record(number)

    def part(name, like):
      found = self._arrays(number, name, like)
      if record["digests"].get(name) not in (None, digests.of_arrays(found)):
        raise DamagedError(self._folder / str(number), f"other {name} numbers")
      return jax.tree.map(_placed, found, like)

    model = part("model", model_like)
    goes_on = training_like is not None
    training = part("training", training_like) if goes_on else None
    return Restored(model, training, record["info"])

  def _arrays(self, number: int, name: str, like: PyTree) -> PyTree:
    """The arrays of a part, shaped as the examples are."""
    folder = self._folder / str(number)
    if (folder / name / "manifest.ocdbt").exists():  # array by array, as once
      how = ocp.args.StandardRestore(_abstract(like))
      return self._read(number, **{name: how})[name]
    packed = self._read(number, **{name: ocp.args.ArrayRestore()})[name]
    with _damage_of(lambda: folder):
      return _unpacked(packed, like)

  def digest(self, *, best: bool) -> str:
    """Of the numbers of the model; "" without a checkpoint.

    Raises:
      DamagedError: see `restore`.
    """
    number = self.best() if best else self.latest()
    known = {} if number is None else self._record(number)["digests"]
    return known.get("model", "")

  def _record(self, number: int) -> dict[str, Any]:
    """The info, the score, and the digests of the parts."""
    found = self._read(number, info=ocp.args.JsonRestore())["info"]
    if not {"info", "digests"} & found.keys():  # of before there were digests
      return {"info": found, "digests": {}}
    record = digests.unsigned(found)
    if record is None or "digest" not in found:
      raise DamagedError(self._folder / str(number), "its info")
    return record

  def _check_score(self, number: int) -> None:
    metrics = self._safely(number, self._manager.metrics)
    score = self._record(number).get("score")
    if score is not None and repr(metrics) != repr({"score": score}):
      raise DamagedError(self._folder / str(number), "its score")

  def _read(self, number: int, **parts: Any) -> Any:
    how = {"args": ocp.args.Composite(**parts)}
    return self._safely(number, self._manager.restore, **how)

  def _safely(self, number: int, read: Callable, **how: Any) -> Any:
    with _damage_of(lambda: self._folder / str(number)):
      return read(number, **how)

  def networks(
    self, like: PyTree, *, best: bool
  ) -> tuple[PyTree, PyTree] | None:
    """(params, batch_stats) of the best checkpoint, or of the last; or none."""
    number = self.best() if best else self.latest()
    if number is None:
      return None
    model = self.restore(number, like).model
    return model["params"], model["batch_stats"]


@contextmanager
def _damage_of(find: Callable[[], Path]) -> Iterator[None]:
  """Any error while a folder is read is a DamagedError of it.

  Where one array cannot be read, orbax leaves the reading of the others
  unfinished: they are let go at once, or they would complain at any time.
  """
  hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
  try:
    yield
  except Exception as error:  # of orbax, tensorstore, JSON or the system
    why = f"{type(error).__name__}: {error}"
    link: BaseException | None = error
    while link is not None:
      traceback.clear_frames(link.__traceback__)
      link = link.__cause__ or link.__context__
    gc.collect()
    raise DamagedError(find(), why) from None
  finally:
    sys.unraisablehook = hook


def _without_a_score(folder: Path) -> Path:
  """The first checkpoint whose score is no JSON, or the folder of all."""
  for path in folder.glob("*/metrics/metrics"):
    try:
      read_json(path)
    except DamagedError:
      return path.parent.parent
  return folder


def _put_aside(checkpoint: Path) -> None:
  folder = checkpoint.parent
  aside = folder.with_name(f"{folder.name}.damaged") / checkpoint.name
  aside.parent.mkdir(exist_ok=True)
  delete(aside)
  checkpoint.replace(aside)


def _packed(tree: PyTree) -> np.ndarray:
  """The bytes of arrays on the host, one after the other, in a copy u8[n]."""
  return np.frombuffer(
    b"".join(x.tobytes() for x in jax.tree.leaves(tree)), np.uint8
  )


def _unpacked(packed: np.ndarray, like: PyTree) -> PyTree:
  """What `_packed` was given, of the shapes and types of the examples.

  ValueError for another number of bytes.
  """
  leaves, structure = jax.tree.flatten(like)
  ends = np.cumsum([math.prod(x.shape) * x.dtype.itemsize for x in leaves])
  if len(packed) != ends[-1]:
    raise ValueError(f"{len(packed)} bytes, not {ends[-1]}")
  parts = zip(np.split(packed, ends[:-1]), leaves, strict=True)
  return jax.tree.unflatten(
    structure, [part.view(x.dtype).reshape(x.shape) for part, x in parts]
  )


def _placed(x: Any, like: Any) -> Any:
  """An array where the example is, on the devices of all processes."""
  where = getattr(like, "sharding", None)
  if where is None or isinstance(x, jax.Array):
    return x
  # Each device gets memory of its own, which a step may donate.
  return jax.make_array_from_callback(x.shape, where, lambda i: x[i].copy())


def _abstract(tree: PyTree) -> PyTree:
  return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


def save_fisher(folder: Path, fisher: Fisher, info: dict[str, Any]) -> None:
  """Writes a Fisher and what a person needs to know of it (JSON)."""
  info = {**info, "digest": digests.of_arrays(fisher._asdict())}
  folder = hosts.shared(folder)
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
  folder = hosts.shared(folder)
  if not folder.exists():
    return None
  info = _restore(folder, info=ocp.args.JsonRestore())["info"]
  return {key: x for key, x in info.items() if key != "digest"}


def restore_fisher(folder: Path, like: Fisher) -> Fisher:
  """Reads a Fisher into arrays shaped and placed as the example is.

  Raises:
    DamagedError: for other numbers than were written.
  """
  folder = hosts.shared(folder)
  parts = ocp.args.StandardRestore(_abstract(like._asdict()))
  found = _restore(folder, fisher=parts, info=ocp.args.JsonRestore())
  if digests.of_arrays(found["fisher"]) != found["info"]["digest"]:
    raise DamagedError(folder, "other numbers")
  return Fisher(**found["fisher"])


def _restore(folder, **parts):
  handler = ocp.CompositeCheckpointHandler()
  with _damage_of(lambda: folder), ocp.Checkpointer(handler) as checkpointer:
    return checkpointer.restore(folder, args=ocp.args.Composite(**parts))


def _open(folder: Path) -> Checkpoints:
  """The checkpoints of a training; one without a score is put aside."""
  while True:
    try:
      return Checkpoints(folder)
    except DamagedError as error:
      if error.path == folder:
        raise
      say(f"{error.what}: going on without it")
      hosts.first_alone(partial(_put_aside, error.path))


def cost_of(info: Mapping[str, Any]) -> Cost:
  """What is on record; NaN where an earlier version recorded nothing."""
  found = (info.get(name) for name in Cost._fields)
  return Cost(*(math.nan if x is None else x for x in found))


class FolderStore(ExitStack):
  """A `Store` on disk: checkpoints/ and metrics.jsonl; a context manager."""

  def __init__(self, folder: Path, made_from: Mapping[str, Any] | None = None):
    """Refuses to go on with what was made from something else."""
    super().__init__()
    self._folder = folder
    self._origin = made_from or {}

  def resume(
    self, state: TrainState, extra: Mapping[str, np.ndarray]
  ) -> tuple[TrainState, Cost, int]:
    # Made here: a mistake in a recipe leaves no folder behind.
    found = _open(self._folder / "checkpoints")
    self._checkpoints = self.enter_context(found)
    self._like = {"params": state.params, "batch_stats": state.batch_stats}
    training_like = {
      "step": state.step,
      "opt_state": state.opt_state,
      "extra": dict(extra),
    }
    number, found = self._last_whole(training_like)
    if found is not None:
      origin.check(self._folder, self._origin)
    write_json(self._folder / origin.NAME, self._origin)
    log = self._folder / "metrics.jsonl"
    self._log = MetricsLog(log, epochs_done=number)
    if found is None:
      return state, Cost(), 0
    model, training, info = found
    for name, value in training.pop("extra").items():
      extra[name][...] = value
    return TrainState(**model, **training), cost_of(info), number

  def _last_whole(self, training_like: PyTree) -> tuple[int, Restored | None]:
    """The last checkpoint that is not damaged; those after it are put aside."""
    kept = self._checkpoints
    while (number := kept.latest()) is not None:
      try:
        return number, kept.restore(number, self._like, training_like)
      except DamagedError as error:
        kept.put_aside(number)
        before = kept.latest()
        start = "the beginning" if before is None else f"checkpoint {before}"
        say(f"{error.what}: going on from {start}")
    return 0, None

  def save(self, number, state, cost, score, extra):
    model = {"params": state.params, "batch_stats": state.batch_stats}
    training = {
      "step": state.step,
      "opt_state": state.opt_state,
      "extra": dict(extra),
    }
    self._checkpoints.save(number, model, training, cost._asdict(), score)

  def networks(self, *, best):
    return self._checkpoints.networks(self._like, best=best)

  def log(self, step, epoch, split, /, **values):
    self._log.write(step, epoch, split, **values)
