"""evaluate: every network on every galaxy -> predictions and scoreboard."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console

from gzjax.evaluation import (
  baselines,
  descriptions,
  metrics,
  scoreboard,
  uncertain,
  vote_tables,
)
from gzjax.evaluation.compare import ask_all, score
from gzjax.files import read_json, write_json, write_whole
from gzjax.objectives import targets
from gzjax.objectives.targets import Prediction
from gzjax.pipeline import galaxies as all_galaxies
from gzjax.pipeline import labels_and_flips
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.unlearning.relearn import Relearn

Said = Mapping[str, Prediction]


def run(experiment: Experiment) -> None:
  """Writes evaluate/<method>.parquet and the scoreboard as CSV and JSON."""
  config, problem = experiment.config.evaluate, experiment.problem
  networks = [experiment.network(name) for name in experiment.names()]
  said = ask_all(problem, networks, config.views)
  rows = score(problem, networks, said=said)
  if config.relearn_epochs:
    relearn = Relearn(
      problem,
      next(x for x in networks if x.role == "original"),
      config.relearn_epochs,
      config.relearn_learning_rate,
    )
    for row, network in zip(rows, networks, strict=True):
      row |= relearn.steps(network)
  for name, found in said.items():
    _write_predictions(experiment, name, found)
  write_scoreboard(Workdir(experiment.results), rows)
  of_methods = {x.name: said[x.name] for x in networks if x.role != "baseline"}
  for study in STUDIES:
    if study.applies(experiment):
      study.write(experiment, said, of_methods)


def _write_vote_tables(
  experiment: Experiment, said: Said, of_methods: Said
) -> None:
  """Writes the tables about votes to evaluate/votes/."""
  del said
  size, problem = experiment.config.data.size, experiment.problem
  # As much of the sky as the challenge's square of its files of 424 pixels.
  centre = baselines.CENTRE * size / (experiment.crop or 424)
  tables = vote_tables.vote_tables(
    experiment.votes,
    {name: found.votes for name, found in of_methods.items()},
    baselines.central_colour(experiment.dataset.image, max(round(centre), 1)),
    train=problem.sets.train,
    test=problem.sets.test,
    seed=problem.seed,
  )
  _write_tables(experiment.place("evaluate") / "votes", tables)


def _write_tables(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
  folder.mkdir(exist_ok=True)
  for name, table in tables.items():
    write_whole(
      folder / f"{name}.csv",
      lambda part, table=table: table.to_csv(part, index=False),
    )


def _write_question_tables(
  experiment: Experiment, said: Said, of_methods: Said
) -> None:
  """Writes the tables about questions and labels to evaluate/labels/."""
  del of_methods
  sets = experiment.problem.sets
  tables = vote_tables.question_tables(
    experiment.votes, said, validation=sets.validation, test=sets.test
  )
  _write_tables(experiment.place("evaluate") / "labels", tables)


def _write_uncertain(
  experiment: Experiment, said: Said, of_methods: Said
) -> None:
  """Writes evaluate/uncertain.json, of all galaxies of the validation set."""
  del said
  config = experiment.config
  galaxies = all_galaxies.of_splits(
    experiment, ("validation",), config.labels.min_votes
  )
  if galaxies is None:
    return
  data, _ = galaxies
  feed = experiment.feed_of(data.image, {})
  probabilities = {
    name: experiment.ask(name, feed).probabilities for name in of_methods
  }
  label = labels_and_flips.find_labels(config, data).label
  below = config.evaluate.uncertain_below
  write_json(
    experiment.place("evaluate") / "uncertain.json",
    {
      "below": below,
      "methods": uncertain.compare_confusions(label, probabilities, below),
    },
  )


def _write_descriptions(
  experiment: Experiment, said: Said, of_methods: Said
) -> None:
  """Writes evaluate/cards.json: random validation galaxies, in words."""
  del said
  original = next(iter(of_methods.values()))  # it stands first
  members = experiment.sets.validation
  rng = np.random.default_rng(experiment.config.seed)
  rows = rng.permutation(members)[: experiment.config.report.gallery].tolist()
  lines = descriptions.describe(
    experiment.target,
    original,
    rows,
    below=experiment.config.evaluate.uncertain_below,
    shares=labels_and_flips.find_labels(
      experiment.config, experiment.dataset
    ).shares,
    votes=experiment.dataset.votes,
    validation=members,
  )
  write_json(
    experiment.place("evaluate") / "cards.json",
    [
      {"row": row, "lines": words}
      for row, words in zip(rows, lines, strict=True)
    ],
  )


class Study(NamedTuple):
  """More than the scoreboard: for which runs, and what writes it."""

  applies: Callable[[Experiment], bool]
  # (experiment, what all networks say, the same without the constant one)
  write: Callable[[Experiment, Said, Said], None]


STUDIES = (
  Study(lambda e: e.target.expects_fractions, _write_vote_tables),
  Study(lambda e: e.target.learns == "votes", _write_question_tables),
  Study(lambda e: e.config.evaluate.uncertain_below > 0, _write_uncertain),
  Study(lambda e: True, _write_descriptions),
)


def write_scoreboard(place: Workdir, rows: list[dict[str, Any]]) -> None:
  """Writes scoreboard.json and scoreboard.csv."""
  frame = scoreboard.to_frame(rows)
  write_json(place / "scoreboard.json", rows)
  write_whole(
    place / "scoreboard.csv", lambda part: frame.to_csv(part, index=False)
  )


def show(workdir: Workdir) -> None:
  """Prints the scoreboard of a finished run."""
  show_with(scoreboard.show, workdir)


def show_with(
  show_rows: Callable[[list[dict[str, Any]], Console], None], workdir: Workdir
) -> None:
  """Prints a scoreboard in a way of `scoreboard`, and where the report lies."""
  rows = read_json(workdir / "scoreboard.json")
  console = wide_console(len(scoreboard.columns(rows)))
  show_rows(rows, console)
  report = workdir / "report.html"
  if report.exists():
    console.print(f"Report: {report}")


def wide_console(columns: int) -> Console:
  """Standard output; where it is no terminal, no table is too wide for it."""
  console = Console()
  return console if console.is_terminal else Console(width=13 * columns)


def predictions_table(
  ids: pd.Series, target: targets.Target, found: Prediction
) -> pd.DataFrame:
  """What a network says about N galaxies, a row each.

  Args:
    ids: str[N].
    target: of the network.
    found: on the N galaxies.

  Returns:
    `id_str`, `predicted` (the most probable class; None where the network says
    no number), `p_<class>` and, for networks of votes, the columns of
    `vote_tables.predictions_table`; numbers are f32.
  """
  classes = target.classes
  names = [f"p_{label}" for label in classes]
  table = pd.DataFrame(found.probabilities, columns=names)
  if target.learns == "votes":
    table = table.join(vote_tables.predictions_table(found.votes))
  table = table.astype(np.float32)
  labels = np.asarray([*classes, None], object)
  predicted = labels[metrics.predicted_class(found.probabilities)]
  table.insert(0, "id_str", ids)
  table.insert(1, "predicted", predicted)
  return table


def _write_predictions(
  experiment: Experiment, name: str, found: Prediction
) -> None:
  table = predictions_table(
    experiment.split["id_str"], experiment.target, found
  )
  folder = experiment.place("evaluate")
  folder.mkdir(exist_ok=True)
  write_whole(
    folder / f"{name}.parquet",
    lambda part: table.to_parquet(part, index=False),
  )
