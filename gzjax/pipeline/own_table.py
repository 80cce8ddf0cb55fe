"""TABLE and --images of the command line -> keys of the config.

A TABLE may also be a file or a folder that has its images inside.
"""

from collections.abc import Sequence
import difflib
from pathlib import Path
from typing import Any

import ml_collections

from gzjax.data import builders
from gzjax.data.galaxy_catalog import tables
from gzjax.data.galaxy_files import recognise
from gzjax.errors import UserError
from gzjax.pipeline import checks, config_files
from gzjax.progress import say

CONFIG = "catalog"  # the config of a table without one
READER = "galaxy_catalog"
# Fewer galaxies than this do not teach the usual network in its usual time: a
# small one in small batches, and more passes.
_FEW = 2000
FOR_FEW = {
  "model.name": "resnet18",
  "model.width": 16,
  "train.epochs": 40,
  "train.batch_size": 16,
  "train.learning_rate": 2e-3,
  "unlearn.batch_size": 16,
  "unlearn.forget_batch_size": 8,
}


def get_config(
  table: str | Path, images: str | Path | None
) -> ml_collections.ConfigDict:
  """The config of a table as it is; None: the images are in its folder."""
  config = config_files.load(CONFIG)
  use(config, "all", str(table), str(images) if images else None, None)
  return config


def find(arguments: Sequence[str], *, applies: bool = False) -> list[str]:
  """Those that are tables: files, or named so; and folders of galaxies.

  Any folder where a run `applies` to galaxies that need no labels. UserError
  for a folder whose files are damaged.
  """
  return [
    x
    for x in arguments
    if not x.startswith("-")
    and is_path(x)
    and (applies or _path(x).is_file() or not _is_other_folder(_path(x)))
  ]


def _is_other_folder(path: Path) -> bool:
  return path.is_dir() and recognise.reader_of(path) is None


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
  reads_tables = section == "predict" or "catalog" in _settings(data)
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
    _recognise(config)
  if images and section == "data" and "images" not in _settings(data):
    raise UserError(
      f"--images={images} is for tables, and {data.catalog} is read by "
      f"{data.builder}, which has its own images: leave it out."
    )
  if images and section == "predict" and not data.catalog:
    data.catalog = _existing(images)  # the folder alone will do
  elif images:
    data.images = str(_path(images))


def _settings(data: ml_collections.ConfigDict) -> dict[str, Any]:
  """Those of the reader that the config names."""
  is_known = data.builder in builders.READERS
  return builders.READERS.settings(data.builder) if is_known else {}


def _recognise(config: ml_collections.ConfigDict) -> None:
  """Takes the reader of what has its images inside, unless one was named."""
  data = config.data
  seen = recognise.look(_path(data.catalog)) if data.builder == READER else None
  if seen is None:
    return
  data.builder = seen.reader
  say(f"{data.catalog} is read by {seen.reader}: {seen.galaxies:,} galaxies")
  if not seen.has_labels:
    label_by_votes(config)
  fit(config, seen.galaxies)


def label_by_votes(config: ml_collections.ConfigDict) -> None:
  """Makes labels of votes where there are no others, unless somebody did."""
  if config.labels.kind == "column":
    config.labels.kind = "question"
    say("there is no column of labels: votes make them, labels.kind=question")


def fit(config: ml_collections.ConfigDict, galaxies: int) -> None:
  """Trains on few galaxies as suits them, unless somebody said how."""
  usual = config_files.load(CONFIG)
  said = any(checks.get(config, x) != checks.get(usual, x) for x in FOR_FEW)
  if said or galaxies >= _FEW:
    return
  config.update_from_flattened_dict(FOR_FEW)
  say(
    f"{galaxies:,} galaxies are few: a small network, "
    f"{config.model.name} of width {config.model.width}, "
    f"{config.train.epochs} passes in batches of {config.train.batch_size}; "
    "--config.model.name=NAME and so on say otherwise"
  )


def _path(text):
  return Path(text).expanduser().absolute()


def _existing(table):
  path = _path(table)
  if path.exists():
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
