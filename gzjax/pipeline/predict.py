"""predict: a table of galaxies without labels -> what a network says."""

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from gzjax.data import builders, dataset
from gzjax.data.galaxy_catalog import catalog
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import UserError, naming
from gzjax.evaluation import questions, scoreboard
from gzjax.files import write_table
from gzjax.morphology import trees
from gzjax.morphology.votes import Predictions
from gzjax.morphology.walks import walk, walk_lines
from gzjax.pipeline import evaluate, prepare
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say
from gzjax.registry import choose

_TABLES = ("predictions.parquet", "predictions.csv")
_RANKS = "prediction_ranks.csv"
OUTPUTS = (*_TABLES, _RANKS)


def run(experiment: Experiment) -> None:
  """Writes predictions.parquet, predictions.csv and prediction_ranks.csv.

  The last where the network speaks of votes and the table has columns that are
  called like answers of its tree. Images are cut out, reduced and normalised as
  those of the run, and turned as `evaluate.views` says.
  """
  config = experiment.config.predict
  _check_method(experiment)
  rows, data = _galaxies(experiment)
  network = experiment.network(config.method)
  (found,) = experiment.ask(data.image, network)
  table = evaluate.predictions_table(
    data.table["id_str"], experiment.target, found
  ).rename(columns={"predicted": "label"})
  for name in _TABLES:
    write_table(experiment.workdir / name, table)
  lost = int(table["label"].isna().sum())
  say(
    f"predicted {len(table):,} galaxies"
    + (f", of {lost:,} of which the network says no number" if lost else "")
    + f": {experiment.workdir / _TABLES[0]} and .csv"
  )
  first = table.head(config.shown)
  names = [f"p_{name}" for name in experiment.classes]
  _show("The first galaxies", first[["id_str", "label", *names]])
  if experiment.target.learns == "votes":
    walks = walk(found.votes.tree, found.votes.shares[: len(first)])
    for galaxy, steps in zip(first["id_str"], walks, strict=True):
      say("\n  ".join([f"galaxy {galaxy}", *walk_lines(steps)]))
  _compare(experiment, rows, found.votes)


def _check_method(experiment: Experiment) -> None:
  names = [
    x for x in experiment.names() if experiment.row(x).role != "baseline"
  ]
  method = experiment.config.predict.method
  if method not in names:
    raise UserError(f"predict.method is {method!r}: {choose(tuple(names))}.")


def _galaxies(experiment: Experiment) -> tuple[TableRows, dataset.Dataset]:
  """The rows of the table, and the galaxies in their order."""
  config, of_run = experiment.config.predict, experiment.config.data
  path, images = prepare.catalog_files(experiment, "predict")
  as_in_the_run = config.crop < 0
  columns = catalog.Columns(
    id=config.id_column or of_run.id_column,
    file=config.file_column or of_run.file_column,
    crop=config.crop_column or (of_run.crop_column if as_in_the_run else ""),
  )
  crop = experiment.crop if as_in_the_run else config.crop
  with naming("data"):
    stretch = Stretch(
      of_run.fits_planes, of_run.fits_white, of_run.fits_softening
    )
  with naming("predict"):
    rows = catalog.read_rows(path, columns)
    found = catalog.unlabelled(rows, images, columns, stretch)
  folder = dataset.prepare(
    builders.builder_of(found, path, experiment.data_dir)
  )
  data = dataset.load(
    folder, crop=0 if columns.crop else crop, size=of_run.size
  )
  for note in data.notes:
    say(f"note: {note}")
  return rows, data


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
  write_table(path, ranks)
  _show("Ranks beside the table's own votes", ranks)
  say(str(path))


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
    cells = zip(map(str, frame), row, strict=True)
    table.add_row(*(Text(scoreboard.cell(name, x)) for name, x in cells))
  # Ids may be long.
  evaluate.wide_console(2 * len(frame.columns)).print(table)
