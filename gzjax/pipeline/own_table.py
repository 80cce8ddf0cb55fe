"""TABLE and --images of the command line -> keys of the config."""

from collections.abc import Sequence
import difflib
from pathlib import Path

import ml_collections

from gzjax.data.galaxy_catalog import tables
from gzjax.errors import UserError
from gzjax.pipeline import config_files

CONFIG = "catalog"  # the config of a table without one
READER = "galaxy_catalog"


def get_config(
  table: str | Path, images: str | Path | None
) -> ml_collections.ConfigDict:
  """The config of a table as it is; None: the images are in its folder."""
  config = config_files.load(CONFIG)
  use(config, "all", str(table), str(images) if images else None, None)
  return config


def find(arguments: Sequence[str]) -> list[str]:
  """Those that are tables: files, or named as tables are."""
  return [
    x
    for x in arguments
    if not x.startswith("-") and is_path(x) and not _path(x).is_dir()
  ]


def is_path(text: str) -> bool:
  """Whether it is there, or named as a table is."""
  return _path(text).exists() or tables.is_table(_path(text))


def use(
  config: ml_collections.ConfigDict,
  stage: str,
  table: str | None,
  images: str | None,
  remembered: str | None,
) -> None:
  """Puts a table and the folder of its images into the config.

  Those to predict for the stage predict, else those of the run; `remembered` is
  its folder, if it has been started before.

  Raises:
    UserError: for a config of other galaxies, another table than that of the
      run, or none.
  """
  section = "predict" if stage == "predict" else "data"
  data = config[section]
  reads_tables = section == "predict" or data.builder == READER
  if (table or images) and not reads_tables:
    given = f"the table {table}" if table else f"--images={images}"
    raise UserError(
      f"{given} is for catalogues, and this config reads {data.builder}: leave "
      f"out one of them, or use --config={CONFIG}."
    )
  if table and section == "predict":
    data.catalog, data.images = _existing(table), ""
  elif table and data.catalog:
    _check_same(table, data.catalog, remembered)
  elif table:
    data.catalog = _existing(table)
  if images:
    data.images = str(_path(images))


def _path(text):
  return Path(text).expanduser().absolute()


def _existing(table):
  path = _path(table)
  if path.is_file():
    return str(path)
  beside = path.parent.iterdir() if path.parent.is_dir() else ()
  names = [other.name for other in beside if tables.is_table(other)]
  close = difflib.get_close_matches(path.name, names, 1)
  hint = f"did you mean {close[0]}?" if close else f"give {tables.FORMATS}."
  raise UserError(f"there is no table {table}: {hint}")


def _check_same(table, known, remembered):
  if _path(table) == _path(known):
    return
  if remembered:
    raise UserError(
      f"{remembered} holds a run of {known}, not of {table}: choose another "
      "--workdir for it."
    )
  raise UserError(
    f"two tables, {table} and --config.data.catalog={known}: give one."
  )
