"""train: the original network, on partly wrong labels; and real retraining."""

from functools import partial
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pandas as pd

from gzjax import models, sharding
from gzjax.data import feed
from gzjax.evaluation import metrics
from gzjax.evaluation.votes import rmse
from gzjax.files import MetricsLog, write_json, write_whole
from gzjax.objectives import targets
from gzjax.pipeline.checkpoint import Checkpoints
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say
from gzjax.training import loop, optim
from gzjax.training.step import init_state, make_train_step
from gzjax.types import TrainState

# Folded into the key for the network's own randomness; epochs count from 0.
_NETWORK = 2**31 - 1


def run(experiment: Experiment) -> None:
  """Trains on all training labels, the wrong ones included."""
  fit_from_scratch(
    experiment,
    experiment.members("train"),
    "train",
    experiment.columns("original"),
  )


def fit_from_scratch(
  experiment: Experiment,
  members: np.ndarray,
  folder: str,
  columns: dict[str, np.ndarray],
) -> None:
  """Trains from scratch on `members` into `folder`, or goes on there.

  Writes checkpoints/, metrics.jsonl, cost.json (seconds) and dynamics.parquet:
  for each member the mean over all its visits of the loss (nats) and of the
  probabilities, taken before each update, in training mode. The audit ranks by
  them.

  Args:
    experiment: what the run shares.
    members: i64[n], rows to train on.
    folder: "train" or "retrain".
    columns: [N,...], what is learned of all galaxies, by name.
  """
  config = experiment.recipe(folder)
  seed = experiment.config.seed
  key = jax.random.key(seed)
  label = columns["label"][members]
  rows = partial(_rows, config, members, label, seed)
  steps = len(rows(epoch=0))
  rates = _rates(config, steps)
  schedule = rates.schedule
  tx = _optimizer(experiment, config, rates, steps)
  step = make_train_step(
    experiment.apply_fn,
    experiment.objective(config, label),
    tx,
    summary=experiment.target.summary,
    key=jax.random.fold_in(key, _NETWORK),
  )
  state = sharding.replicate(
    experiment.mesh,
    init_state(*experiment.initial_variables, tx),
  )
  dynamics = Dynamics(experiment, columns)
  path = experiment.place(folder)

  def batches(epoch):
    return experiment.feed.batches(
      rows(epoch),
      key=jax.random.fold_in(key, epoch),
      augmentation=experiment.augmentation(config),
      extra=columns,
    )

  with Checkpoints(path / "checkpoints") as checkpoints:
    state, clock, done = resume(experiment, checkpoints, state, dynamics.arrays)
    log = MetricsLog(path / "metrics.jsonl", epochs_done=done)
    # The row before the first step; it also compiles the prediction.
    scores = validation_metrics(experiment, state)
    if not done:
      log.write(0, 0, "validation", **scores)

    def after_epoch(epoch, state, outputs, clock):
      dynamics.add(outputs)
      number = epoch + 1
      at = int(state.step), number
      loss = float(np.mean([output["loss"] for output in outputs]))
      rate = optim.learning_rate(schedule, state.opt_state, at[0] - 1)
      log.write(*at, "train", loss=loss, learning_rate=rate)
      scores = validation_metrics(experiment, state)
      log.write(*at, "validation", **scores)
      words = ", ".join(f"{k} {value:.3f}" for k, value in scores.items())
      say(f"{folder} epoch {number}/{config.epochs}: validation {words}")
      save(
        checkpoints,
        number,
        state,
        clock,
        _score(experiment, scores),
        dynamics.arrays,
      )
      return True

    _, clock = loop.fit(
      state,
      step,
      batches,
      steps=steps,
      epochs=range(done, config.epochs),
      title=folder,
      after_epoch=after_epoch,
      clock=clock,
    )
  write_json(path / "cost.json", clock.seconds())
  table = dynamics.table(members)
  write_whole(
    path / "dynamics.parquet", lambda part: table.to_parquet(part, index=False)
  )


def _rows(
  config: ml_collections.ConfigDict,
  members: np.ndarray,
  label: np.ndarray,
  seed: int,
  epoch: int,
) -> list[feed.BatchRows]:
  """The batches of an epoch of a recipe, of members i[n] labelled i[n]."""
  how = config.batch_size, seed, epoch
  if config.balanced_to:
    rows = feed.balanced_rows(members, label, config.balanced_to, *how)
  else:
    rows = feed.training_rows(members, *how)
  return rows[: config.steps_per_epoch or None]


def _rates(config: ml_collections.ConfigDict, steps: int) -> optim.Rates:
  """The learning rates of a recipe for epochs of so many steps."""
  every = config.epochs * steps
  span = optim.Span(
    config.learning_rate,
    every,
    min(math.ceil(config.warmup_epochs * steps), every - 1),
    steps,
  )
  settings = optim.SCHEDULES.take(config.schedule, config)
  return optim.SCHEDULES[config.schedule](span, **settings)


