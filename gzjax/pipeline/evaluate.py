"""evaluate: every network on every galaxy -> predictions and scoreboard."""

from collections.abc import Callable
from pathlib import Path
import tempfile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console

from gzjax.evaluation import (
  baselines,
  descriptions,
  metrics,
  paper_tables,
  scoreboard,
  uncertain,
  vote_tables,
)
from gzjax.evaluation.compare import COMPARED_WITH, Scorer, finished
from gzjax.evaluation.recommend import recommend
from gzjax.files import read_json, write_json, write_table, write_text
from gzjax.objectives import targets
from gzjax.objectives.targets import Prediction
from gzjax.pipeline import labels_and_flips
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.said import Said
from gzjax.pipeline.workdir import Workdir
from gzjax.unlearning.relearn import Relearn

CHOICE = "recommendation.json"  # which network to use, and why


def run(experiment: Experiment) -> None:
  """Writes evaluate/<method>.parquet and the scoreboard as CSV and JSON.

  Memory holds one network and what it says, beside those that it is compared
  with, however many methods there are.
  """
  problem, folder = experiment.problem, experiment.results / "evaluate"
  folder.mkdir(parents=True, exist_ok=True)
  # It has no name: nothing is left of it where the run is killed.
  with tempfile.TemporaryFile(dir=folder) as file:
    views = experiment.config.evaluate.views
    said = Said(problem, experiment.names(), file, views)
    rows = _rows(experiment, said)
    write_scoreboard(experiment.results, rows)
    found = recommend(problem, rows, said)
    write_json(folder / CHOICE, found._asdict())
    for study in STUDIES:
      if study.applies(experiment):
        study.write(experiment, said)


def _rows(experiment: Experiment, said: Said) -> list[dict[str, Any]]:
  """Asks every network, writes what it says, and scores it."""
  config, problem = experiment.config.evaluate, experiment.problem
  by_role = {experiment.row(x).role: x for x in reversed(experiment.names())}
  held = {
    role: experiment.network(by_role[role])
    for role in COMPARED_WITH
    if role in by_role
  }
  scorer = Scorer(
    problem,
    {role: said.ask(network) for role, network in held.items()},
    views=config.views,
  )
  relearn = config.relearn_epochs and Relearn(
    problem,
    held["original"],
    config.relearn_epochs,
    config.relearn_learning_rate,
  )
  rows, more = [], []
  for name in experiment.names():
    network, digest = experiment.network(name), experiment.digest(name)
    found = said.ask(network)
    rows.append(scorer.row(network, found))
    own = relearn.steps(network) if relearn else {}
    more.append({**own, "network": digest})
    ids = experiment.split["id_str"]
    table = predictions_table(ids, experiment.target, found)
    table.attrs["network"] = digest
    write_table(experiment.results / "evaluate" / f"{name}.parquet", table)
  return [x | own for x, own in zip(finished(rows), more, strict=True)]


def _of_methods(experiment: Experiment, said: Said) -> list[str]:
  """The networks that have been asked, without baselines."""
  return [x for x in said if experiment.row(x).role != "baseline"]


def _write_vote_tables(experiment: Experiment, said: Said) -> None:
  """Writes evaluate/votes/<table>.csv: how near the votes of volunteers."""
  size, problem = experiment.config.data.size, experiment.problem
  # As much of the sky as the challenge's square of its files of 424 pixels.
  centre = baselines.CENTRE * size / (experiment.crop or 424)
  tables = vote_tables.vote_tables(
    experiment.votes,
    ((name, said[name].votes) for name in _of_methods(experiment, said)),
    baselines.central_colour(experiment.dataset.image, max(round(centre), 1)),
    train=problem.sets.train,
    test=problem.sets.test,
    seed=problem.seed,
  )
  _write_tables(experiment, "votes", tables)


def _write_question_tables(experiment: Experiment, said: Said) -> None:
  """Writes evaluate/labels/<table>.csv: questions and their labels."""
  sets = experiment.problem.sets
  tables = vote_tables.question_tables(
    experiment.votes, said, validation=sets.validation, test=sets.test
  )
  _write_tables(experiment, "labels", tables)


