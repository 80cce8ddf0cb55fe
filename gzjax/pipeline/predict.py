"""predict: galaxies without labels -> what a network says."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
import shutil

import ml_collections
import numpy as np
import pandas as pd
import pyarrow.parquet
from rich.table import Table
from rich.text import Text

from gzjax.data import unlabelled
from gzjax.data.galaxy_catalog import catalog, guess
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.data.unlabelled import Galaxies
from gzjax.errors import SettingError, UserError, naming
from gzjax.evaluation import metrics, questions, scoreboard, vote_tables
from gzjax.files import read_json, write_table, write_whole
from gzjax.morphology import trees
from gzjax.morphology.walks import walk, walk_lines
from gzjax.pipeline import embeddings, evaluate, predicted_parts, prepare
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say
from gzjax.registry import choose

_TABLES = ("predictions.parquet", "predictions.csv")
_RANKS = "prediction_ranks.csv"
_SCORES = "prediction_scores.csv"
_ZOOBOTS = "predictions_zoobot.csv"
_EACH, _PARTS = "predictions", "predictions_parts"
_FEATURES = "features"  # no name of a network
OUTPUTS = (*_TABLES, _RANKS, _SCORES, _ZOOBOTS, _EACH, _PARTS)

RECOMMENDED = "recommended"


def run(experiment: Experiment) -> None:
  """Writes predictions.parquet and .csv, and predictions/<method> of each row.

  And predictions_zoobot.csv, with the columns that Zoobot's have;
  prediction_scores.csv where the table has labels of galaxies that no network
  was trained on; prediction_ranks.csv where the network speaks of votes and the
  table has columns that are called like answers of its tree; with
  `predict.features` predictions/features. Images are cut out, reduced and
  normalised as those of the run, and turned as `evaluate.views` says.
  """
  config, place = experiment.config.predict, experiment.workdir
  names = _trained(experiment)
  chosen = _choose(experiment, names)
  galaxies = _galaxies(experiment)
  tables = (*names, *([_FEATURES] if config.features else ()))
  digests = {name: experiment.digest(name) for name in names}
  with prepare.listing_bad_images(experiment, "predict"):
    parts = predicted_parts.make(
      place / _PARTS,
      galaxies,
      tables,
      _asker(experiment, digests),
      size=experiment.config.data.size,
      crop=_crop(experiment),
      made_from={
        "networks": digests,
        "views": experiment.config.evaluate.views,
        "normalisation": experiment.normalisation,
      },
    )
  _join_each(place / _EACH, parts)
  for name in _TABLES:
    source = place / _EACH / f"{chosen}{Path(name).suffix}"
    write_whole(place / name, partial(shutil.copyfile, source))
  shutil.rmtree(parts.folder)
  label = _column(place, chosen, "label")
  lost = int(label.isna().sum())
  say(
    f"predicted {len(label):,} galaxies by {chosen}"
    + (f", of {lost:,} of which the network says no number" if lost else "")
    + f": {place / _TABLES[0]} and .csv; every network's in {place / _EACH}"
  )
  _score(experiment, galaxies, names)
  _write_zoobots(experiment)
  first = _first(place / _TABLES[0], config.shown)
  columns = [f"p_{name}" for name in experiment.classes]
  show("The first galaxies", first[["id_str", "label", *columns]])
  if experiment.target.learns == "votes":
    tree = experiment.target.tree
    walks = walk(tree, vote_tables.predictions_of(tree, first).shares)
    for galaxy, steps in zip(first["id_str"], walks, strict=True):
      say("\n  ".join([f"galaxy {galaxy}", *walk_lines(steps)]))
  _compare(experiment, galaxies.rows)


def _asker(
  experiment: Experiment, digests: Mapping[str, str]
) -> predicted_parts.Ask:
  """What the networks of these digests say of some galaxies, as tables."""
  networks = [experiment.network(name) for name in digests]
  wants_features = experiment.config.predict.features

  def ask(ids, image):
    tables = {}
    answers = experiment.ask(image, *networks)
    for (name, digest), found in zip(digests.items(), answers, strict=True):
      table = evaluate.predictions_table(ids, experiment.target, found)
      table = table.rename(columns={"predicted": "label"})
      # Without a label in a whole part the column would be of no type.
      table["label"] = table["label"].astype("string").astype(object)
      table.attrs["network"] = digest
      tables[name] = table
    if wants_features:
      seen = experiment.encoded(image)
      tables[_FEATURES] = embeddings.table(ids, seen)
    return tables

  return ask


def _join_each(folder: Path, parts: predicted_parts.Parts) -> None:
  """Writes <method>.parquet and .csv, and deletes those of other runs."""
  written = set()
  for name in parts.names:
    for ending in ("parquet", "csv"):
      path = folder / f"{name}.{ending}"
      predicted_parts.join(parts, name, path)
      written.add(path)
  for path in set(folder.iterdir()) - written:
    path.unlink()


def _first(path: Path, count: int) -> pd.DataFrame:
  """The first rows of a parquet file."""
  with pyarrow.parquet.ParquetFile(path) as file:
    return next(file.iter_batches(max(count, 1))).slice(0, count).to_pandas()


def _column(place: Workdir, method: str, name: str) -> pd.Series:
  """One column of what a network says of all galaxies."""
  path = place / _EACH / f"{method}.parquet"
  return pd.read_parquet(path, columns=[name])[name]


def _write_zoobots(experiment: Experiment) -> None:
  """The predictions as Zoobot writes its own: id_str and a column a label.

  Of classes their probabilities; of votes the concentrations of the Dirichlet
  laws, or of a network without those the shares.
  """
  place, target = experiment.workdir, experiment.target
  if target.learns != "votes":
    columns = {f"p_{name}": name for name in experiment.classes}
  else:
    law = "_concentration" if target.concentration else ""
    columns = {f"{name}{law}": name for name in target.tree.answers}

  def write(path):
    with pyarrow.parquet.ParquetFile(place / _TABLES[0]) as file:
      names = ["id_str", *columns]
      for number, batch in enumerate(file.iter_batches(columns=names)):
        table = batch.to_pandas()[names].rename(columns=columns)
        table.to_csv(path, mode="a", header=number == 0, index=False)

  write_whole(place / _ZOOBOTS, write)


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
  experiment: Experiment, galaxies: Galaxies, methods: Sequence[str]
) -> None:
  """How often each network says the galaxies' own label, where they have some.

  That is of the label column of a table, or the name of a folder. Galaxies that
  a network was trained on do not count.
  """
  path = experiment.workdir / _SCORES
  path.unlink(missing_ok=True)  # of another table
  rows = galaxies.rows
  columns = (experiment.config.data.label_column, "folder")
  column = next((x for x in columns if rows and x in rows.table), None)
  if rows is None or column is None:
    return
  names = rows.text(column)
  split = experiment.split
  trained = rows.ids.isin(split["id_str"][split["split"] == "train"])
  label = pd.Index(experiment.classes).get_indexer(pd.Index(names))
  scored = (label >= 0) & ~trained.to_numpy()
  if not scored.any():
    return
  k, found = len(experiment.classes), []
  for name in methods:
    given = _column(experiment.workdir, name, "label")
    said = pd.Index(experiment.classes).get_indexer(pd.Index(given))
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


def _galaxies(experiment: Experiment) -> Galaxies:
  """What is to be predicted, and where the images lie."""
  config, of_run = experiment.config.predict, experiment.config.data
  path, images = prepare.catalog_files(experiment, "predict")
  with naming("predict"):
    stretch = Stretch(
      config.fits_planes or of_run.fits_planes,
      of_run.fits_white,
      of_run.fits_softening,
      tuple(config.fits_extensions or of_run.fits_extensions),
    )
    if unlabelled.is_table(path):
      found = _rows(experiment, path, images, stretch)
    else:
      _refuse_settings_of_tables(config, path)
      found = unlabelled.find(
        path,
        stretch,
        config.id_column or guess.AUTO,
        skip_bad=_skips_bad(experiment),
      )
  for note in found.notes:
    say(f"note: {note}")
  return found


def _skips_bad(experiment: Experiment) -> bool:
  return experiment.config.predict.skip_bad or experiment.config.data.skip_bad


def _rows(
  experiment: Experiment, path: Path, images: Path, stretch: Stretch
) -> Galaxies:
  """The rows of a table."""
  config, of_run = experiment.config.predict, experiment.config.data
  where = guess.find_images(path, images, config, of_run)
  columns = catalog.Columns(
    id=where["id_column"],
    file=where["file_column"],
    file_prefix=where["file_prefix"],
    file_pattern=where["file_pattern"],
    crop=_crop_column(experiment),
  )
  rows = catalog.read_rows(path, columns)
  found = catalog.unlabelled(rows, images, columns, stretch)
  if _skips_bad(experiment):
    found = catalog.without_bad_images(found)
  return unlabelled.of_catalog(found, rows)


def _refuse_settings_of_tables(
  config: ml_collections.ConfigDict, path: Path
) -> None:
  """SettingError for what would be done for a table alone."""
  for key in ("images", "file_column", "file_pattern", "crop_column"):
    if config[key]:
      raise SettingError(
        f"{key} is {config[key]!r}: that is for a table, and {path} has its "
        "own images; leave it out."
      )


def _crop_column(experiment: Experiment) -> str:
  """Where each galaxy is cut out on its own; ""."""
  config = experiment.config.predict
  of_run = experiment.config.data.crop_column if config.crop < 0 else ""
  return config.crop_column or of_run


def _crop(experiment: Experiment) -> int:
  """Edge of the central crop, pixels of the files; 0: whole, or cut before."""
  crop = experiment.config.predict.crop
  if _crop_column(experiment):
    return 0
  return experiment.crop if crop < 0 else crop


def _compare(experiment: Experiment, rows: TableRows | None) -> None:
  """Ranks of the table's own votes beside those of the predicted shares."""
  path = experiment.workdir / _RANKS
  path.unlink(missing_ok=True)  # of another table
  if rows is None or experiment.target.learns != "votes":
    return
  columns = _votes_of(rows, experiment.target.tree.answers)
  if not columns:
    return
  shares = pd.read_parquet(
    experiment.workdir / _TABLES[0], columns=list(columns)
  )
  ranks = questions.rank_correlations(
    list(columns),
    np.stack([rows.numbers(name) for name in columns.values()], axis=1),
    shares.to_numpy(np.float64),
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