def _optimizer(
  experiment: Experiment,
  config: ml_collections.ConfigDict,
  rates: optim.Rates,
  steps: int,
) -> optax.GradientTransformation:
  """The optimizer of a recipe."""

  def make_optimizer(start: int) -> optax.GradientTransformation:
    return optim.OPTIMIZERS[config.optimizer](
      lambda step: rates.schedule(step + start),
      **optim.OPTIMIZERS.take(config.optimizer, config),
    )

  layers = models.depth_order(experiment.initial_variables[0])
  by_name = optim.match_prefixes(layers, dict(config.layer_rates))
  by_depth = optim.decay_by_depth(layers, config.layer_decay)
  tx = optim.scale_rates(
    optim.freeze_backbone(make_optimizer, config.frozen_epochs * steps),
    {layer: by_name[layer] * by_depth[layer] for layer in layers},
  )
  return rates.wrap(tx)


def _score(experiment: Experiment, scores: dict[str, float]) -> float:
  """What the best checkpoint has most of."""
  if experiment.target.tree is None:
    return scores["balanced_accuracy"]
  return -scores["loss"]


def save(
  checkpoints: Checkpoints,
  number: int,
  state: TrainState,
  clock: loop.Clock,
  score: float,
  extra: dict[str, np.ndarray],
) -> None:
  """Saves a state; `resume` reads it back."""
  checkpoints.save(
    number,
    {"params": state.params, "batch_stats": state.batch_stats},
    {
      "step": state.step,
      "opt_state": state.opt_state,
      # Copies: the next epoch adds to these arrays while they are written.
      "extra": jax.tree.map(jnp.array, extra),
    },
    clock.seconds(),
    score,
  )


def resume(
  experiment: Experiment,
  checkpoints: Checkpoints,
  state: TrainState,
  extra: dict[str, np.ndarray],
) -> tuple[TrainState, loop.Clock, int]:
  """The state, the clock and the epochs done of the last checkpoint, if any.

  `extra` is filled in place.
  """
  number = checkpoints.latest()
  if number is None:
    return state, loop.Clock(), 0
  found = checkpoints.restore(
    number,
    {"params": state.params, "batch_stats": state.batch_stats},
    {
      "step": state.step,
      "opt_state": state.opt_state,
      "extra": sharding.replicate(
        experiment.mesh, jax.tree.map(jnp.asarray, extra)
      ),
    },
  )
  for name, value in found.training["extra"].items():
    extra[name][...] = np.asarray(value)
  state = TrainState(
    found.training["step"],
    found.model["params"],
    found.model["batch_stats"],
    found.training["opt_state"],
  )
  clock = loop.Clock(found.info["wall_seconds"], found.info["compile_seconds"])
  return state, clock, number


def validation_metrics(
  experiment: Experiment, state: TrainState
) -> dict[str, float]:
  """Loss, accuracy, balanced accuracy and macro-F1 on validation.

  The loss is what the training descends, without class weights; networks of
  votes have the root mean squared error (`rmse`) of cumulative fractions, too.
  """
  members = experiment.members("validation")
  true = experiment.columns("true")
  label = true["label"][members]
  logits = experiment.predict(state, members)
  found = targets.interpret(experiment.target, logits)
  predicted = metrics.predicted_class(found.probabilities)
  k = len(experiment.classes)
  mean = jnp.mean(experiment.example_losses(logits, members, true))
  scores = {
    "loss": float(experiment.target.summary(mean)),
    "accuracy": metrics.accuracy(label, predicted),
    "balanced_accuracy": metrics.balanced_accuracy(label, predicted, k),
    "macro_f1": metrics.macro_f1(label, predicted, k),
  }
  if experiment.target.expects_fractions:
    assert found.votes is not None
    scores["rmse"] = rmse(experiment.fractions[members], found.votes.cumulative)
  return scores


class Dynamics:
  """Sums over visits of each example's loss and probabilities."""

  def __init__(self, experiment: Experiment, columns: dict[str, np.ndarray]):
    """For losses of what is learned: `columns` of all galaxies."""
    self._experiment = experiment
    self._columns = columns
    count = len(experiment.split)
    self.arrays = {
      "visits": np.zeros(count, np.float32),
      "loss": np.zeros(count, np.float32),
      "probability": np.zeros((count, len(experiment.classes)), np.float32),
    }

  def add(self, outputs: list[dict[str, np.ndarray]]) -> None:
    """Adds the outputs of an epoch's steps; a galaxy may be there twice."""
    row = np.concatenate([output["id"] for output in outputs])
    logits = np.concatenate([output["logits"] for output in outputs])
    of_visits = {
      "visits": 1,
      "loss": self._experiment.example_losses(logits, row, self._columns),
      "probability": self._experiment.probabilities(logits),
    }
    for name, value in of_visits.items():
      np.add.at(self.arrays[name], row, value)

  def table(self, members: np.ndarray) -> pd.DataFrame:
    """id_str, mean_loss and p_<class> of each member."""
    experiment = self._experiment
    visits = np.maximum(self.arrays["visits"][members], 1)
    mean = self.arrays["probability"][members] / visits[:, None]
    table = pd.DataFrame(
      {
        "id_str": experiment.split["id_str"].to_numpy()[members],
        "mean_loss": self.arrays["loss"][members] / visits,
      }
    )
    for k, name in enumerate(experiment.classes):
      table[f"p_{name}"] = mean[:, k]
    return table