def _write_tables(
  experiment: Experiment, about: str, tables: dict[str, pd.DataFrame]
) -> None:
  for name, table in tables.items():
    folder = experiment.results / "evaluate" / about
    write_table(folder / f"{name}.csv", table)


def _write_uncertain(experiment: Experiment, said: Said) -> None:
  """Writes evaluate/uncertain.json, of all galaxies of the validation set."""
  config = experiment.config
  found = experiment.of_splits(("validation",), config.labels.min_votes)
  if found is None:
    return
  data, _ = found
  label = labels_and_flips.find_labels(config, data).label
  below = config.evaluate.uncertain_below

  def confusion(name):
    (answer,) = experiment.ask(data.image, experiment.network(name))
    return uncertain.compare_confusion(label, answer.probabilities, below)

  write_json(
    experiment.results / "evaluate" / "uncertain.json",
    {
      "below": below,
      "methods": {x: confusion(x) for x in _of_methods(experiment, said)},
    },
  )


def _write_descriptions(experiment: Experiment, said: Said) -> None:
  """Writes evaluate/cards.json: random validation galaxies, in words."""
  config, data = experiment.config, experiment.dataset
  members = experiment.sets.validation
  rng = np.random.default_rng(config.seed)
  rows = rng.permutation(members)[: config.report.gallery].tolist()
  lines = descriptions.describe(
    experiment.target,
    said["original"],
    rows,
    below=config.evaluate.uncertain_below,
    shares=labels_and_flips.find_labels(config, data).shares,
    votes=data.votes,
    validation=members,
  )
  write_json(
    experiment.results / "evaluate" / "cards.json",
    [
      {"row": row, "lines": words}
      for row, words in zip(rows, lines, strict=True)
    ],
  )


class Study(NamedTuple):
  """What the evaluate stage writes besides the scoreboard."""

  applies: Callable[[Experiment], bool]
  write: Callable[[Experiment, Said], None]


STUDIES = (
  Study(lambda e: e.target.expects_fractions, _write_vote_tables),
  Study(lambda e: e.target.learns == "votes", _write_question_tables),
  Study(lambda e: e.config.evaluate.uncertain_below > 0, _write_uncertain),
  Study(lambda e: True, _write_descriptions),
)


def write_scoreboard(place: Path, rows: list[dict[str, Any]]) -> None:
  """Writes scoreboard.json, .csv and, for a paper, .md and .tex."""
  write_json(place / "scoreboard.json", rows)
  write_table(place / "scoreboard.csv", scoreboard.to_frame(rows))
  write_text(place / "scoreboard.md", paper_tables.markdown(rows))
  write_text(place / "scoreboard.tex", paper_tables.latex(rows))


def show(
  workdir: Workdir, show_rows: Callable[..., None] = scoreboard.show
) -> None:
  """Prints the scoreboard of a finished run, and where the report lies."""
  rows = read_json(workdir / "scoreboard.json")
  console = wide_console(len(scoreboard.terminal_columns(rows)))
  show_rows(rows, console)
  choice = read_json(workdir / "evaluate" / CHOICE)
  if choice:
    console.print(choice["sentence"])
  report = workdir / "report.html"
  if report.exists():
    console.print(f"Report: {report}")


def wide_console(columns: int) -> Console:
  """Standard output; where it is no terminal, no table is too wide for it."""
  console = Console()
  return console if console.is_terminal else Console(width=16 * columns)


def predictions_table(
  ids: pd.Series, target: targets.Target, found: Prediction
) -> pd.DataFrame:
  """What a network says about N galaxies, a row each.

  Columns are `id_str`, `predicted` (the most probable class; None where the
  network says no number), `p_<class>` and, for networks of votes, those of
  `vote_tables.predictions_table`; numbers are f32.
  """
  names = [f"p_{label}" for label in target.classes]
  table = pd.DataFrame(found.probabilities, columns=names)
  if target.learns == "votes":
    table = table.join(vote_tables.predictions_table(found.votes))
  table = table.astype(np.float32)
  labels = np.asarray([*target.classes, None], object)
  predicted = metrics.predicted_class(found.probabilities)
  table.insert(0, "id_str", ids)
  table.insert(1, "predicted", labels[predicted])
  return table
