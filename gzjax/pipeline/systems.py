"""Several systems: a whole run each, then all of them on the same galaxies."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import pandas as pd

from gzjax import report
from gzjax.data import dataset
from gzjax.data.galaxy_catalog import guess
from gzjax.errors import UserError
from gzjax.evaluation import (
  descriptions,
  intervals,
  label_scores,
  metrics,
  questions,
  scoreboard,
  uncertain,
  vote_tables,
)
from gzjax.files import read_json, write_json, write_table
from gzjax.morphology import labels, walks
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Votes
from gzjax.objectives import targets
from gzjax.pipeline import evaluate
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say

# As trained, on partly wrong labels; and without those that are wrong.
_METHODS = ("original", "retrain")


class Galaxies(NamedTuple):
  """The N galaxies of validation and test on which systems are compared."""

  data: dataset.Dataset
  votes: Votes
  four: labels.Labels  # by the scheme `four`; uncertain ones have no label
  validation: np.ndarray  # rows, i64[n]
  test: np.ndarray  # rows, i64[m]

  def were_asked(self, tree: Tree) -> bool:
    """Whether volunteers answered the questions of a tree."""
    return set(tree.answers) <= set(self.votes.tree.answers)

  @property
  def confident(self) -> np.ndarray:
    """Rows of the test galaxies that volunteers agree on."""
    return np.intersect1d(self.test, self.four.kept)


def check(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for systems that are not there or cannot be compared."""
  unknown = set(config.compared) - set(config.systems)
  if unknown or not config.compared:
    raise UserError(
      f"compared is {tuple(config.compared)}: choose of "
      f"{', '.join(config.systems)}."
    )
  for name in config.compared:
    system = config.systems[name]
    named = system.data.split_column not in ("", guess.AUTO)
    if (
      system.data.split_by != "id" and not named
    ) or system.labels.kind == "column":
      raise UserError(
        "systems are compared by votes, on galaxies that have the same split "
        f"in all of them: {name} needs data.split_by=id and a labels.kind other"
        " than column."
      )
    if system.target.kind == "classes" and system.labels.kind != "four":
      raise UserError(
        f"{name} has labels.kind={system.labels.kind}: systems of classes are "
        "compared by those of labels.kind=four."
      )
    if "retrain" not in system.unlearn.methods:
      raise UserError(
        f"{name} is not retrained without its wrong labels: add retrain to "
        f"systems.{name}.unlearn.methods."
      )


def run(
  config: ml_collections.ConfigDict,
  place: Workdir,
  run_one: Callable[[ml_collections.ConfigDict, Workdir], None],
  *,
  compares: bool,
) -> None:
  """Runs every system in a folder of its name, then `compares` them."""
  experiments = {}
  for name in config.compared:
    say(f"system {name}")
    one = config.systems[name].copy_and_resolve_references()
    folder = Workdir(place / name)
    run_one(one, folder)
    experiments[name] = Experiment(one, folder)
    # Each system compiles its own programs; a process may map only so many.
    jax.clear_caches()
  scoreboards = (place / name / "scoreboard.json" for name in experiments)
  if compares and all(file.exists() for file in scoreboards):
    compare(config, place, experiments)


def compare(
  config: ml_collections.ConfigDict,
  place: Workdir,
  experiments: Mapping[str, Experiment],
) -> None:
  """Writes systems.csv, systems.json and report.html, and prints the table."""
  first = next(iter(experiments.values()))
  galaxies = _galaxies(first, config.min_votes)
  rows, said = [], {}
  for name, experiment in experiments.items():
    networks = [experiment.network(method) for method in _METHODS]
    answers = experiment.ask(galaxies.data.image, *networks)
    for network, found in zip(networks, answers, strict=True):
      said[name, network.name] = found
      rows.append(
        {
          "system": name,
          "method": network.name,
          "parameters": sum(x.size for x in jax.tree.leaves(network.params)),
          "train_seconds": network.cost.wall_seconds,
          **score(found, galaxies),
        }
      )
  write_json(
    place / "systems.json",
    {
      "galaxies": len(galaxies.test),
      "confident": len(galaxies.confident),
      "rows": rows,
      "differences": _differences(said, galaxies),
      "published": config.published.to_dict(),
      "config": read_json(first.workdir / "config.json"),
    },
  )
  write_table(place / "systems.csv", summary(rows))
  originals = {name: said[name, "original"] for name in experiments}
  report.systems_page.write(
    place.root,
    confusions=_confusions(experiments, originals, galaxies),
    cards=_cards(experiments, originals, galaxies, config.gallery),
    classes=list(galaxies.four.classes),
  )
  show(place)


def _galaxies(experiment: Experiment, min_votes: int) -> Galaxies:
  parts = ("validation", "test")
  found = experiment.of_splits(parts, min_votes)
  assert found is not None
  data, split = found
  assert data.votes is not None
  return Galaxies(
    data,
    data.votes,
    labels.make(data.votes, "four"),
    *(np.flatnonzero(split == part) for part in parts),
  )


