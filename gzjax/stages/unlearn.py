"""unlearn: real retraining, and each method from the original network."""

from itertools import cycle
from typing import Any, NamedTuple

import jax
import numpy as np

from gzjax import fisher, metrics, sharding, training
from gzjax.checkpoint import Checkpoints
from gzjax.data import feed
from gzjax.errors import UserError
from gzjax.progress import say
from gzjax.stages import train
from gzjax.stages.experiment import Experiment
from gzjax.stages.fisher import fisher_of
from gzjax.types import Method, PyTree, TrainState, UnlearnBatch
from gzjax.unlearning import health, transforms
from gzjax.unlearning.methods import METHODS
from gzjax.unlearning.step import make_unlearn_step
from gzjax.workdir import MetricsLog, write_json

# Settings that the driver, not the transform, acts on.
_DRIVER_SETTINGS = ("epochs", "max_damage")


def check_methods(names: tuple[str, ...]) -> None:
  """Raises UserError for a method that does not exist."""
  for name in names:
    if name not in METHODS and name != "retrain":
      raise UserError(
        f"unlearn.methods names {name!r}: choose from retrain, "
        f"{', '.join(METHODS)}."
      )


def run(experiment: Experiment) -> None:
  """Runs the methods of the config that are not finished yet."""
  original = None
  for name in experiment.config.unlearn.methods:
    if name == "retrain":
      train.fit_classifier(experiment, experiment.members("retain"), "retrain")
    elif not (experiment.workdir / "unlearn" / name / "health.json").exists():
      if original is None:
        original = experiment.restore("train")
      _run_method(experiment, name, original)


class Goal(NamedTuple):
  """What a method starts from and is measured by."""

  original: TrainState
  before: health.Reading  # of the original
  target: float  # forget accuracy to reach


def _run_method(
  experiment: Experiment, name: str, original: TrainState
) -> None:
  """Runs a method, judges the result and writes health.json."""
  settings = experiment.config.unlearn[name].to_dict()
  driver = {k: settings.pop(k) for k in _DRIVER_SETTINGS if k in settings}
  method = METHODS[name].build(
    jax.random.key(experiment.config.seed), **settings
  )
  goal = Goal(
    original,
    read(experiment, original),
    target_forget_accuracy(experiment, original),
  )
  extras, clock = _extras(experiment, method, original)
  state, clock = _fit_method(
    experiment, name, method, driver, goal, extras, clock
  )
  report = _health_report(experiment, state, goal)
  if "retain_fisher" in extras:
    report["noise"] = {
      **_noise_report(original.params, extras["retain_fisher"], settings),
      "measured_loss_change": _retain_loss(experiment, state)
      - _retain_loss(experiment, original),
    }
  report |= clock.seconds()
  write_json(experiment.workdir / "unlearn" / name / "health.json", report)


def _fit_method(
  experiment: Experiment,
  name: str,
  method: Method,
  driver: dict[str, Any],
  goal: Goal,
  extras: dict[str, PyTree],
  clock: training.Clock,
) -> tuple[TrainState, training.Clock]:
  """Takes the method's steps, or those that a killed run left to do.

  Returns:
    The last state that the stop rule let stand, and the clock.
  """
  folder = experiment.workdir / "unlearn" / name
  # The steps donate their state, so it gets buffers of its own.
  state = sharding.replicate(
    experiment.mesh,
    training.init_state(
      goal.original.params, goal.original.batch_stats, method.transform
    ),
  )

  def verdict(now: health.Reading) -> str:
    if "max_damage" not in driver:
      return "go on"
    return health.ascent_verdict(
      now, goal.before, goal.target, driver["max_damage"]
    )

  with Checkpoints(folder / "checkpoints") as checkpoints:
    state, earlier, done = train.resume(experiment, checkpoints, state, {})
    clock = earlier if done else clock
    log = MetricsLog(folder / "metrics.jsonl", epochs_done=done)
    good = sharding.replicate(experiment.mesh, state)

    def after_epoch(epoch, state, outputs, clock):
      nonlocal good
      now = read(experiment, state)
      decision = verdict(now)
      _log_epoch(log, epoch + 1, int(state.step), outputs, now, decision)
      say(
        f"{name} epoch {epoch + 1}: wrong labels still given "
        f"{now.forget_accuracy:.3f}, balanced accuracy "
        f"{now.balanced_accuracy:.3f}; {decision}"
      )
      if decision == "rewind":
        return False
      good = sharding.replicate(experiment.mesh, state)
      train.save(
        checkpoints, epoch + 1, state, clock, now.balanced_accuracy, {}
      )
      return decision == "go on"

    # A run killed after its last step must not take another one.
    stopped = done and verdict(read(experiment, state)) != "go on"
    _, clock = training.fit(
      state,
      make_unlearn_step(experiment.apply_fn, method),
      lambda epoch: _batches(experiment, method, extras, epoch),
      steps=_steps(experiment, method),
      epochs=range(done, done if stopped else driver.get("epochs", 1)),
      title=name,
      after_epoch=after_epoch,
      clock=clock,
    )
    if checkpoints.latest() is None:
      # The first epoch was rewound: the original weights stand.
      train.save(checkpoints, 0, good, clock, goal.before.balanced_accuracy, {})
  return good, clock


