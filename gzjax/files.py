"""Files that are whole or not there: JSON, tables and the log of a training."""

import json
from math import isfinite
import os
from pathlib import Path
import re
from typing import Any
import uuid

from gzjax.errors import DamagedError

_UNSET = object()
_PART = re.compile(r"\..+\.[0-9a-f]{12}")


def to_json(value: Any) -> Any:
  """What `value` is after a round trip through JSON."""
  return json.loads(json.dumps(value, default=list))


def first_difference(
  old: Any, new: Any, name: str = "", *, usual: Any = None
) -> str:
  """Words such as `train.epochs was 3, is 5`; empty for equal values.

  Args:
    old: what was recorded.
    new: what is there now.
    name: of the two, to begin the words with.
    usual: where keys of `new` stood at when `old` was recorded, which is
      without those that have been added since.
  """
  if isinstance(old, dict) and isinstance(new, dict):
    usual = usual if isinstance(usual, dict) else {}
    old = {**{key: usual[key] for key in usual.keys() & new.keys()}, **old}
    for key in sorted(old.keys() | new.keys()):
      found = first_difference(
        old.get(key, _UNSET),
        new.get(key, _UNSET),
        f"{name}.{key}".strip("."),
        usual=usual.get(key),
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
  """The content of a JSON file; None if there is no such file.

  Raises:
    DamagedError: if it is no JSON.
  """
  if not path.exists():
    return None
  try:
    return json.loads(path.read_bytes())
  except ValueError as error:
    raise DamagedError(path, str(error)) from error


def write_json(path: Path, value: Any) -> None:
  """Writes a JSON file in one step: no reader ever sees half of it."""
  write_text(path, json.dumps(_plain(value), indent=2, allow_nan=False))


def write_text(path: Path, text: str) -> None:
  """Writes a text file (UTF-8) in one step."""
  write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _plain(value: Any) -> Any:
  """`value` with null for NaN and infinity, which JSON does not have."""
  if isinstance(value, dict):
    return {key: _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  return None if isinstance(value, float) and not isfinite(value) else value


def write_table(path: Path, table: Any) -> None:
  """Writes a pandas table in one step: as .csv, or else as parquet."""
  write = table.to_csv if path.suffix == ".csv" else table.to_parquet
  write_whole(path, lambda part: write(part, index=False))


def read_text_table(path: Path) -> Any:
  """A CSV file as a pandas table of text, "" where it is empty.

  Ids may have 18 digits, and a class may be called 1 or NA.
  """
  import pandas as pd  # slow to import

  return pd.read_csv(path, dtype=str, keep_default_na=False)


def user_cache() -> Path:
  """The folder for what can be made again, of all runs of this user."""
  caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return Path(caches).expanduser() / "gzjax"


def write_whole(path: Path, write: Any) -> None:
  """Renames what `write(temporary path)` wrote to `path`; makes its folder."""
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
  try:
    write(part)
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


def clear_parts(folder: Path) -> None:
  """Deletes what killed processes left of `write_whole`."""
  for path in folder.rglob(".*.*"):
    if _PART.fullmatch(path.name):
      path.unlink(missing_ok=True)


class MetricsLog:
  """`metrics.jsonl`: one JSON object a line."""

  def __init__(self, path: Path, *, epochs_done: int):
    """Opens the log of a run that has `epochs_done` epochs in a checkpoint.

    Lines of later epochs, written before the run was killed, are dropped: the
    run does those epochs again. Without a checkpoint it starts from nothing.
    """
    self._path = path
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
