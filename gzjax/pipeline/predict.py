"""predict: a table of galaxies without labels -> what a network says."""

from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from gzjax.data import builders, dataset
from gzjax.data.galaxy_catalog import catalog, guess
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import UserError, naming
from gzjax.evaluation import metrics, questions, scoreboard
from gzjax.files import read_json, write_table
from gzjax.morphology import trees
from gzjax.morphology.votes import Predictions
from gzjax.morphology.walks import walk, walk_lines
from gzjax.pipeline import evaluate, prepare
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say
from gzjax.registry import choose

_TABLES = ("predictions.parquet", "predictions.csv")
_RANKS = "prediction_ranks.csv"
_SCORES = "prediction_scores.csv"
OUTPUTS = (*_TABLES, _RANKS, _SCORES, "predictions")

RECOMMENDED = "recommended"


def run(experiment: Experiment) -> None:
  """Writes predictions.parquet and .csv, and predictions/<method> of each row.

  And prediction_scores.csv where the table has labels of galaxies that no
  network was trained on; prediction_ranks.csv where the network speaks of votes
  and the table has columns that are called like answers of its tree. Images are
  cut out, reduced and normalised as those of the run, and turned as
  `evaluate.views` says.
  """
  config, place = experiment.config.predict, experiment.workdir
  names = _trained(experiment)
  chosen = _choose(experiment, names)
  rows, data = _galaxies(experiment)
  answers = experiment.ask(data.image, *map(experiment.network, names))
  said = dict(zip(names, answers, strict=True))
  tables = {
    name: evaluate.predictions_table(
      data.table["id_str"], experiment.target, found
    ).rename(columns={"predicted": "label"})
    for name, found in said.items()
  }
  for name, found in tables.items():
    found.attrs["network"] = experiment.digest(name)
  _write_each(place / "predictions", tables)
  table, found = tables[chosen], said[chosen]
  for name in _TABLES:
    write_table(place / name, table)
  lost = int(table["label"].isna().sum())
  say(
    f"predicted {len(table):,} galaxies by {chosen}"
    + (f", of {lost:,} of which the network says no number" if lost else "")
    + f": {place / _TABLES[0]} and .csv; every network's in "
    f"{place / 'predictions'}"
  )
  _score(experiment, rows, tables)
  first = table.head(config.shown)
  names = [f"p_{name}" for name in experiment.classes]
  show("The first galaxies", first[["id_str", "label", *names]])
  if experiment.target.learns == "votes":
    walks = walk(found.votes.tree, found.votes.shares[: len(first)])
    for galaxy, steps in zip(first["id_str"], walks, strict=True):
      say("\n  ".join([f"galaxy {galaxy}", *walk_lines(steps)]))
  _compare(experiment, rows, found.votes)


def _write_each(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
  """Writes <method>.parquet and .csv, and deletes those of other runs."""
  written = set()
  for name, table in tables.items():
    for ending in ("parquet", "csv"):
      path = folder / f"{name}.{ending}"
      write_table(path, table)
      written.add(path)
  for path in set(folder.iterdir()) - written:
    path.unlink()


def _trained(experiment: Experiment) -> list[str]:
  """The networks that are finished: those of a run that is half done, too."""
  names = experiment.names()
  return [
    name
    for name in names
    if experiment.row(name).role != "baseline" and experiment.is_made(name)
  ]


def _choose(experiment: Experiment, names: list[str]) -> str:
  """The network that answers; UserError for one that there is not."""
  method = experiment.config.predict.method
  if method in names:
    return method
  if method != RECOMMENDED:
    raise UserError(
      f"predict.method is {method!r}: {choose((RECOMMENDED, *names))}."
    )
  choice = read_json(experiment.workdir / "evaluate" / evaluate.CHOICE)
  if choice and choice["method"] in names:
    say(choice["sentence"])
    return choice["method"]
  say("no network has been verified yet: the original answers")
  return "original"


def _score(
  experiment: Experiment, rows: TableRows, tables: dict[str, pd.DataFrame]
) -> None:
  """How often each network says the table's own label, where it has some.

  Galaxies that a network was trained on do not count.
  """
  path = experiment.workdir / _SCORES
  path.unlink(missing_ok=True)  # of another table
  column = experiment.config.data.label_column
  if column not in rows.table:
    return
  names = rows.text(column)
  split = experiment.split
  trained = rows.ids.isin(split["id_str"][split["split"] == "train"])
  label = pd.Index(experiment.classes).get_indexer(pd.Index(names))
  scored = (label >= 0) & ~trained.to_numpy()
  if not scored.any():
    return
  k, found = len(experiment.classes), []
  for name, table in tables.items():
    said = pd.Index(experiment.classes).get_indexer(pd.Index(table["label"]))
    of_scored = label[scored], said[scored]
    found.append(
      {
        "method": name,
        "galaxies": int(scored.sum()),
        "accuracy": metrics.accuracy(*of_scored),
        "balanced_accuracy": metrics.balanced_accuracy(*of_scored, k),
        "macro_f1": metrics.macro_f1(*of_scored, k),
      }
    )
  scores = pd.DataFrame(found)
  write_table(path, scores)
  show(f"Beside the table's own {column!r}, where no network learned", scores)


def _galaxies(experiment: Experiment) -> tuple[TableRows, dataset.Dataset]:
  """The rows of the table, and the galaxies in their order."""
  config, of_run = experiment.config.predict, experiment.config.data
  path, images = prepare.catalog_files(experiment, "predict")
  as_in_the_run = config.crop < 0
  crop = experiment.crop if as_in_the_run else config.crop
  with naming("data"):
    stretch = Stretch(
      of_run.fits_planes, of_run.fits_white, of_run.fits_softening
    )
  with naming("predict"):
    where = guess.find_images(path, images, config, of_run)
    columns = catalog.Columns(
      id=where["id_column"],
      file=where["file_column"],
      file_prefix=where["file_prefix"],
      file_pattern=where["file_pattern"],
      crop=config.crop_column or (of_run.crop_column if as_in_the_run else ""),
    )
    rows = catalog.read_rows(path, columns)
    found = catalog.unlabelled(rows, images, columns, stretch)
  if of_run.skip_bad:
    found = catalog.without_bad_images(found)
  folder = prepare.record(
    experiment, builders.builder_of(found, path, experiment.data_dir)
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
  show("Ranks beside the table's own votes", ranks)
  say(str(path))


def _votes_of(rows, answers):
  """Answer -> the column that has its votes, where there is one."""
  found = {}
  for ending in ("", "_fraction"):  # the latter where there are both
    wanted = [answer + ending for answer in answers]
    columns = trees.find_columns(wanted, rows.table.columns)
    found |= {a: name for a, name in zip(answers, columns) if name is not None}
  return found


def show(title: str, frame: pd.DataFrame) -> None:
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
