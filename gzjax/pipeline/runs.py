"""A run on disk: what it remembers, and how it is opened in Python."""

from dataclasses import dataclass
from functools import cached_property
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import pandas as pd

from gzjax.errors import UserError
from gzjax.files import read_json
from gzjax.pipeline import config_files, defaults
from gzjax.progress import say


class Sources(NamedTuple):
  """What a run comes from, beside its config."""

  # NAME[:variant], see `config_files.identity`.
  config_file: str | None = None
  data_dir: str | None = None
  manual_dir: str | None = None


@dataclass(frozen=True)
class Run:
  """A run that was opened: its config and its tables."""

  workdir: Path
  config: ml_collections.ConfigDict

  @cached_property
  def split(self) -> pd.DataFrame:
    """Every galaxy: its split, its labels, and whether they were flipped."""
    return pd.read_parquet(self._file("split.parquet", "prepare"))

  @cached_property
  def scoreboard(self) -> pd.DataFrame:
    """A row for each network."""
    return pd.read_csv(self._file("scoreboard.csv", "evaluate"))

  def _file(self, name: str, stage: str) -> Path:
    path = self.workdir / name
    if not path.exists():
      raise UserError(
        f"{self.workdir} has no {name} yet: run gzjax {stage} "
        f"--workdir={self.workdir}."
      )
    return path


def load(workdir: str | Path) -> Run:
  """Opens a run; UserError if the folder holds none."""
  folder = Path(workdir).expanduser()
  found = read(folder / "config.json")
  if found is None:
    raise UserError(f"{folder} holds no run: there is no config.json in it.")
  return Run(folder, found[0])


def read(path: Path) -> tuple[ml_collections.ConfigDict, Sources] | None:
  """What a run was started with; None without one, UserError if damaged."""
  try:
    record = read_json(path)
    if record is None:
      return None
    sources = Sources(*(record.get(name) for name in Sources._fields))
    values = _tuples(record["config"])
    return _restore(values, sources.config_file, path), sources
  except (OSError, JSONDecodeError, AttributeError, KeyError, TypeError) as e:
    raise UserError(
      f"{path} is not what a run remembers ({e}): start it with --config=NAME "
      "again."
    ) from e


def _restore(
  values: dict[str, Any], source: str | None, path: Path
) -> ml_collections.ConfigDict:
  """The config as it was before it became JSON.

  Its own file is run again, because it may register methods, and because it
  knows which sections are one and the same; the values are those of the run.
  """
  is_comparison = "systems" in values
  config = _shared(values) if is_comparison else defaults.get_config()
  if source:
    name = source.split(":", 1)[0]
    try:
      config_files.find(name)
    except UserError:
      say(f"note: {name}, which {path} was started with, is gone.")
    else:
      found = config_files.load(source)
      config = found if ("systems" in found) == is_comparison else config
  with config.unlocked():
    config.update(values)
  return config


def _shared(values):
  """A comparison whose sections of all systems are one again."""
  config = ml_collections.ConfigDict(values)
  for system in config.systems.values():
    for name, section in config.items():
      if isinstance(section, ml_collections.ConfigDict) and name in system:
        system[name] = section
  return config


def _tuples(value: Any) -> Any:
  """JSON has lists only; our configs have tuples only."""
  if isinstance(value, dict):
    return {name: _tuples(item) for name, item in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
