"""unlearn: real retraining, and each method from the original network."""

from itertools import cycle
import time
from typing import Any

import jax
import numpy as np

from gzjax import fisher, losses, metrics, sharding, training
from gzjax.checkpoint import Checkpoints
from gzjax.data import feed
from gzjax.errors import UserError
from gzjax.stages import train
from gzjax.stages.experiment import Experiment
from gzjax.types import Fisher, Method, PyTree, TrainState, UnlearnBatch
from gzjax.unlearning import health, transforms
from gzjax.unlearning.methods import METHODS
from gzjax.unlearning.step import make_unlearn_step
from gzjax.workdir import MetricsLog, write_json

# Settings that the driver, not the transform, acts on.
_DRIVER_SETTINGS = ("epochs", "max_damage", "microbatch")


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


def _run_method(
  experiment: Experiment, name: str, original: TrainState
) -> None:
  settings = experiment.config.unlearn[name].to_dict()
  driver = {k: settings.pop(k) for k in _DRIVER_SETTINGS if k in settings}
  method = METHODS[name].build(
    jax.random.key(experiment.config.seed), **settings
  )
  before = read(experiment, original)
  target = target_forget_accuracy(experiment, original)
  folder = experiment.workdir / "unlearn" / name
  # The steps donate their state, so they get buffers of their own.
  params, batch_stats = sharding.replicate(
    experiment.mesh, (original.params, original.batch_stats)
  )
  state = sharding.replicate(
    experiment.mesh, training.init_state(params, batch_stats, method.transform)
  )
  with Checkpoints(folder / "checkpoints") as checkpoints:
    state, clock, done = train.resume(experiment, checkpoints, state, {})
    log = MetricsLog(folder / "metrics.jsonl", epochs_done=done)
    extras, fisher_clock = _extras(experiment, method, original, driver)
    if not done:
      clock = fisher_clock
    good = sharding.replicate(experiment.mesh, state)

    def verdict(now):
      if "max_damage" not in driver:
        return "go on"
      return health.ascent_verdict(now, before, target, driver["max_damage"])

    def after_epoch(epoch, state, outputs, clock):
      nonlocal good
      now = read(experiment, state)
      means = {
        key: float(np.mean([output[key] for output in outputs]))
        for key in outputs[0]
      }
      at = int(state.step), epoch + 1
      log.write(*at, "train", **means)
      log.write(
        *at,
        "validation",
        balanced_accuracy=now.balanced_accuracy,
        forget_accuracy=now.forget_accuracy,
        rewound=float(verdict(now) == "rewind"),
      )
      if verdict(now) == "rewind":
        return False
      good = sharding.replicate(experiment.mesh, state)
      train.save(
        checkpoints, epoch + 1, state, clock, now.balanced_accuracy, {}
      )
      return verdict(now) == "go on"

    # A run killed after its last step must not take another one.
    stopped = done and verdict(read(experiment, state)) != "go on"
    epochs = range(done, done if stopped else driver.get("epochs", 1))

    _, clock = training.fit(
      state,
      make_unlearn_step(experiment.apply_fn, method),
      lambda epoch: _batches(experiment, method, extras, epoch),
      steps=_steps(experiment, method),
      epochs=epochs,
      title=name,
      after_epoch=after_epoch,
      clock=clock,
    )
    if checkpoints.latest() is None:
      # The first epoch was rewound: the original weights stand.
      train.save(checkpoints, 0, good, clock, before.balanced_accuracy, {})
  report = _health_report(experiment, good, before, target)
  if "retain_fisher" in extras:
    report["noise"] = {
      **_noise_report(original.params, extras["retain_fisher"], settings),
      "measured_loss_change": _retain_loss(experiment, good)
      - _retain_loss(experiment, original),
    }
  report |= clock.seconds()
  write_json(folder / "health.json", report)


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
    return max(len(experiment.members("retain")) // size, 1)
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
  experiment: Experiment,
  method: Method,
  original: TrainState,
  driver: dict[str, Any],
) -> tuple[dict[str, PyTree], training.Clock]:
  """The arrays that the method asks for, and the seconds that they cost."""
  extras = {}
  clock = training.Clock()
  if "reference_params" in method.extras:
    extras["reference_params"] = original.params
  if "retain_fisher" in method.extras:
    found, clock = _retain_fisher(experiment, original, driver["microbatch"])
    extras["retain_fisher"] = fisher.mean(found)
  return extras, clock


def _retain_fisher(
  experiment: Experiment, original: TrainState, microbatch: int
) -> tuple[Fisher, training.Clock]:
  rows = feed.ordered_rows(
    experiment.members("retain"), experiment.config.unlearn.batch_size
  )
  apply_fn = experiment.make_apply_fn(conv_form="dot")

  def timed(rows):
    start = time.perf_counter()
    found = fisher.fisher_diagonal(
      apply_fn,
      losses.cross_entropy,
      original.params,
      original.batch_stats,
      experiment.feed.batches(rows),
      mesh=experiment.mesh,
      microbatch=microbatch,
      total=len(rows),
    )
    return jax.block_until_ready(found), time.perf_counter() - start

  _, compile_seconds = timed(rows[:1])
  found, seconds = timed(rows)
  return found, training.Clock(seconds, compile_seconds)


def _health_report(experiment, state, before, target) -> dict[str, Any]:
  """The diagnosis, with and without renewed BatchNorm statistics."""
  report = {"target_forget_accuracy": target, "original": _summary(before)}
  report |= _judge(experiment, state, before, target)
  rows = feed.training_rows(
    experiment.members("retain"),
    experiment.config.unlearn.batch_size,
    experiment.config.seed,
    epoch=0,
  )
  renewed = training.renew_batch_stats(
    experiment.apply_fn, state, experiment.feed.batches(rows)
  )
  report["with_renewed_batch_stats"] = _judge(
    experiment, renewed, before, target
  )
  return report


def _judge(experiment, state, before, target) -> dict[str, Any]:
  after = read(experiment, state)
  verdict = health.diagnose(after, before, target, experiment.classes)
  return {**verdict._asdict(), **_summary(after)}


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