def score(found: targets.Prediction, galaxies: Galaxies) -> dict[str, Any]:
  """The numbers of one system on the test galaxies.

  Returns:
    `four`: of the four classes on galaxies that volunteers are confident of
    (accuracy with its 95% Wilson interval, and balanced accuracy);
    `questions` and `labels`: rows of the tables `questions` and `scores` of
    `vote_tables.question_tables`; None where the system does not speak of
    them.
  """
  rows, tree = galaxies.confident, found.votes.tree
  label = galaxies.four.label[rows]
  # How much it is for each class, as shares of all volunteers.
  four = labels.four_shares(tree, found.votes.cumulative)
  said = metrics.predicted_class(four[rows])
  accuracy = metrics.accuracy(label, said)
  tables = {}
  if galaxies.were_asked(tree):
    tables = vote_tables.question_tables(
      galaxies.votes.on(tree),
      {"": found},
      validation=galaxies.validation,
      test=galaxies.test,
    )
  records = {
    name: table.drop(columns="method").to_dict("records")
    for name, table in tables.items()
  }
  return {
    "four": {
      "accuracy": accuracy,
      "interval": intervals.wilson_interval(accuracy * len(rows), len(rows)),
      "balanced_accuracy": metrics.balanced_accuracy(label, said, 4),
    },
    "questions": records.get("questions"),
    "labels": records.get("scores"),
  }


def _differences(
  said: Mapping[tuple[str, str], targets.Prediction], galaxies: Galaxies
) -> list[dict[str, Any]]:
  """A system `<name>_<variant>` less the system `<name>`, galaxy by galaxy."""
  rows = []
  for (name, method), one in said.items():
    base, tree = name.rpartition("_")[0], one.votes.tree
    other = said.get((base, method))
    if other is None or other.votes.tree.answers != tree.answers:
      continue
    if not galaxies.were_asked(tree):
      continue
    of = {"system": name, "base": base, "method": method}
    for measure, found in _difference(one, other, galaxies).items():
      numbers = zip(("difference", "low", "high"), found, strict=True)
      rows.append({**of, "measure": measure, **dict(numbers)})
  return rows


def _difference(
  one: targets.Prediction, other: targets.Prediction, galaxies: Galaxies
) -> dict[str, tuple[float, float, float]]:
  """(difference, low, high) by measure, of systems with the same questions.

  Accuracy over all questions, and macro-F1 of the labels by thresholds of 0.5
  and by tuned ones.
  """
  test, tree = galaxies.test, one.votes.tree
  votes = galaxies.votes.on(tree)
  found = {
    "question accuracy": questions.question_accuracy_difference(
      tree, votes.select(test), one.votes.shares[test], other.votes.shares[test]
    )
  }
  if not label_scores.has_ten_labels(tree):
    return found
  for name, chosen_on in (("at 0.5", None), ("tuned", galaxies.validation)):
    given, others = (
      label_scores.label(votes, x, chosen_on) for x in (one, other)
    )
    rows = test[given.known[test]]
    found[f"macro-F1, {name}"] = label_scores.macro_f1_difference(
      given.truth[rows], given.said[rows], others.said[rows]
    )
  return found


def summary(rows: list[dict[str, Any]]) -> pd.DataFrame:
  """The table of the systems, a row for each row of `systems.json`."""
  lines = []
  for row in rows:
    of_run = ("system", "method", "parameters", "train_seconds")
    line = {name: row[name] for name in of_run}
    for name in ("accuracy", "balanced_accuracy"):
      line[f"four_{name}"] = row["four"][name]
    for name, at in (("smooth_or_featured", 0), ("all_questions", -1)):
      found = row["questions"][at] if row["questions"] else {}
      line[name] = found.get("accuracy")
      line[f"{name}_confident"] = found.get("confident_accuracy")
    tuned = [x for x in row["labels"] or () if x["thresholds"] == "tuned"]
    for name in ("exact_match", "macro_f1", "micro_f1"):
      line[name] = tuned[0][name] if tuned else None
    lines.append(line)
  return pd.DataFrame(lines)


def show(place: Workdir) -> None:
  """Prints the table of a finished comparison."""
  frame = pd.read_csv(place / "systems.csv")
  title, lines = "Systems on the same test galaxies", frame.to_dict("records")
  console = evaluate.wide_console(len(frame.columns))
  console.print(scoreboard.table(title, list(map(str, frame)), lines))
  console.print(f"Report: {place / 'report.html'}")


def _confusions(experiments, said, galaxies: Galaxies) -> dict[str, Any]:
  """The confusion of every system of the four classes, see `uncertain`."""
  return {
    name: uncertain.compare_confusion(
      galaxies.four.label[galaxies.test],
      said[name].probabilities[galaxies.test],
      experiment.config.evaluate.uncertain_below,
    )
    for name, experiment in experiments.items()
    if experiment.target.classes == galaxies.four.classes
  }


def _cards(
  experiments, said, galaxies: Galaxies, count: int
) -> list[dict[str, Any]]:
  """Random test galaxies, and what every system says about each."""
  rows = np.random.default_rng(0).permutation(galaxies.test)[:count]
  votes = galaxies.votes
  steps = walks.walk(votes.tree, votes.shares[rows])
  lines = {"volunteers": [walks.walk_lines(x) for x in steps]}
  for name, experiment in experiments.items():
    lines[name] = descriptions.describe(
      experiment.target,
      said[name],
      rows,
      below=experiment.config.evaluate.uncertain_below,
      shares=galaxies.four.shares,
      votes=votes,
      validation=galaxies.validation,
    )
  return [
    {
      "id_str": str(galaxies.data.table["id_str"].iloc[row]),
      "image": report.page.picture(galaxies.data.image[row]),
      "lines": {name: words[i] for name, words in lines.items()},
    }
    for i, row in enumerate(rows)
  ]
