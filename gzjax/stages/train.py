"""train: the original network, on partly wrong labels; and real retraining."""

import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pandas as pd

from gzjax import metrics, sharding, training
from gzjax.checkpoint import Checkpoints
from gzjax.data import feed
from gzjax.progress import say
from gzjax.stages.experiment import Experiment
from gzjax.types import TrainState
from gzjax.workdir import MetricsLog, write_json, write_whole


def run(experiment: Experiment) -> None:
  """Trains on all training labels, the wrong ones included."""
  fit_classifier(
    experiment,
    experiment.members("train"),
    "train",
    experiment.learned_labels,
  )


def fit_classifier(
  experiment: Experiment,
  members: np.ndarray,
  folder: str,
  label: np.ndarray,
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
    label: i64[N], of all galaxies.
  """
  config = experiment.recipe(folder)
  seed = experiment.config.seed
  key = jax.random.key(seed)
  steps = len(members) // config.batch_size
  tx = _optimizer(config, steps)
  step = training.make_train_step(
    experiment.apply_fn, experiment.objective(config, label[members]), tx
  )
  state = sharding.replicate(
    experiment.mesh,
    training.init_state(*experiment.initial_variables, tx),
  )
  dynamics = Dynamics(len(experiment.split), len(experiment.classes))
  path = experiment.place(folder)

  def batches(epoch):
    return experiment.feed.batches(
      feed.training_rows(members, config.batch_size, seed, epoch),
      key=jax.random.fold_in(key, epoch),
      augmentation=experiment.augmentation(config),
      label=label,
    )

  with Checkpoints(path / "checkpoints") as checkpoints:
    state, clock, done = resume(experiment, checkpoints, state, dynamics.arrays)
    log = MetricsLog(path / "metrics.jsonl", epochs_done=done)
    # The row before the first step; it also compiles the prediction.
    scores = validation_metrics(experiment, state)
    if not done:
      log.write(0, 0, "validation", **scores)

    def after_epoch(epoch, state, outputs, clock):
      dynamics.add(outputs, label)
      number = epoch + 1
      at = int(state.step), number
      loss = float(np.mean([output["loss"] for output in outputs]))
      log.write(*at, "train", loss=loss)
      scores = validation_metrics(experiment, state)
      log.write(*at, "validation", **scores)
      words = ", ".join(f"{k} {value:.3f}" for k, value in scores.items())
      say(f"{folder} epoch {number}/{config.epochs}: validation {words}")
      save(
        checkpoints,
        number,
        state,
        clock,
        scores["balanced_accuracy"],
        dynamics.arrays,
      )
      return True

    _, clock = training.fit(
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
  table = dynamics.table(experiment, members)
  write_whole(
    path / "dynamics.parquet", lambda part: table.to_parquet(part, index=False)
  )


def _optimizer(
  config: ml_collections.ConfigDict, steps: int
) -> optax.GradientTransformation:
  """The optimizer of `config.train` for epochs of so many steps."""
  every = config.epochs * steps
  return training.make_optimizer(
    config.optimizer,
    learning_rate=config.learning_rate,
    steps=every,
    warmup_steps=min(math.ceil(config.warmup_epochs * steps), every - 1),
    weight_decay=config.weight_decay,
  )


def save(
  checkpoints: Checkpoints,
  number: int,
  state: TrainState,
  clock: training.Clock,
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
) -> tuple[TrainState, training.Clock, int]:
  """The state, the clock and the epochs done of the last checkpoint, if any.

  `extra` is filled in place.
  """
  number = checkpoints.latest()
  if number is None:
    return state, training.Clock(), 0
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
  clock = training.Clock(
    found.info["wall_seconds"], found.info["compile_seconds"]
  )
  return state, clock, number


def validation_metrics(
  experiment: Experiment, state: TrainState
) -> dict[str, float]:
  """Loss (nats), accuracy, balanced accuracy and macro-F1 on validation."""
  members = experiment.members("validation")
  label = experiment.labels("true_label")[members]
  logits = experiment.predict(state, members)
  predicted = metrics.predicted_class(logits)
  k = len(experiment.classes)
  loss = metrics.cross_entropy(metrics.softmax(logits), label)
  return {
    "loss": float(np.mean(loss)),
    "accuracy": metrics.accuracy(label, predicted),
    "balanced_accuracy": metrics.balanced_accuracy(label, predicted, k),
    "macro_f1": metrics.macro_f1(label, predicted, k),
  }


class Dynamics:
  """Sums over visits of each example's loss and probabilities."""

  def __init__(self, count: int, num_classes: int):
    self.arrays = {
      "visits": np.zeros(count, np.float32),
      "loss": np.zeros(count, np.float32),
      "probability": np.zeros((count, num_classes), np.float32),
    }

  def add(self, outputs: list[dict[str, np.ndarray]], label: np.ndarray):
    """Adds the outputs of an epoch's steps; visits within it are distinct."""
    row = np.concatenate([output["id"] for output in outputs])
    probability = metrics.softmax(
      np.concatenate([output["logits"] for output in outputs])
    )
    self.arrays["visits"][row] += 1
    self.arrays["loss"][row] += metrics.cross_entropy(probability, label[row])
    self.arrays["probability"][row] += probability

  def table(self, experiment: Experiment, members: np.ndarray) -> pd.DataFrame:
    """id_str, mean_loss and p_<class> of each member."""
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
