"""Config files: those that are shipped, and a user's own."""

import difflib
import functools
import importlib.util
from pathlib import Path
import sys
import traceback
from types import ModuleType

import ml_collections

import gzjax
from gzjax.errors import UserError
from gzjax.pipeline import defaults


def folder() -> Path:
  """Where the shipped configs lie: wherever `gzjax.configs` is found."""
  places = (Path(place) / "configs" for place in gzjax.__path__)
  return next(place for place in places if place.is_dir())


def names() -> list[str]:
  """The shipped configs."""
  return sorted(path.stem for path in folder().glob("[!_]*.py"))


def find(name: str) -> Path:
  """The file of `demo`, `configs/demo.py` or a path of a user's own.

  UserError if there is none; it lists the shipped ones.
  """
  path = Path(name).expanduser()
  if path.is_file():
    return path
  shipped = path.suffix in ("", ".py") and str(path.parent) in (".", "configs")
  if shipped and path.stem in names():
    return folder() / f"{path.stem}.py"
  close = difflib.get_close_matches(path.stem, names(), 1)
  hint = f" (did you mean {close[0]}?)" if close else ""
  raise UserError(
    f"no config {name!r}{hint}: choose one of {', '.join(names())}, or name a "
    ".py file that is there."
  )


def load(value: str) -> ml_collections.ConfigDict:
  """The config of `NAME[:variant]`; UserError names the line that fails."""
  name, *variant = value.split(":", 1)
  path = find(name)
  module = _guarded(path, _import, path.absolute(), path.stat().st_mtime_ns)
  get_config = getattr(module, "get_config", None)
  if not callable(get_config):
    raise UserError(f"{path} has no function get_config(): write one.")
  config = _guarded(path, get_config, *variant)
  if not isinstance(config, ml_collections.ConfigDict):
    raise UserError(
      f"{path}: get_config() returns {type(config).__name__}, not a "
      "ConfigDict: start from gzjax.pipeline.defaults.get_config()."
    )
  # Rows may have been registered after the file asked for the defaults.
  return defaults.complete(config)


def identity(value: str) -> str:
  """How a run remembers `NAME[:variant]`, to be found from any folder."""
  name, *variant = value.split(":", 1)
  path = find(name)
  is_shipped = path.absolute().parent == folder()
  return ":".join([path.stem if is_shipped else str(path.absolute()), *variant])


@functools.cache
def _import(path: Path, written: int) -> ModuleType:
  """Once for each state of the file: it may register methods."""
  del written
  name = f"gzjax_config_{path.stem}"
  spec = importlib.util.spec_from_file_location(name, path)
  if spec is None or spec.loader is None:
    raise UserError(f"{path} is no Python file: name it .py.")
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module  # dataclasses and pickle look it up there
  spec.loader.exec_module(module)
  return module


def _guarded(path, function, *arguments):
  """Calls what runs the user's code; any mistake in it is one line."""
  try:
    return function(*arguments)
  except UserError:
    raise
  except Exception as error:
    about_variant = path.name in str(error) and "variant" in str(error)
    if isinstance(error, ValueError) and about_variant:
      raise UserError(str(error)) from error  # the file says it all
    where = f"{path}{_line(path, error)}"
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    kind = type(error).__name__
    raise UserError(f"{where}: {kind}: {words or 'no message'}") from error


def _line(path: Path, error: Exception) -> str:
  """The last line of the file that the error passed through."""
  file, frames = str(path.absolute()), traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == file]
  if isinstance(error, SyntaxError) and error.filename == file:
    lines.append(error.lineno)
  return f", line {lines[-1]}" if lines else ""
