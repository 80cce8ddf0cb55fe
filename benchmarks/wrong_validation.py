"""What wrong labels of the validation set do to the rules that steer methods.

    python -m benchmarks.wrong_validation --runs=runs/seeds/seed_0,runs/real \
      --methods=negative_learning,simnpo --out=wrong_validation.csv

Where a catalogue is a person's own nobody knows which validation labels are
wrong, and the stop rule, `rewind`, the search and the verdict read them. Of
each run that has its original network the methods are run anew, at the run's
settings, with a share of the validation labels flipped (--wrong, one class into
any other, drawn --draws times) and with none of them: printed is what the
network that stands is worth on test rows, by right labels, and how often the
original was put in its place.

How often the labels to forget are to be given after all is estimated from the
accuracy on validation; with --audited it is the number that right labels give,
as an audit's networks, which never saw the labels, do not ask validation.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks import report
from gzjax.errors import UserError
from gzjax.evaluation import metrics
from gzjax.pipeline import remembered, unlearn
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.problem import Network, Problem, probabilities
from gzjax.unlearning import diagnosis, driver


def with_wrong_validation(problem: Problem, share: float, draw: int) -> Problem:
  """The problem, had a share of the labels of validation been flipped."""
  rows = problem.sets.validation
  rng = np.random.default_rng([problem.seed, draw])
  wrong = rng.permutation(rows)[: round(share * len(rows))]
  classes = len(problem.target.classes)
  label = problem.true.copy()
  label[wrong] = (label[wrong] + rng.integers(1, classes, len(wrong))) % classes
  true = {**problem.columns.true, "label": label}
  return problem._replace(columns=problem.columns._replace(true=true))


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
  """A row for each run, method and draw."""
  for folder in options.runs:
    found = remembered.read(folder / "config.json")
    if found is None:
      raise UserError(f"{folder} has no config.json: give folders of runs.")
    experiment = Experiment(found[0], Workdir(folder))
    problem, original = experiment.problem, experiment.network("original")
    before = _balanced_accuracy(problem, original)
    right = diagnosis.make_goal(problem, original)
    how = {
      "fisher_of": unlearn.fisher_of(experiment),
      "least_learned": experiment.config.unlearn.least_learned,
    }
    for draw in range(options.draws + 1):
      share = options.wrong if draw else 0.0
      seen = with_wrong_validation(problem, share, draw)
      goal = diagnosis.make_goal(seen, original)
      if options.audited:
        goal = goal._replace(target=right.target)
      for name in options.methods:
        settings = experiment.config.unlearn[name].to_dict()
        row = experiment.row(settings.pop("method", name))
        network = driver.run(seen, row, original, goal=goal, **how, **settings)
        yield {
          "run": folder.name,
          "method": name,
          "wrong": share,
          "draw": draw,
          "verdict": network.report["verdict"],
          "original_balanced_accuracy": before,
          **_worth(problem, network),
        }


def _balanced_accuracy(problem: Problem, network: Network) -> float:
  """On the test set."""
  test, classes = problem.sets.test, len(problem.target.classes)
  said = metrics.predicted_class(probabilities(problem, network, test))
  return metrics.balanced_accuracy(problem.true[test], said, classes)


def _worth(problem: Problem, network: Network) -> dict[str, Any]:
  wrong, report = problem.wrong, network.report or {}
  said = metrics.predicted_class(probabilities(problem, network, wrong))
  return {
    "test_balanced_accuracy": _balanced_accuracy(problem, network),
    "corrected_accuracy": metrics.accuracy(problem.true[wrong], said),
    "original_stands": report["moved_over_weights"] == 0,
  }


# Headings of the columns.
_SHOWN = {
  "balanced": "test_balanced_accuracy",
  "corrected": "corrected_accuracy",
  "original stands": "original_stands",
}


def show(table: pd.DataFrame, console: Console) -> None:
  """Prints means over runs and draws, by method and share."""
  found = Table("method", "wrong", "networks", *_SHOWN)
  for (method, wrong), part in table.groupby(["method", "wrong"], sort=False):
    means = (f"{part[name].mean():.3f}" for name in _SHOWN.values())
    found.add_row(str(method), f"{wrong:g}", str(len(part)), *means)
  console.print(found)


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs what is asked for, prints it and writes --out."""
  parser = report.parser(__doc__, "a row for each run, method and draw")
  parser.add_argument(
    "--runs",
    type=lambda text: [Path(part) for part in text.split(",")],
    required=True,
  )
  parser.add_argument(
    "--methods",
    type=lambda text: text.split(","),
    default=["finetune", "negative_learning", "simnpo", "scrub", "relabel"],
  )
  parser.add_argument("--wrong", type=float, default=0.1)
  parser.add_argument("--draws", type=int, default=3)
  parser.add_argument("--audited", action="store_true")
  options = parser.parse_args(arguments)
  report.end(
    lambda: pd.DataFrame(measure(options)),
    partial(show, console=Console()),
    options.out,
  )


if __name__ == "__main__":
  main()
