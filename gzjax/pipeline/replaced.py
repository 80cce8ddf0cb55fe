"""What a run had before --overwrite: kept until what is made anew is whole."""

from collections.abc import Sequence
from pathlib import Path
import shutil
from typing import Any

from gzjax import files
from gzjax.pipeline import stops

_MOVING, _KEPT, _PUTTING_BACK = "moving", "kept", "putting back"
_DROPPING, _DROPPED = "dropping", "dropped"
_COPIED = "config.json"  # of which the new one is made


class Replaced:
  """Files of a run that are being made anew; the old ones in `replaced/`.

  `stages/replaced.json` says what is done with them, before it is done: where
  the process is killed, `recover` finishes it or takes it back.
  """

  def __init__(self, root: Path):
    self._root, self._folder = root, root / "replaced"
    self._path = root / "stages" / "replaced.json"

  @property
  def note(self) -> Any:
    """What was noted of what is being made anew; None if nothing is."""
    return (files.read_json(self._path) or {}).get("note")

  @property
  def is_kept(self) -> bool:
    """Whether the old files are still there."""
    return self._state() == _KEPT

  def find(self, name: str) -> Path | None:
    """Where a file of the run is, or else the one that is replaced."""
    places = (self._root / name, self._folder / name)
    return next((path for path in places if path.exists()), None)

  def set_aside(self, names: Sequence[str], note: Any) -> None:
    """Moves files and folders of the run away, to make them anew."""
    names = [*names, _COPIED]
    had = [name for name in names if (self._root / name).exists()]
    delete(self._folder)
    record = {"names": names, "had": had, "note": note}
    self._write(_MOVING, record)
    for name in had:
      old, kept = self._root / name, self._folder / name
      kept.parent.mkdir(parents=True, exist_ok=True)
      if name == _COPIED:
        files.write_whole(kept, lambda part, old=old: shutil.copy2(old, part))
      else:
        old.replace(kept)
    self._write(_KEPT)

  def put_back(self) -> None:
    """The old files are there again, and what was made anew is gone."""
    self._write(_PUTTING_BACK)
    record = files.read_json(self._path)
    for name in record["names"]:
      kept, new = self._folder / name, self._root / name
      if kept.exists():
        delete(new)
        kept.replace(new)
      elif name not in record["had"]:
        delete(new)
    self.finish()

  def drop(self) -> None:
    """Deletes the old files: the new ones are whole, or as good as that."""
    if self.is_kept:
      self._write(_DROPPING)
      delete(self._folder)
      self._write(_DROPPED)

  def finish(self) -> None:
    """Nothing is being made anew any more."""
    delete(self._folder)
    self._path.unlink(missing_ok=True)
    self._tell("")

  def recover(self) -> None:
    """Finishes, or takes back, what a killed process was at."""
    state = self._state()
    if state in (_MOVING, _PUTTING_BACK):
      self.put_back()
    elif state == _DROPPING:
      delete(self._folder)
      self._write(_DROPPED)
    self._tell(self._state())

  def _state(self) -> str | None:
    return (files.read_json(self._path) or {}).get("state")

  def _write(self, state: str, record: Any = None) -> None:
    record = record or files.read_json(self._path)
    files.write_json(self._path, {**record, "state": state})
    self._tell(state)

  def _tell(self, state: str | None) -> None:
    """Whoever stops the run is told where the old files are."""
    stops.tell(
      f"the old result lies in {self._folder} until the new one is whole"
      if state == _KEPT
      else ""
    )


def delete(path: Path) -> None:
  """Deletes a file or a folder, if it is there."""
  if path.is_dir():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
