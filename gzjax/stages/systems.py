"""Several systems: a whole run each, then all of them on the same galaxies."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import pandas as pd
from rich.table import Table

from gzjax import label_metrics, metrics, report, targets
from gzjax.data import decision_tree, labels
from gzjax.data.decision_tree import Tree
from gzjax.errors import UserError
from gzjax.progress import say
from gzjax.stages import cards, consensus, evaluate, label_study
from gzjax.stages.consensus import Everyone
from gzjax.stages.experiment import Experiment
from gzjax.workdir import Workdir, read_json, write_json, write_whole

# As trained, on partly wrong labels; and without those that are wrong.
_METHODS = ("original", "retrain")


class Answer(NamedTuple):
  """What a system says about the galaxies of validation and test."""

  validation: targets.Prediction
  test: targets.Prediction


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
    drawn = not system.data.split_column and system.data.split_by != "id"
    if drawn or system.labels.kind == "column":
      raise UserError(
        "systems are compared by votes, on galaxies that have the same split "
        f"in all of them: {name} needs data.split_by=id and a labels.kind other"
        " than column."
      )


def run(
  config: ml_collections.ConfigDict,
  place: Workdir,
  run_one: Callable[[ml_collections.ConfigDict, Workdir], None],
) -> None:
  """Runs every system in a folder of its name, then compares them."""
  experiments = {}
  for name in config.compared:
    say(f"system {name}")
    one = config.systems[name].copy_and_resolve_references()
    folder = Workdir(place / name)
    run_one(one, folder)
    experiments[name] = Experiment(one, folder)
    # Each system compiles its own programs; a process may map only so many.
    jax.clear_caches()
  if all((place / name / "scoreboard.json").exists() for name in experiments):
    compare(config, place, experiments)


def compare(
  config: ml_collections.ConfigDict,
  place: Workdir,
  experiments: Mapping[str, Experiment],
) -> None:
  """Writes systems.csv, systems.json and report.html, and prints the table."""
  first = next(iter(experiments.values()))
  seen, judged = (
    _galaxies(first, split, config.min_votes)
    for split in ("validation", "test")
  )
  answers = {
    (name, method): _ask(experiment, method, seen, judged)
    for name, experiment in experiments.items()
    for method in _METHODS
  }
  rows = [
    {
      "system": name,
      "method": method,
      **_cost(experiments[name], method),
      **score(answer, seen, judged),
    }
    for (name, method), answer in answers.items()
  ]
  write_json(
    place / "systems.json",
    {
      "galaxies": len(judged.found.label),
      "confident": len(judged.found.kept),
      "rows": rows,
      "differences": _differences(answers, seen, judged),
      "published": config.published.to_dict(),
      "config": read_json(place / next(iter(experiments)) / "config.json"),
    },
  )
  table = summary(rows)
  write_whole(
    place / "systems.csv", lambda part: table.to_csv(part, index=False)
  )
  report.write_systems(
    place,
    confusions=_confusions(experiments, answers, judged),
    cards=_cards(experiments, answers, seen, judged, config.gallery),
    classes=list(judged.found.classes),
  )
  show(place)


def _galaxies(experiment: Experiment, split: str, min_votes: int) -> Everyone:
  """Those of a split that are compared, with the classes of scheme `four`."""
  data = consensus.of_split(experiment, split, min_votes)
  assert data is not None
  assert data.votes is not None
  return Everyone(data, labels.make(data.votes, "four", labels.Settings()))


def _votes(galaxies: Everyone, tree: Tree) -> labels.Votes:
  assert galaxies.data.votes is not None
  return galaxies.data.votes.on(tree)


def _ask(
  experiment: Experiment, method: str, seen: Everyone, judged: Everyone
) -> Answer:
  state = evaluate.restore(experiment, method)
  views = experiment.config.evaluate.views
  return Answer(
    *(
      targets.read(
        experiment.target,
        experiment.predict_images(state, part.data.image, views),
      )
      for part in (seen, judged)
    )
  )


def _cost(experiment: Experiment, method: str) -> dict[str, Any]:
  folder = {"original": "train"}.get(method, method)
  params, _ = experiment.initial_variables
  return {
    "parameters": sum(x.size for x in jax.tree.leaves(params)),
    "train_seconds": read_json(experiment.place(folder) / "cost.json")[
      "wall_seconds"
    ],
  }


def four_scores(found: targets.Prediction) -> np.ndarray:
  """How much a system is for each of seed 3's four classes, f64[N,4].

  The probabilities of a network of these classes; of one that answers questions
  the shares of all volunteers, 0 for what it is not asked.
  """
  if found.votes is None:
    return found.probabilities
  return labels.four_shares(found.votes.tree, found.votes.cumulative)


def score(answer: Answer, seen: Everyone, judged: Everyone) -> dict[str, Any]:
  """The numbers of one system.

  Args:
    answer: what it says.
    seen: validation galaxies, on which the thresholds of labels are chosen.
    judged: test galaxies.

  Returns:
    `four`: of the four classes on galaxies that volunteers are confident of
    (accuracy with its 95% Wilson interval, and balanced accuracy);
    `questions`: rows of `label_metrics.question_accuracy`, and `labels`: by
    thresholds ("0.5", "tuned") those of `label_metrics.label_scores`; None
    where the system does not speak of them.
  """
  kept = judged.found.kept
  label = judged.found.label[kept]
  said = metrics.predicted_class(four_scores(answer.test)[kept])
  accuracy = metrics.accuracy(label, said)
  found: dict[str, Any] = {
    "four": {
      "accuracy": accuracy,
      "interval": metrics.wilson_interval(accuracy * len(kept), len(kept)),
      "balanced_accuracy": metrics.balanced_accuracy(label, said, 4),
    },
    "questions": None,
    "labels": None,
  }
  if answer.test.votes is None:
    return found
  tree = answer.test.votes.tree
  found["questions"] = label_metrics.question_accuracy(
    tree, _votes(judged, tree), answer.test.votes.shares
  ).to_dict("records")
  if label_study.has_ten_labels(tree):
    found["labels"] = {
      name: label_metrics.label_scores(*_labels(answer, seen, judged, cut))
      for name, cut in (("0.5", 0.5), ("tuned", None))
    }
  return found


def _labels(answer, seen, judged, cut=None) -> tuple[np.ndarray, np.ndarray]:
  """Right and predicted labels of the test galaxies, bool[n,L]."""
  tree = answer.test.votes.tree
  if cut is None:
    cut = _thresholds(answer, seen)
  found = label_study.ten_labels(_votes(judged, tree), answer.test)
  said = label_metrics.above(found.probabilities, cut)
  return found.truth[found.known], said[found.known]


def _thresholds(answer: Answer, seen: Everyone) -> np.ndarray:
  """The best thresholds of the labels on the validation galaxies."""
  assert answer.validation.votes is not None
  votes = _votes(seen, answer.validation.votes.tree)
  return label_study.thresholds(
    label_study.ten_labels(votes, answer.validation)
  )


def _differences(
  answers: Mapping[tuple[str, str], Answer], seen: Everyone, judged: Everyone
) -> list[dict[str, Any]]:
  """A system `<name>_<variant>` less the system `<name>`, galaxy by galaxy.

  A row for each method and measure (macro-F1 of the labels by tuned thresholds,
  accuracy over all questions that both answer), with 95% intervals.
  """
  rows = []
  for (name, method), answer in answers.items():
    base = answers.get((name.rpartition("_")[0], method))
    if base is None or answer.test.votes is None or base.test.votes is None:
      continue
    tree = base.test.votes.tree
    if tree.answers != answer.test.votes.tree.answers:
      continue
    measures = {
      "question accuracy": label_metrics.question_accuracy_difference(
        tree,
        _votes(judged, tree),
        answer.test.votes.shares,
        base.test.votes.shares,
      )
    }
    if label_study.has_ten_labels(tree):
      truth, one = _labels(answer, seen, judged)
      _, other = _labels(base, seen, judged)
      measures["macro-F1"] = label_metrics.macro_f1_difference(
        truth, one, other
      )
    for measure, (difference, low, high) in measures.items():
      rows.append(
        {
          "system": name,
          "base": name.rpartition("_")[0],
          "method": method,
          "measure": measure,
          "difference": difference,
          "low": low,
          "high": high,
        }
      )
  return rows


_COLUMNS = (
  "system",
  "method",
  "parameters",
  "train_seconds",
  "four_accuracy",
  "four_balanced_accuracy",
  "smooth_or_featured",
  "smooth_or_featured_confident",
  "all_questions",
  "all_questions_confident",
  "exact_match",
  "macro_f1",
  "micro_f1",
)


def summary(rows: list[dict[str, Any]]) -> pd.DataFrame:
  """The table of the systems, a row for each row of `systems.json`."""
  lines = []
  for row in rows:
    line = {name: row[name] for name in _COLUMNS[:4]}
    line["four_accuracy"] = row["four"]["accuracy"]
    line["four_balanced_accuracy"] = row["four"]["balanced_accuracy"]
    if row["questions"]:
      for name, at in (("smooth_or_featured", 0), ("all_questions", -1)):
        line[name] = row["questions"][at]["accuracy"]
        line[f"{name}_confident"] = row["questions"][at]["confident_accuracy"]
    if row["labels"]:
      for name in ("exact_match", "macro_f1", "micro_f1"):
        line[name] = row["labels"]["tuned"][name]
    lines.append(line)
  return pd.DataFrame(lines, columns=list(_COLUMNS))


def show(place: Workdir) -> None:
  """Prints the table of a finished comparison."""
  frame = pd.read_csv(place / "systems.csv")
  table = Table(title="Systems on the same test galaxies")
  for name in map(str, frame):
    table.add_column(
      name.replace("_", "\n"),
      justify="left" if name in ("system", "method") else "right",
      no_wrap=True,
    )
  for line in frame.to_dict("records"):
    table.add_row(
      *(report.system_cell(str(name), x) for name, x in line.items())
    )
  console = evaluate.wide_console(len(frame.columns))
  console.print(table)
  console.print(f"Report: {place / 'report.html'}")


def _confusions(experiments, answers, judged) -> dict[str, Any]:
  """The confusion of every system of the four classes, see `consensus`."""
  return {
    name: consensus.study(
      judged,
      {"original": answers[name, "original"].test.probabilities},
      experiment.config.evaluate.uncertain_below,
    )["original"]
    for name, experiment in experiments.items()
    if experiment.classes == judged.found.classes
  }


def _cards(experiments, answers, seen, judged, count) -> list[dict[str, Any]]:
  """Random test galaxies, and what every system says about each."""
  order = np.random.default_rng(0).permutation(len(judged.found.label))[:count]
  said = {"volunteers": _walks(judged, order)}
  said |= {
    name: _lines(experiment, answers[name, "original"], seen, judged, order)
    for name, experiment in experiments.items()
  }
  return [
    {
      "id_str": str(judged.data.table["id_str"].iloc[row]),
      "image": report.picture(judged.data.image[row]),
      "lines": {name: lines[i] for name, lines in said.items()},
    }
    for i, row in enumerate(order)
  ]


def _walks(judged: Everyone, rows) -> list[list[str]]:
  """The ways on which most volunteers lead galaxies through all questions."""
  votes = judged.data.votes
  assert votes is not None
  steps = decision_tree.walk(votes.tree, votes.shares[rows])
  return [decision_tree.walk_lines(galaxy) for galaxy in steps]


def _lines(experiment, answer, seen, judged, rows) -> list[list[str]]:
  tree = experiment.target.tree
  thresholds = None
  if cards.speaks_of_labels(experiment):
    thresholds = _thresholds(answer, seen)
  return cards.describe(
    experiment,
    answer.test,
    rows,
    shares=judged.found.shares,
    votes=None if tree is None else _votes(judged, tree),
    thresholds=thresholds,
  )
