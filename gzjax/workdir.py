"""The folder of a run: where things lie, and which stages are finished."""

from collections.abc import Mapping
import json
from math import isfinite
from pathlib import Path
import shutil
from typing import Any
import uuid

from gzjax.errors import UserError

_UNSET = object()


class Workdir:
  """Paths and records of a run.

  Each stage has a record `stages/<name>.json`: the part of the config that it
  was run with, and whether it finished. It is written when the stage starts,
  so that a killed stage is not taken up with another config.
  """

  def __init__(self, root: str | Path):
    self.root = Path(root).expanduser().absolute()
    try:
      (self.root / "stages").mkdir(parents=True, exist_ok=True)
      write_json(self.root / "stages" / ".writable.json", {})
      (self.root / "stages" / ".writable.json").unlink()
    except OSError as error:
      raise UserError(
        f"cannot write to the workdir {self.root} ({error.strerror}): choose "
        "another folder with --workdir=DIR."
      ) from error

  def __truediv__(self, name: str) -> Path:
    return self.root / name

  def check(
    self,
    stage: str,
    config: Mapping[str, Any],
    *,
    redo: bool = False,
    restart: bool = False,
  ) -> bool:
    """Whether the stage is finished with this config.

    Args:
      stage: its name.
      config: the part of the config that it depends on.
      redo: whether a stage of another config may be done anew.
      restart: the same of a stage that never finished.

    Raises:
      UserError: if it was started with another config and may not be done
        anew.
    """
    record = read_json(self._record(stage))
    if record is None:
      return False
    difference = first_difference(record["config"], to_json(config))
    if difference and (redo or (restart and not record["finished"])):
      return False
    if difference:
      raise UserError(
        f"the workdir {self.root} holds a {stage} stage of another config "
        f"({difference}): choose another --workdir, or start anew with "
        f"--overwrite."
      )
    return record["finished"]

  def start(self, stage: str, config: Mapping[str, Any]) -> None:
    """Records that the stage runs with this config."""
    write_json(
      self._record(stage), {"config": to_json(config), "finished": False}
    )

  def finish(self, stage: str) -> None:
    """Records that the stage is finished."""
    record = read_json(self._record(stage))
    write_json(self._record(stage), {**record, "finished": True})

  def clear(self, stage: str, outputs: list[str]) -> None:
    """Deletes the record and the outputs of a stage."""
    self._record(stage).unlink(missing_ok=True)
    for name in outputs:
      path = self.root / name
      if path.is_dir():
        shutil.rmtree(path)
      else:
        path.unlink(missing_ok=True)

  def _record(self, stage: str) -> Path:
    return self.root / "stages" / f"{stage}.json"


def to_json(value: Any) -> Any:
  """What `value` is after a round trip through JSON."""
  return json.loads(json.dumps(value, default=list))


def first_difference(old: Any, new: Any, name: str = "") -> str:
  """Words such as `train.epochs was 3, is 5`; empty for equal values."""
  if isinstance(old, dict) and isinstance(new, dict):
    for key in sorted(old.keys() | new.keys()):
      found = first_difference(
        old.get(key, _UNSET), new.get(key, _UNSET), f"{name}.{key}".strip(".")
      )
      if found:
        return found
    return ""
  if old == new:
    return ""
  before, after = (
    "unset" if value is _UNSET else json.dumps(value) for value in (old, new)
  )
  return f"{name} was {before}, is {after}"


def read_json(path: Path) -> Any:
  """The content of a JSON file; None if there is no such file."""
  return json.loads(path.read_text()) if path.exists() else None


def write_json(path: Path, value: Any) -> None:
  """Writes a JSON file in one step: no reader ever sees half of it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps(_plain(value), indent=2, allow_nan=False)
  write_whole(path, lambda part: part.write_text(text))


def _plain(value: Any) -> Any:
  """`value` with null for NaN and infinity, which JSON does not have."""
  if isinstance(value, dict):
    return {key: _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  return None if isinstance(value, float) and not isfinite(value) else value


def write_whole(path: Path, write: Any) -> None:
  """Calls `write(temporary path)` and renames the result to `path`."""
  part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
  try:
    write(part)
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


class MetricsLog:
  """`metrics.jsonl`: one JSON object a line."""

  def __init__(self, path: Path, *, epochs_done: int):
    """Opens the log of a run that has `epochs_done` epochs in a checkpoint.

    Lines of later epochs, written before the run was killed, are dropped: the
    run does those epochs again. Without a checkpoint it starts from nothing.
    """
    self._path = path
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [x for x in lines if epochs_done and _epoch(x) <= epochs_done]
    write_whole(
      path, lambda part: part.write_text("".join(f"{x}\n" for x in kept))
    )

  def write(self, step: int, epoch: int, split: str, /, **values: float):
    """Adds a line; epochs count from 1."""
    line = {"step": step, "epoch": epoch, "split": split, **values}
    with self._path.open("a") as file:
      file.write(json.dumps(_plain(line), allow_nan=False) + "\n")


def _epoch(line: str) -> float:
  try:
    return json.loads(line)["epoch"]
  except ValueError:  # the line at which the run was killed
    return float("inf")
