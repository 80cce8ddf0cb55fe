"""What a run remembers in config.json: its config and where it came from."""

import importlib.metadata
from pathlib import Path
import sys
from typing import Any, NamedTuple

import jax
import ml_collections

import gzjax
from gzjax import digests
from gzjax.errors import DamagedError, UserError
from gzjax.files import read_json, to_json, write_json
from gzjax.pipeline import config_files, defaults
from gzjax.progress import say
from gzjax.revision import git_revision


class Sources(NamedTuple):
  """What a run comes from, beside its config."""

  # NAME[:variant], see `config_files.identity`.
  config_file: str | None = None
  data_dir: str | None = None
  manual_dir: str | None = None


def write(
  config: ml_collections.ConfigDict,
  workdir: Path,
  sources: Sources,
  section: str | None = None,
) -> None:
  """Writes `config.json`, before anything is done: a killed run goes on by it.

  Of a run that is there, `section` alone is changed if it is given.
  """
  path = workdir / "config.json"
  before = read_json(path)
  now = to_json(config.to_dict())
  if before and section:
    now = {**before["config"], section: now[section]}
  packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
  data = read_json(workdir / "stages" / "dataset.json") or {}
  record = {
    "config": now,
    **sources._asdict(),
    "command": sys.argv,
    "versions": {
      "gzjax": gzjax.__version__,
      "python": sys.version.split()[0],
      **{name: importlib.metadata.version(name) for name in packages},
    },
    "device_kind": jax.devices()[0].device_kind,
    "device_count": jax.device_count(),
    "dataset_fingerprint": data.get("fingerprint"),
    "git_revision": git_revision(),
  }
  write_json(path, digests.signed(record))


def read(path: Path) -> tuple[ml_collections.ConfigDict, Sources] | None:
  """What a run was started with; None without one, UserError if damaged."""
  try:
    record = read_json(path)
    if record is None:
      return None
    if digests.unsigned(record) is None:
      raise DamagedError(path, "its digest is another one")
    sources = Sources(*(record.get(name) for name in Sources._fields))
    values = _tuples(record["config"])
    return _restore(values, sources.config_file, path), sources
  except (OSError, DamagedError, AttributeError, KeyError, TypeError) as e:
    why = e.what if isinstance(e, DamagedError) else str(e)
    raise UserError(
      f"{path} is not what a run remembers ({why}): start it with "
      "--config=NAME again."
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
