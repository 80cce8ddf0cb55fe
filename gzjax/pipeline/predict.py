"""predict: a table of galaxies without labels -> what a network says of them.

The images are cut out, reduced and normalised as those of the run, and turned
as `evaluate.views` says.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from gzjax.data import builders, dataset
from gzjax.data.galaxy_catalog import catalog
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import UserError, naming
from gzjax.evaluation import questions
from gzjax.files import write_whole
from gzjax.morphology import trees
from gzjax.morphology.votes import Predictions
from gzjax.morphology.walks import walk, walk_lines
from gzjax.pipeline import evaluate, prepare
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say

_TABLE = "predictions"
_RANKS = "prediction_ranks.csv"
OUTPUTS = (f"{_TABLE}.parquet", f"{_TABLE}.csv", _RANKS)


def run(experiment: Experiment) -> None:
  """Writes predictions.parquet, predictions.csv and prediction_ranks.csv.

  The last where the network speaks of votes and the table has columns that are
  called like answers of its tree.
  """
  config = experiment.config.predict
  _check_method(experiment)
  rows, data = _galaxies(experiment)
  found = experiment.ask(config.method, experiment.feed_of(data.image, {}))
  table = evaluate.predictions_table(
    data.table["id_str"], experiment.target, found
  ).rename(columns={"predicted": "label"})
  _write(experiment, table)
  _show_galaxies(experiment, table.head(config.shown))
  if experiment.target.learns == "votes":
    _show_walks(table["id_str"].head(config.shown), found.votes)
  _compare(experiment, rows, found.votes)


def _check_method(experiment: Experiment) -> None:
  names = [
    name
    for name in experiment.names()
    if experiment.row(name).role != "baseline"
  ]
  method = experiment.config.predict.method
  if method not in names:
    raise UserError(
      f"predict.method is {method!r}: choose one of {', '.join(names)}."
    )


def _galaxies(experiment: Experiment) -> tuple[TableRows, dataset.Dataset]:
  """The rows of the table, and the galaxies in their order."""
  config = experiment.config
  path, images = prepare.catalog_files(experiment, "predict")
  columns = catalog.Columns(
    id=config.predict.id_column or config.data.id_column,
    file=config.predict.file_column or config.data.file_column,
    crop=_crop_column(experiment),
  )
  crop = 0 if columns.crop else _crop(experiment)
  stretch = prepare.stretch(experiment)
  with naming("predict"):
    rows = catalog.read_rows(path, columns)
    found = catalog.unlabelled(rows, images, columns, stretch)
  folder = dataset.prepare(
    builders.builder_of(found, path, experiment.data_dir)
  )
  data = dataset.load(folder, crop=crop, size=config.data.size)
  for note in data.notes:
    say(f"note: {note}")
  return rows, data


def _crop_column(experiment: Experiment) -> str:
  """The column of each galaxy's own edge: as in the run, but for one edge."""
  config = experiment.config.predict
  as_in_the_run = experiment.config.data.crop_column
  return config.crop_column or (as_in_the_run if config.crop < 0 else "")


def _crop(experiment: Experiment) -> int:
  """Edge of the central crop, the same for all."""
  given = experiment.config.predict.crop
  return given if given >= 0 else experiment.crop


def _write(experiment: Experiment, table: pd.DataFrame) -> None:
  writers: dict[str, Callable[[Path], None]] = {
    "parquet": lambda part: table.to_parquet(part, index=False),
    "csv": lambda part: table.to_csv(part, index=False),
  }
  place = experiment.workdir / _TABLE
  for ending, write in writers.items():
    write_whole(place.with_suffix(f".{ending}"), write)
  lost = int(table["label"].isna().sum())
  say(
    f"predicted {len(table):,} galaxies"
    + (f", of {lost:,} of which the network says no number" if lost else "")
    + f": {place}.parquet and .csv"
  )


def _show_galaxies(experiment: Experiment, table: pd.DataFrame) -> None:
  names = [f"p_{name}" for name in experiment.classes]
  _show("The first galaxies", table[["id_str", "label", *names]])


def _show_walks(ids: pd.Series, votes: Predictions) -> None:
  """Prints the ways of the first galaxies through the tree."""
  walks = walk(votes.tree, votes.shares[: len(ids)])
  for galaxy, steps in zip(ids, walks, strict=True):
    say(f"galaxy {galaxy}")
    for line in walk_lines(steps):
      say(f"  {line}")


def _compare(
  experiment: Experiment, rows: TableRows, found: Predictions
) -> None:
  """Ranks of the table's own votes beside those of the predicted shares."""
  path = experiment.workdir / _RANKS
  path.unlink(missing_ok=True)  # of another table
  columns = _votes_of(rows, found.tree.answers)
  if not columns:
    return
  places = [found.tree.index(answer) for answer in columns]
  ranks = questions.rank_correlations(
    list(columns),
    np.stack([rows.numbers(name) for name in columns.values()], axis=1),
    found.shares[:, places],
    experiment.config.seed,
  )
  write_whole(path, lambda part: ranks.to_csv(part, index=False))
  _show("Ranks beside the table's own votes", ranks)
  say(f"{path}")


def _votes_of(rows, answers):
  """Answer -> the column that has its votes, where there is one."""
  found = {}
  for ending in ("", "_fraction"):  # the latter where there are both
    wanted = [answer + ending for answer in answers]
    columns = trees.find_columns(wanted, rows.table.columns)
    found |= {a: name for a, name in zip(answers, columns) if name is not None}
  return found


def _show(title: str, frame: pd.DataFrame) -> None:
  """Prints a table, if it has rows."""
  if frame.empty:
    return
  table = Table(title=title, title_justify="left")
  for name in frame:
    numeric = pd.api.types.is_numeric_dtype(frame[name])
    table.add_column(
      Text(str(name)), justify="right" if numeric else "left", no_wrap=True
    )
  for row in frame.itertuples(index=False):
    table.add_row(*(Text(_cell(value)) for value in row))
  # Ids may be long.
  evaluate.wide_console(2 * len(frame.columns)).print(table)


def _cell(value: object) -> str:
  if value is None or value != value:  # NaN
    return ""
  return f"{value:.3f}" if isinstance(value, float) else str(value)
