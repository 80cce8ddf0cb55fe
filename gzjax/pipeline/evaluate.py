"""evaluate: every network on every galaxy -> predictions and scoreboard."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pandas as pd
from rich.console import Console

from gzjax import sharding
from gzjax.data import feed
from gzjax.evaluation import (
  baselines,
  descriptions,
  health,
  label_scores,
  metrics,
  scoreboard,
  uncertain,
  vote_tables,
)
from gzjax.files import read_json, write_json, write_whole
from gzjax.morphology import noise, trees
from gzjax.morphology.predictions import Predictions
from gzjax.objectives import targets
from gzjax.pipeline import labels_and_flips
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.galaxies import of_splits
from gzjax.pipeline.workdir import Workdir
from gzjax.training import loop, step
from gzjax.types import Method, TrainState, UnlearnBatch
from gzjax.unlearning.step import make_unlearn_step

_FROM_HEALTH = ("verdict", "reason", "wall_seconds", "compile_seconds")


def run(experiment: Experiment) -> None:
  """Writes evaluate/<method>.parquet and the scoreboard as CSV and JSON."""
  galaxies = galaxies_of(experiment)
  names = ["original", *experiment.config.unlearn.methods]
  names.sort(key=lambda name: name not in ("original", "retrain"))
  everything = np.arange(len(experiment.split))
  views = experiment.config.evaluate.views
  predictions = {"constant": _constant(experiment, galaxies)}
  relearn = Relearn(experiment, galaxies)
  relearned = {"constant": {}}
  logits: dict[str, np.ndarray] = {}
  for name in names:
    state = restore(experiment, name)
    logits[name] = experiment.predict(state, everything, views)
    predictions[name] = targets.interpret(experiment.target, logits[name])
    relearned[name] = relearn.steps(state, logits["original"])
  probabilities = {
    name: found.probabilities for name, found in predictions.items()
  }
  verdicts = _Verdicts(experiment, probabilities["original"])
  rows = []
  for name, found in probabilities.items():
    folder = experiment.place(_folder(name))
    health_report = read_json(folder / "health.json")
    # A method's own report has the seconds, too.
    judged = health_report or {
      **verdicts.of(found),
      **(read_json(folder / "cost.json") or loop.Clock().seconds()),
    }
    rows.append(
      {
        "method": name,
        "seed": experiment.config.seed,
        **scoreboard.score(found, galaxies),
        **_vote_errors(experiment, predictions[name], galaxies),
        **{key: judged[key] for key in _FROM_HEALTH},
        **relearned[name],
        "health": health_report,
        "confusion": _confusion(found, galaxies).tolist(),
      }
    )
  _compare_with_retrain(rows, probabilities, galaxies)
  for name, prediction in predictions.items():
    _write_predictions(experiment, name, prediction)
  write_scoreboard(Workdir(experiment.results), rows)
  if experiment.target.expects_fractions:
    _study_votes(experiment, predictions)
  if experiment.target.tree is not None:
    _study_labels(experiment, predictions)
  if experiment.config.evaluate.uncertain_below:
    _study_uncertain(experiment)
  _write_cards(experiment, predictions["original"])


def _study_votes(
  experiment: Experiment, predictions: dict[str, targets.Prediction]
) -> None:
  """Writes the tables about votes to evaluate/votes/."""
  data = experiment.config.data
  # As much of the sky as the challenge's square of its files of 424 pixels.
  centre = baselines.CENTRE * data.size / (experiment.crop or 424)
  tables = vote_tables.vote_tables(
    experiment.votes,
    {
      name: found.votes
      for name, found in predictions.items()
      if found.votes is not None and name != "constant"
    },
    baselines.central_colour(experiment.dataset.image, max(round(centre), 1)),
    train=experiment.members("train"),
    test=experiment.members("test"),
    seed=experiment.config.seed,
  )
  _write_tables(experiment.place("evaluate") / "votes", tables)


def _write_tables(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
  folder.mkdir(exist_ok=True)
  for name, table in tables.items():
    write_whole(
      folder / f"{name}.csv",
      lambda part, table=table: table.to_csv(part, index=False),
    )


def _study_labels(
  experiment: Experiment, predictions: dict[str, targets.Prediction]
) -> None:
  """Writes the tables about questions and labels to evaluate/labels/."""
  tables = label_scores.question_tables(
    experiment.votes,
    predictions,
    validation=experiment.members("validation"),
    test=experiment.members("test"),
  )
  _write_tables(experiment.place("evaluate") / "labels", tables)


def _study_uncertain(experiment: Experiment) -> None:
  """Writes evaluate/uncertain.json, of all galaxies of the validation set."""
  config = experiment.config
  galaxies = of_splits(experiment, ("validation",), config.labels.min_votes)
  if galaxies is None:
    return
  data, _ = galaxies
  said = {
    name: experiment.probabilities(
      experiment.predict_images(
        restore(experiment, name), data.image, config.evaluate.views
      )
    )
    for name in ("original", *config.unlearn.methods)
  }
  label = labels_and_flips.find_labels(config, data).label
  below = config.evaluate.uncertain_below
  write_json(
    experiment.place("evaluate") / "uncertain.json",
    {
      "below": below,
      "methods": uncertain.compare_confusions(label, said, below),
    },
  )


def _write_cards(experiment: Experiment, found: targets.Prediction) -> None:
  """Writes evaluate/cards.json: random validation galaxies, in words."""
  members = experiment.members("validation")
  rng = np.random.default_rng(experiment.config.seed)
  rows = rng.permutation(members)[: experiment.config.report.gallery].tolist()
  lines = descriptions.describe(
    experiment,
    found,
    rows,
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


def write_scoreboard(place: Workdir, rows: list[dict[str, Any]]) -> None:
  """Writes scoreboard.json and scoreboard.csv."""
  frame = scoreboard.to_frame(rows)
  write_json(place / "scoreboard.json", rows)
  write_whole(
    place / "scoreboard.csv", lambda part: frame.to_csv(part, index=False)
  )


def restore(experiment: Experiment, name: str) -> TrainState:
  """The network of a row of the scoreboard."""
  best = None
  if name not in ("original", "retrain"):
    best = experiment.config.unlearn[name].rewind
  return experiment.restore(_folder(name), best=best)


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


def _folder(name: str) -> str:
  """Where the stage that made a row left its checkpoints."""
  return {"original": "train", "retrain": "retrain"}.get(
    name, f"unlearn/{name}"
  )


def galaxies_of(experiment: Experiment) -> scoreboard.Galaxies:
  """The galaxies that the scoreboard compares the networks on."""
  true_label = experiment.labels("true_label")
  test = experiment.members("test")
  config, data = experiment.config, experiment.dataset
  # Other draws than those of the training labels.
  model = labels_and_flips.flip_model(
    config, experiment.classes, experiment.data_seed + 1
  )
  found = labels_and_flips.find_labels(config, data)
  unseen = noise.wrong_labels(
    model,
    true_label[test],
    labels_and_flips.evidence(config, data, found).select(test),
  )
  return scoreboard.Galaxies(
    true_label=true_label,
    train_label=experiment.labels("train_label"),
    test=test,
    retain=experiment.members("clean"),
    forget=experiment.members("flipped"),
    known=experiment.members("forget"),
    unseen=test[unseen.rows],
    unseen_label=unseen.wrong,
  )


def _constant(
  experiment: Experiment, galaxies: scoreboard.Galaxies
) -> targets.Prediction:
  """Always the commonest training label, and the mean vote fractions."""
  train = np.concatenate([galaxies.retain, galaxies.forget])
  count = len(galaxies.true_label)
  commonest = np.bincount(galaxies.train_label[train]).argmax()
  one_hot = np.eye(len(experiment.classes))[commonest]
  probabilities = np.tile(one_hot, (count, 1))
  tree = experiment.target.tree
  if tree is None:
    return targets.Prediction(probabilities)
  mean = trees.conditional(
    tree, baselines.mean_vector(experiment.train_fractions[train])
  )
  shares = np.tile(mean, (count, 1))
  return targets.Prediction(probabilities, Predictions(tree, shares), shares)


def _vote_errors(
  experiment: Experiment,
  found: targets.Prediction,
  galaxies: scoreboard.Galaxies,
) -> dict[str, float]:
  """The columns of a network that learned votes."""
  if not experiment.target.expects_fractions:
    return {}
  assert found.votes is not None
  return scoreboard.score_votes(
    found.votes.cumulative,
    experiment.fractions,
    experiment.train_fractions,
    galaxies,
  )


class _Verdicts:
  """Verdicts on networks that no method judged itself."""

  def __init__(self, experiment: Experiment, original: np.ndarray):
    self._experiment = experiment
    self._original = self._read(original)
    label = experiment.labels("true_label")
    rows = experiment.members("validation")
    self._target = health.expected_forget_accuracy(
      metrics.accuracy(label[rows], metrics.predicted_class(original[rows])),
      len(experiment.classes),
    )

  def of(self, probabilities: np.ndarray) -> dict[str, Any]:
    return health.diagnose(
      self._read(probabilities),
      self._original,
      self._target,
      self._experiment.classes,
    )._asdict()

  def _read(self, probabilities: np.ndarray) -> health.Reading:
    validation = self._experiment.members("validation")
    forget = self._experiment.members("forget")
    return health.take_reading(
      None,
      probabilities[validation],
      self._experiment.labels("true_label")[validation],
      probabilities[forget],
      self._experiment.labels("train_label")[forget],
    )


class Relearn:
  """How soon a network learns its wrong labels again (Golatkar et al. 2020).

  Little time says that they were only hidden. Adam on the flipped galaxies with
  their wrong labels, on stored BatchNorm statistics, until their mean loss over
  an epoch is at most that of the original and `MARGIN` nats. The rate must be
  low: where all is memorised the minimum is sharp, and at a high one even the
  original network needs long.
  """

  MARGIN = 0.05

  def __init__(self, experiment: Experiment, galaxies: scoreboard.Galaxies):
    self._experiment = experiment
    self._galaxies = galaxies
    config = experiment.config.evaluate
    self._epochs = config.relearn_epochs
    tx = optax.with_extra_args_support(optax.adam(config.relearn_learning_rate))
    self._tx = tx
    method = Method(tx, experiment.target.objective, None, ())
    self._step = make_unlearn_step(experiment.apply_fn, method)

  def steps(self, state: TrainState, original: np.ndarray) -> dict[str, Any]:
    """`relearn_steps` and whether the loss was reached in time.

    Args:
      state: the network.
      original: logits of the original network for all galaxies, f32[N,K].
    """
    if not self._epochs:
      return {}
    rows = self._galaxies.forget
    goal = self.MARGIN + np.mean(
      self._experiment.example_losses(
        original[rows], rows, self._experiment.columns("train")
      )
    )
    state = sharding.replicate(
      self._experiment.mesh,
      step.init_state(state.params, state.batch_stats, self._tx),
    )
    seed = self._experiment.config.seed
    for epoch in range(self._epochs):
      order = np.random.default_rng([seed, epoch]).permutation(rows)
      batches = self._experiment.feed.batches(
        feed.ordered_rows(order, self._experiment.config.unlearn.batch_size)
      )
      found = []
      for batch in batches:
        state, output = self._step(state, (UnlearnBatch(batch, batch), {}))
        found.append(float(output["retain_loss"]))
      if np.mean(found) <= goal:
        return {"relearn_steps": int(state.step), "relearned": True}
    return {"relearn_steps": int(state.step), "relearned": False}


def _compare_with_retrain(
  rows: list[dict[str, Any]],
  probabilities: dict[str, np.ndarray],
  galaxies: scoreboard.Galaxies,
) -> None:
  """Adds the columns that compare with retraining, if there was one."""
  retrain = next((r for r in rows if r["method"] == "retrain"), None)
  if retrain is None:
    return
  for row in rows:
    row |= scoreboard.distance_to_retrain(
      probabilities[row["method"]], probabilities["retrain"], galaxies
    )
    row["tug_of_war"] = scoreboard.tug_of_war(row, retrain)
    row["gap_to_retrain"] = scoreboard.gap_to_retrain(row, retrain)
    row["cost_vs_retrain"] = row["wall_seconds"] / max(
      retrain["wall_seconds"], 1e-9
    )
    if row["wall_seconds"]:
      row["run_time_efficiency"] = 1 / row["cost_vs_retrain"]


def _confusion(
  probabilities: np.ndarray, galaxies: scoreboard.Galaxies
) -> np.ndarray:
  return metrics.confusion_matrix(
    galaxies.true_label[galaxies.test],
    metrics.predicted_class(probabilities[galaxies.test]),
    probabilities.shape[1],
  )


def predictions_table(
  ids: pd.Series, classes: Sequence[str], found: targets.Prediction
) -> pd.DataFrame:
  """What a network says about N galaxies, a row each.

  Args:
    ids: str[N].
    classes: C names.
    found: on the N galaxies.

  Returns:
    `id_str`, `predicted` (the most probable class; None where the network says
    no number), `p_<class>` and, for networks of votes, the columns of
    `vote_tables.predictions_table`; numbers are f32.
  """
  names = [f"p_{label}" for label in classes]
  table = pd.DataFrame(found.probabilities, columns=names)
  if found.votes is not None:
    table = table.join(vote_tables.predictions_table(found.votes))
  table = table.astype(np.float32)
  labels = np.asarray([*classes, None], object)
  predicted = labels[metrics.predicted_class(found.probabilities)]
  table.insert(0, "id_str", ids)
  table.insert(1, "predicted", predicted)
  return table


def _write_predictions(
  experiment: Experiment, name: str, found: targets.Prediction
) -> None:
  table = predictions_table(
    experiment.split["id_str"], experiment.classes, found
  )
  folder = experiment.place("evaluate")
  folder.mkdir(exist_ok=True)
  write_whole(
    folder / f"{name}.parquet",
    lambda part: table.to_parquet(part, index=False),
  )
