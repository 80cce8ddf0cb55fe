"""The folder of a run: where things lie, and which stages are finished."""

from collections.abc import Mapping
from pathlib import Path
import shutil
from typing import Any

from gzjax import files
from gzjax.errors import UserError


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
      files.write_json(self.root / "stages" / ".writable.json", {})
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
    record = files.read_json(self._record(stage))
    if record is None:
      return False
    difference = files.first_difference(record["config"], files.to_json(config))
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
    files.write_json(
      self._record(stage), {"config": files.to_json(config), "finished": False}
    )

  def finish(self, stage: str) -> None:
    """Records that the stage is finished."""
    record = files.read_json(self._record(stage))
    files.write_json(self._record(stage), {**record, "finished": True})

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
