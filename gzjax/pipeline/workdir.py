"""The folder of a run: where things lie, and which stages are finished."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
from pathlib import Path
from typing import Any

from gzjax import digests, files, locks
from gzjax.errors import DamagedError, UserError
from gzjax.pipeline.replaced import Replaced, delete

# Folders that have digests of their own.
_APART = {"checkpoints", "checkpoints.damaged", "fisher", "folds"}
_OF_A_PERSON = {"audit/suspects.csv"}


class Workdir:
  """Paths and records of a run.

  Each stage has a record `stages/<name>.json`: the part of the config that it
  was run with, and whether it finished. It is written when the stage starts,
  so that a killed stage is not taken up with another config. When it finishes,
  the record gets the digests of what it has written, and those of the records
  of the stages that it read.
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
    usual: Mapping[str, Any] | None = None,
    redo: bool = False,
    restart: bool = False,
  ) -> bool:
    """Whether the stage is finished with this part of the config.

    Keys that the record does not have are younger than it: they stood at what
    is `usual`.

    Raises:
      UserError: if it was started with another config, unless it may be done
        anew: `redo` in any case, `restart` where it never finished.
    """
    try:
      record = self._record(stage)
    except DamagedError:
      if not redo:
        raise
      record = None
    if record is None:
      return False
    difference = files.first_difference(
      record["config"], files.to_json(config), usual=files.to_json(usual)
    )
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
    record = self._record(stage)
    return bool(record and record["finished"])

  def start(self, stage: str, config: Mapping[str, Any]) -> None:
    """Records that the stage runs with this config."""
    self._write(stage, {"config": files.to_json(config), "finished": False})

  def finish(
    self, stage: str, outputs: Sequence[str] = (), needs: Sequence[str] = ()
  ) -> None:
    """Records that the stage has written its outputs, of what it needs."""
    self._write(
      stage,
      {
        **(self._record(stage) or {}),
        "finished": True,
        "files": dict(self._digests(outputs)),
        "of": {name: self._state(name) for name in needs},
      },
    )

  def reopen(self, stage: str, *, redo: bool = False) -> dict[str, str]:
    """Makes a finished stage one that goes on if something of it is damaged.

    If that is its record nobody knows what the stage has written: one that may
    be done anew (`redo`) then is, another one is left for `check` to refuse.

    Returns:
      By its path what is missing or damaged; that is renamed.
    """
    try:
      record = self._record(stage)
    except DamagedError as error:
      if not redo:
        return {}
      _rename(error.path)
      return {error.path.relative_to(self.root).as_posix(): "is damaged"}
    if not record or not record["finished"]:
      return {}
    damage = dict(self._damage(record.get("files", {})))
    for name in damage:
      if (self.root / name).exists():
        _rename(self.root / name)
    if damage:
      self._write(stage, {**record, "finished": False})
    return damage

  def is_stale(self, stage: str) -> bool:
    """Whether a finished stage read something else than what is there now."""
    record = self._record(stage) or {}
    kept = record.get("of", {})
    return any(self._state(name) != state for name, state in kept.items())

  def _state(self, stage: str) -> str | None:
    """Names what a finished stage has written."""
    record = self._record(stage)
    return digests.of_json(record.get("files")) if record else None

  def _digests(
    self, outputs: Sequence[str]
  ) -> Iterator[tuple[str, str | None]]:
    """Path and digest of each file; None where it is a person's to change."""
    for output in outputs:
      top = self.root / output
      for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
        name = path.relative_to(self.root)
        if path.is_file() and not _APART & {*name.parts}:
          kept = name.as_posix() not in _OF_A_PERSON
          yield name.as_posix(), digests.of_file(path) if kept else None

  def _damage(
    self, known: Mapping[str, str | None]
  ) -> Iterator[tuple[str, str]]:
    for name, digest in known.items():
      path = self.root / name
      if not path.is_file():
        yield name, "is missing"
      elif digest and digests.of_file(path) != digest:
        yield name, "is damaged"

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
    record = self._record(stage)
    return record and record["config"]

  def put_aside(self, stage: str, outputs: Iterable[str], folder: Path) -> None:
    """Moves the outputs of a stage to a folder: it has not run any more.

    They replace older ones that may be there.
    """
    self._path(stage).unlink(missing_ok=True)
    for name in outputs:
      if (self.root / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        delete(folder / name)
        (self.root / name).replace(folder / name)

  def _record(self, stage: str) -> dict[str, Any] | None:
    """DamagedError if it is not as it was written."""
    path = self._path(stage)
    record = files.read_json(path)
    if record is None:
      return None
    record = digests.unsigned(record)
    if record is None:
      raise DamagedError(path, "its digest is another one")
    return record

  def _write(self, stage: str, record: dict[str, Any]) -> None:
    files.write_json(self._path(stage), digests.signed(record))

  def _path(self, stage: str) -> Path:
    return self.root / "stages" / f"{stage}.json"


def _rename(damaged: Path) -> None:
  damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
