"""The folder of a run: where things lie, and which stages are finished."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
from pathlib import Path
from typing import Any

from gzjax import files, locks
from gzjax.errors import UserError
from gzjax.pipeline.replaced import Replaced, delete


class Workdir:
  """Paths and records of a run.

  Each stage has a record `stages/<name>.json`: the part of the config that it
  was run with, and whether it finished. It is written when the stage starts,
  so that a killed stage is not taken up with another config.
  """

  def __init__(self, root: str | Path):
    self.root = Path(root).expanduser().absolute()

  def __truediv__(self, name: str) -> Path:
    return self.root / name

  @contextlib.contextmanager
  def hold(self) -> Iterator[None]:
    """Keeps other processes out.

    A finished run may lie where nobody can write, and is then only read.

    Raises:
      UserError: naming the process that is in, or for a folder that cannot be
        written where there is no run yet.
    """
    lock = self.root / "stages" / ".lock"
    with contextlib.ExitStack() as stack:
      try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locks.alone(lock, str(self.root)))
        files.clear_parts(self.root)
      except OSError as error:
        if not (self.root / "config.json").exists():
          raise UserError(
            f"cannot write to the workdir {self.root} ({error.strerror}): "
            "choose another folder with --workdir=DIR."
          ) from error
      yield

  def check(
    self,
    stage: str,
    config: Mapping[str, Any],
    *,
    redo: bool = False,
    restart: bool = False,
  ) -> bool:
    """Whether the stage is finished with this part of the config.

    Raises:
      UserError: if it was started with another config, unless it may be done
        anew: `redo` in any case, `restart` where it never finished.
    """
    record = files.read_json(self._record(stage))
    if record is None:
      return False
    difference = files.first_difference(record["config"], files.to_json(config))
    if not difference:
      return record["finished"]
    if redo or (restart and not record["finished"]):
      return False
    raise UserError(
      f"the workdir {self.root} holds a {stage} stage of another config "
      f"({difference}): choose another --workdir, or start anew with "
      "--overwrite."
    )

  def is_finished(self, stage: str) -> bool:
    """Whether the stage is finished, with whatever config."""
    record = files.read_json(self._record(stage))
    return bool(record and record["finished"])

  def start(self, stage: str, config: Mapping[str, Any]) -> None:
    """Records that the stage runs with this config."""
    files.write_json(
      self._record(stage), {"config": files.to_json(config), "finished": False}
    )

  def finish(self, stage: str) -> None:
    """Records that the stage is finished."""
    record = files.read_json(self._record(stage))
    files.write_json(self._record(stage), {**record, "finished": True})

  @property
  def replaced(self) -> Replaced:
    """What is being made anew."""
    return Replaced(self.root)

  @property
  def before(self) -> "Workdir":
    """Of what is being replaced."""
    return Workdir(self.root / "replaced")

  def config_of(self, stage: str) -> Any:
    """The part of the config that a stage was started with, or None."""
    record = files.read_json(self._record(stage))
    return record and record["config"]

  def put_aside(self, stage: str, outputs: Iterable[str], folder: Path) -> None:
    """Moves the outputs of a stage to a folder: it has not run any more.

    They replace older ones that may be there.
    """
    self._record(stage).unlink(missing_ok=True)
    for name in outputs:
      if (self.root / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        delete(folder / name)
        (self.root / name).replace(folder / name)

  def _record(self, stage: str) -> Path:
    return self.root / "stages" / f"{stage}.json"