def _log_epoch(
  log: MetricsLog,
  epoch: int,
  step: int,
  outputs: list[dict[str, np.ndarray]],
  now: health.Reading,
  decision: str,
) -> None:
  means = {
    key: float(np.mean([output[key] for output in outputs]))
    for key in outputs[0]
  }
  log.write(step, epoch, "train", **means)
  log.write(
    step,
    epoch,
    "validation",
    balanced_accuracy=now.balanced_accuracy,
    forget_accuracy=now.forget_accuracy,
    rewound=float(decision == "rewind"),
  )


def read(experiment: Experiment, state: TrainState) -> health.Reading:
  """The vital signs of a network on validation and on the forget set."""
  validation = experiment.members("validation")
  forget = experiment.members("forget")
  logits = experiment.predict(state, np.concatenate([validation, forget]))
  return health.read(
    state.params,
    logits[: len(validation)],
    experiment.labels("true_label")[validation],
    logits[len(validation) :],
    experiment.labels("train_label")[forget],
  )


def target_forget_accuracy(
  experiment: Experiment, original: TrainState
) -> float:
  """See `health.expected_forget_accuracy`; from the original's validation."""
  accuracy = train.validation_metrics(experiment, original)["accuracy"]
  return health.expected_forget_accuracy(accuracy, len(experiment.classes))


def _steps(experiment: Experiment, method: Method) -> int:
  """Steps of an epoch: over the retain set if it is used, else the forget."""
  size = experiment.config.unlearn.batch_size
  if method.retain_objective is not None:
    return len(experiment.members("retain")) // size
  if method.forget_objective is not None:
    return -(-len(experiment.members("forget")) // size)
  return 1


def _batches(
  experiment: Experiment,
  method: Method,
  extras: dict[str, PyTree],
  epoch: int,
):
  size = experiment.config.unlearn.batch_size
  seed = experiment.config.seed
  steps = _steps(experiment, method)
  key = jax.random.fold_in(jax.random.key(seed), epoch)

  def stream(name, stream_key):
    members = experiment.members(name)
    order = np.random.default_rng([seed, epoch]).permutation(members)
    rows = feed.ordered_rows(order, size)
    return experiment.feed.batches(
      [row for row, _ in zip(cycle(rows), range(steps))],
      key=stream_key,
      augmentation=experiment.augmentation,
    )

  retain_key, forget_key = jax.random.split(key)
  for retain, forget in zip(
    stream("retain", retain_key), stream("forget", forget_key), strict=True
  ):
    yield UnlearnBatch(retain, forget), extras


def _extras(
  experiment: Experiment, method: Method, original: TrainState
) -> tuple[dict[str, PyTree], training.Clock]:
  """The arrays that the method asks for, and the seconds that they cost."""
  extras = {}
  clock = training.Clock()
  if "reference_params" in method.extras:
    extras["reference_params"] = original.params
  if "retain_fisher" in method.extras:
    found, clock = fisher_of(experiment, original, "retain")
    extras["retain_fisher"] = fisher.mean(found)
  return extras, clock


def _health_report(
  experiment: Experiment, state: TrainState, goal: Goal
) -> dict[str, Any]:
  """The diagnosis, with and without renewed BatchNorm statistics."""
  rows = feed.training_rows(
    experiment.members("retain"),
    experiment.config.unlearn.batch_size,
    experiment.config.seed,
    epoch=0,
  )
  renewed = training.renew_batch_stats(
    experiment.apply_fn, state, experiment.feed.batches(rows)
  )
  return {
    "target_forget_accuracy": goal.target,
    "original": _summary(goal.before),
    **_judge(experiment, state, goal),
    "with_renewed_batch_stats": _judge(experiment, renewed, goal),
  }


def _judge(
  experiment: Experiment, state: TrainState, goal: Goal
) -> dict[str, Any]:
  after = read(experiment, state)
  diagnosis = health.diagnose(
    after, goal.before, goal.target, experiment.classes
  )
  return {**diagnosis._asdict(), **_summary(after)}


def _summary(reading: health.Reading) -> dict[str, Any]:
  return {**reading._asdict(), "histogram": reading.histogram.tolist()}


def _retain_loss(experiment: Experiment, state: TrainState) -> float:
  members = experiment.members("retain")
  logits = experiment.predict(state, members)
  label = experiment.labels("train_label")[members]
  return float(np.mean(metrics.cross_entropy(metrics.softmax(logits), label)))


def _noise_report(params, mean_fisher, settings) -> dict[str, Any]:
  """What Fisher Forgetting did, tensor by tensor."""
  scale = transforms.fisher_noise_scale(mean_fisher, params, **settings)

  def rms(x):
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))

  layers = {}
  for (path, weight), sigma, f, capped in zip(
    jax.tree.leaves_with_path(params),
    *map(jax.tree.leaves, (scale.sigma, mean_fisher, scale.capped)),
    strict=True,
  ):
    if np.ndim(weight) < 2:
      continue
    layers[jax.tree_util.keystr(path, simple=True, separator="/")] = {
      "noise_over_weight": rms(sigma) / max(rms(weight), 1e-30),
      "zero_fisher": float(np.mean(np.asarray(f) == 0)),
      "at_cap": float(capped),
    }
  return {
    "alpha": float(scale.alpha),
    "effective_parameters": float(scale.effective_parameters),
    "predicted_loss_change": float(scale.predicted_loss),
    "layers": layers,
  }
