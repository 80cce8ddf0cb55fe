"""train: the original network, on partly wrong labels."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
import pandas as pd

from gzjax import problem as problems
from gzjax.errors import naming
from gzjax.evaluation import metrics
from gzjax.evaluation.votes import rmse
from gzjax.files import write_json, write_table
from gzjax.objectives import targets
from gzjax.pipeline import origin
from gzjax.pipeline.checkpoint import FolderStore
from gzjax.pipeline.experiment import Experiment
from gzjax.training import train
from gzjax.training.dynamics import Dynamics


def run(experiment: Experiment) -> None:
  """Trains on all training labels, the wrong ones included."""
  problem, learned = experiment.problem, experiment.learned_first
  make = partial(train, problem, entries=learned)
  run_training(experiment, "original", make, learned, problem.sets.train)


def run_training(
  experiment: Experiment,
  name: str,
  make: Callable[..., problems.Network],
  entries: problems.Entries,
  rows: problems.Rows,
) -> None:
  """Makes a network that learns what `entries` say of the galaxies `rows`.

  Writes checkpoints/, metrics.jsonl, cost.json and dynamics.parquet.
  """
  problem, place = experiment.problem, experiment.place(name)
  dynamics = Dynamics(problem, entries)
  made_from = origin.of(experiment, name)
  with (
    FolderStore(place, made_from) as store,
    naming("train"),
  ):
    network = make(
      recipe=experiment.recipe(place.name),
      name=place.name,
      validate=lambda network: validation_metrics(problem, network),
      store=store,
      dynamics=dynamics,
    )
  write_json(place / "cost.json", network.cost._asdict())
  ids = experiment.split["id_str"].to_numpy()[rows]
  table = pd.DataFrame({"id_str": ids, **dynamics.means(rows)})
  write_table(place / "dynamics.parquet", table)


def validation_metrics(
  problem: problems.Problem, network: problems.Network
) -> dict[str, float]:
  """Loss, accuracy, balanced accuracy and macro-F1 on validation.

  The loss is what the training descends, without class weights; networks of
  vote fractions have their root mean squared error (`rmse`), too.
  """
  rows, target = problem.sets.validation, problem.target
  label = problem.true[rows]
  logits = problems.predict(problem, network, rows)
  found = targets.interpret(target, logits)
  predicted = metrics.predicted_class(found.probabilities)
  k = len(target.classes)
  loss = problems.example_losses(problem, logits, rows, problem.columns.true)
  scores = {
    "loss": float(target.summary(jnp.mean(np.asarray(loss)))),
    "accuracy": metrics.accuracy(label, predicted),
    "balanced_accuracy": metrics.balanced_accuracy(label, predicted, k),
    "macro_f1": metrics.macro_f1(label, predicted, k),
  }
  if target.expects_fractions:
    scores["rmse"] = rmse(
      problem.columns.fractions[rows], found.votes.cumulative
    )
  return scores
