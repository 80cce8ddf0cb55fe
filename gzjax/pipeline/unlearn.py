"""unlearn: real retraining, and each method from the original network."""

from collections.abc import Sequence
from itertools import cycle
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from gzjax import fisher, models, sharding
from gzjax.data import feed
from gzjax.errors import UserError
from gzjax.evaluation import health, metrics
from gzjax.files import (
  MetricsLog,
  first_difference,
  read_json,
  to_json,
  write_json,
)
from gzjax.pipeline import train
from gzjax.pipeline.checkpoint import Checkpoints
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.fisher import fisher_of
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say
from gzjax.training import loop
from gzjax.training.step import init_state, mean_gradient, renew_batch_stats
from gzjax.types import Fisher, Method, PyTree, TrainState, UnlearnBatch
from gzjax.unlearning.diagnosis import noise_report
from gzjax.unlearning.methods import METHODS, Driver, Row, Task
from gzjax.unlearning.step import make_unlearn_step

# Keys of config.unlearn that all methods share.
SHARED = (
  "batch_size",
  "forget_batch_size",
  "fisher",
  "discovered",
  "suggestions",
  "retrain",
)


def check_methods(
  config: ml_collections.ConfigDict, names: Sequence[str], target: str
) -> None:
  """Raises UserError for methods and settings that cannot be.

  Args:
    config: `config.unlearn`.
    names: of its sections, and "retrain".
    target: `config.target.kind`.
  """
  for name in names:
    if name == "retrain":
      continue
    section = config.get(name)
    if not isinstance(section, ml_collections.ConfigDict) or (
      section.get("method") not in METHODS
    ):
      raise UserError(
        f"unlearn.methods names {name!r}: choose from retrain, "
        f"{', '.join(METHODS)}."
      )
    if target != "classes" and METHODS[section.method].softmax_only:
      raise UserError(
        f"unlearn.methods names {name}, which compares softmax outputs and so "
        f"does not apply to target.kind={target}: leave it out."
      )
    for key, value in section.items():
      if isinstance(value, int | float) and value < 0:
        raise UserError(
          f"unlearn.{name}.{key} is {value:g}: it must not be negative."
        )


def is_finished(workdir: Workdir, config: ml_collections.ConfigDict) -> bool:
  """Whether every method of the config has its result.

  Raises:
    UserError: if one was run with other settings.
  """
  return all(
    (workdir / "retrain" / "dynamics.parquet").exists()
    if name == "retrain"
    else _has_result(workdir / "unlearn" / name, config.unlearn[name])
    for name in config.unlearn.methods
  )


def run(experiment: Experiment) -> None:
  """Runs the methods of the config that are not finished yet."""
  _check_sets(experiment)
  original = experiment.restore("train")
  goal = Goal(
    original,
    read(experiment, original),
    target_forget_accuracy(experiment, original),
    _losses(experiment, original),
  )
  warning = health.nothing_to_unlearn(goal.before)
  if warning:
    say(warning)
  for name in experiment.config.unlearn.methods:
    if name == "retrain":
      if not (experiment.place("retrain") / "dynamics.parquet").exists():
        train.fit_from_scratch(
          experiment,
          experiment.members("retain"),
          "retrain",
          experiment.columns("train"),
        )
      continue
    section = experiment.config.unlearn[name]
    folder = experiment.place(f"unlearn/{name}")
    if not _has_result(folder, section):
      write_json(folder / "settings.json", section.to_dict())
      run_method(experiment, name, section, goal)


def _has_result(folder, section: ml_collections.ConfigDict) -> bool:
  before = read_json(folder / "settings.json")
  difference = before and first_difference(before, to_json(section.to_dict()))
  if difference:
    raise UserError(
      f"{folder} was run with other settings ({difference}): choose another "
      "--workdir, or delete that folder to run the method anew."
    )
  return (folder / "health.json").exists()


def _check_sets(experiment: Experiment) -> None:
  config = experiment.config.unlearn
  retain = len(experiment.members("retain"))
  if retain < config.batch_size:
    raise UserError(
      f"the retain set has {retain} galaxies, fewer than "
      f"unlearn.batch_size={config.batch_size}: nothing can be kept if (nearly)"
      " all of the training set is to be forgotten."
    )


class Goal(NamedTuple):
  """What a method starts from and is measured by."""

  original: TrainState
  before: health.Reading  # of the original
  target: float  # forget accuracy to reach
  losses: dict[str, float]  # of the original, see `_losses`


class Plan(NamedTuple):
  """How a method takes its steps."""

  row: Row
  driver: Driver
  settings: dict[str, Any]
  task: Task
  steps: int  # in an epoch
  stride: int  # steps from one reading to the next

  @property
  def readings(self) -> int:
    return self.driver.epochs * -(-self.steps // self.stride)

  def build(self) -> Method:
    return self.row.build(self.task, **self.settings)


def run_method(
  experiment: Experiment,
  name: str,
  section: ml_collections.ConfigDict,
  goal: Goal,
) -> None:
  """Runs a method, judges the result and writes health.json."""
  plan = _plan(experiment, section)
  extras, clock = _extras(experiment, plan, goal.original)
  searched = {}
  if plan.driver.search and plan.row.strength:
    say(f"{name}: searching {plan.row.strength[0]}")
    plan, searched, took = _search(experiment, plan, goal, extras)
    clock = loop.Clock(clock.wall + took.wall, clock.compile + took.compile)
  state, clock = _fit_method(experiment, name, plan, goal, extras, clock)
  report = {
    **_health_report(experiment, state, goal),
    **_movement(state, goal.original),
    **searched,
    **_losses_and_noise(experiment, plan, state, goal, extras),
    "warnings": _warnings(plan),
    **clock.seconds(),
  }
  report["cause"] = health.cause(report)
  if report["cause"]:
    say(f"{name}: {report['verdict']}: {report['cause']}")
  write_json(experiment.place(f"unlearn/{name}") / "health.json", report)


def _plan(experiment: Experiment, section: ml_collections.ConfigDict) -> Plan:
  settings = section.to_dict()
  row = METHODS[settings.pop("method")]
  driver = Driver(**{key: settings.pop(key) for key in Driver._fields})
  # Which batches a method needs does not depend on the number of steps.
  task = Task(
    jax.random.key(experiment.config.seed),
    1,
    len(experiment.members("forget")),
    len(experiment.members("train")),
    models.depth_order(experiment.initial_variables[0]),
    experiment.target.objective,
    experiment.mended,
    experiment.target.class_logits,
  )
  steps = _steps(experiment, row.build(task, **settings))
  task = task._replace(steps=max(steps * driver.epochs, 1))
  stride = -(-steps // max(driver.checks, 1))
  return Plan(row, driver, settings, task, steps, stride)


def _steps(experiment: Experiment, method: Method) -> int:
  """Steps of an epoch: over the retain set if it is used, else the forget."""
  size = experiment.config.unlearn.batch_size
  if method.retain_objective is not None:
    return len(experiment.members("retain")) // size
  if method.forget_objective is not None:
    return -(-len(experiment.members("forget")) // size)
  return 1


def _warnings(plan: Plan) -> list[str]:
  """What cannot work as configured."""
  bound = plan.task.train / plan.task.forget
  threshold = plan.settings.get("threshold", 0)
  if "train_fisher" not in plan.build().extras or threshold <= bound:
    return []
  words = (
    f"threshold {threshold:g} is above n_train / n_forget = {bound:.3g}, which "
    "no ratio of per-example Fishers exceeds: nothing can be dampened"
  )
  say(f"warning: {words}")
  return [words]


def _verdict(driver: Driver, goal: Goal, now: health.Reading) -> str:
  if driver.max_damage >= 1:
    return "go on"
  return health.ascent_verdict(now, goal.before, goal.target, driver.max_damage)


def _search(
  experiment: Experiment, plan: Plan, goal: Goal, extras: dict[str, PyTree]
) -> tuple[Plan, dict[str, Any], loop.Clock]:
  """Bisects for the strongest setting that does not hurt too much.

  For methods of a single step without gradients. Values are tried along the
  geometric mean of the strongest that was safe and the weakest that was not.

  Returns:
    The plan with the setting found, the trials for health.json, the seconds.
  """
  assert plan.row.strength is not None
  name, weakest = plan.row.strength
  strongest = plan.settings[name]
  original = goal.original

  @jax.jit
  def moved(value, params, extras):
    settings = {**plan.settings, name: value}
    transform = plan.row.build(plan.task, **settings).transform
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transform.update(
      zeros, transform.init(params), params, **extras
    )
    return optax.apply_updates(params, updates)

  run, compile_seconds = loop.compiled(
    moved, jnp.asarray(strongest, jnp.float32), original.params, extras
  )
  start = time.perf_counter()
  trials = []

  def is_safe(value: float) -> bool:
    params = run(jnp.asarray(value, jnp.float32), original.params, extras)
    now = read(experiment, original._replace(params=params))
    decision = _verdict(plan.driver, goal, now)
    trials.append({name: value, **_summary(now), "decision": decision})
    return decision != "rewind"

  safe = strongest
  if not is_safe(strongest):
    safe, harmful = weakest, strongest
    for _ in range(plan.driver.search - 1):
      middle = float(np.sqrt(safe * harmful))
      if is_safe(middle):
        safe = middle
      else:
        harmful = middle
  plan = plan._replace(settings={**plan.settings, name: safe})
  found = {"search": {"setting": name, "found": safe, "trials": trials}}
  seconds = time.perf_counter() - start
  return plan, found, loop.Clock(seconds, compile_seconds)


def _fit_method(
  experiment: Experiment,
  name: str,
  plan: Plan,
  goal: Goal,
  extras: dict[str, PyTree],
  clock: loop.Clock,
) -> tuple[TrainState, loop.Clock]:
  """Takes the method's steps, or those that a killed run left to do.

  Returns:
    The state that stands at the end, and the clock.
  """
  folder = experiment.place(f"unlearn/{name}")
  method, driver = plan.build(), plan.driver
  # The steps donate their state, so it gets buffers of its own.
  state = sharding.replicate(
    experiment.mesh, _first_state(experiment, plan, method, goal.original)
  )

  with Checkpoints(folder / "checkpoints") as checkpoints:
    state, earlier, done = train.resume(experiment, checkpoints, state, {})
    clock = earlier if done else clock
    log = MetricsLog(folder / "metrics.jsonl", epochs_done=done)

    def keep(number, state, clock, reading):
      score = reading.balanced_accuracy
      if driver.rewind:
        score = -abs(reading.forget_accuracy - goal.target)
      train.save(checkpoints, number, state, clock, score, {})

    def after_stride(stride, state, outputs, clock):
      now = read(experiment, state)
      decision = _verdict(driver, goal, now)
      _log_stride(log, stride + 1, int(state.step), outputs, now, decision)
      say(
        f"{name} {stride + 1}/{plan.readings}: wrong labels still given "
        f"{now.forget_accuracy:.3f}, balanced accuracy "
        f"{now.balanced_accuracy:.3f}; {decision}"
      )
      if decision == "rewind":
        return False
      keep(stride + 1, state, clock, now)
      return decision == "go on"

    # A run killed after its last step must not take another one.
    stopped = (
      done and _verdict(driver, goal, read(experiment, state)) != "go on"
    )
    last = done if stopped else plan.readings
    fresh = sharding.replicate(experiment.mesh, state) if not done else None
    _, clock = loop.fit(
      state,
      make_unlearn_step(experiment.apply_fn, method, train=driver.train_mode),
      lambda stride: _batches(experiment, plan, method, extras, stride),
      steps=plan.stride,
      epochs=range(done, last),
      title=name,
      after_epoch=after_stride,
      clock=clock,
    )
    if checkpoints.latest() is None:
      # The first steps were rewound: the parameters of the start stand.
      keep(0, fresh, clock, goal.before)
  return experiment.restore(f"unlearn/{name}", best=driver.rewind), clock


def _first_state(
  experiment: Experiment, plan: Plan, method: Method, original: TrainState
) -> TrainState:
  params = original.params
  if plan.row.start is not None:
    fresh, _ = experiment.initial_variables
    params = plan.row.start(params, fresh, plan.task.layers, **plan.settings)
  return init_state(params, original.batch_stats, method.transform)


def _log_stride(
  log: MetricsLog,
  number: int,
  step: int,
  outputs: list[dict[str, np.ndarray]],
  now: health.Reading,
  decision: str,
) -> None:
  means = {
    key: float(np.mean([output[key] for output in outputs]))
    for key in outputs[0]
  }
  log.write(step, number, "train", **means)
  log.write(
    step,
    number,
    "validation",
    balanced_accuracy=now.balanced_accuracy,
    forget_accuracy=now.forget_accuracy,
    rewound=float(decision == "rewind"),
  )


def read(experiment: Experiment, state: TrainState) -> health.Reading:
  """The vital signs of a network on validation and on the forget set."""
  validation = experiment.members("validation")
  forget = experiment.members("forget")
  probabilities = experiment.probabilities(
    experiment.predict(state, np.concatenate([validation, forget]))
  )
  return health.take_reading(
    state.params,
    probabilities[: len(validation)],
    experiment.labels("true_label")[validation],
    probabilities[len(validation) :],
    experiment.labels("train_label")[forget],
  )


def target_forget_accuracy(
  experiment: Experiment, original: TrainState
) -> float:
  """See `health.expected_forget_accuracy`; from the original's validation."""
  accuracy = train.validation_metrics(experiment, original)["accuracy"]
  return health.expected_forget_accuracy(accuracy, len(experiment.classes))


def _batches(
  experiment: Experiment,
  plan: Plan,
  method: Method,
  extras: dict[str, PyTree],
  stride: int,
):
  """The batches between two readings: a pure function of the stride."""
  config = experiment.config.unlearn
  seed = experiment.config.seed
  epoch, part = divmod(stride, -(-plan.steps // plan.stride))
  chosen = slice(part * plan.stride, (part + 1) * plan.stride)
  key = jax.random.fold_in(jax.random.key(seed), stride)
  both = method.retain_objective is not None
  forget_size = (both and config.forget_batch_size) or config.batch_size

  def stream(name, size, stream_key, extra):
    members = experiment.members(name)
    order = np.random.default_rng([seed, epoch]).permutation(members)
    rows = feed.ordered_rows(order, size)
    rows = [row for row, _ in zip(cycle(rows), range(plan.steps))]
    return experiment.feed.batches(
      rows[chosen],
      key=stream_key,
      augmentation=experiment.augmentation(experiment.config.train),
      extra=extra,
    )

  retain_key, forget_key = jax.random.split(key)
  extra = {}
  if method.forget_objective is not None:
    extra = experiment.forget_fields
  for retain, forget in zip(
    stream("retain", config.batch_size, retain_key, {}),
    stream("forget", forget_size, forget_key, extra),
    strict=True,
  ):
    yield UnlearnBatch(retain, forget), extras


def _extras(
  experiment: Experiment, plan: Plan, original: TrainState
) -> tuple[dict[str, PyTree], loop.Clock]:
  """The arrays that the method asks for, and the seconds that they cost."""
  wanted = plan.build().extras
  extras: dict[str, PyTree] = {}
  wall = compiling = 0.0
  if "reference_params" in wanted:
    extras["reference_params"] = original.params
  if "saliency" in wanted:
    extras["saliency"], seconds = _saliency(experiment, original)
    wall += seconds
  sets: dict[str, Fisher] = {}
  for name in ("retain", "forget"):
    if f"{name}_fisher" in wanted or "train_fisher" in wanted:
      sets[name], clock = fisher_of(
        experiment, original, name, plan.driver.fisher
      )
      wall, compiling = wall + clock.wall, compiling + clock.compile
  if "train_fisher" in wanted:
    sets["train"] = fisher.merge(sets["retain"], sets["forget"])
  for name, found in sets.items():
    if f"{name}_fisher" in wanted:
      extras[f"{name}_fisher"] = fisher.mean(found)
  return extras, loop.Clock(wall, compiling)


def _saliency(
  experiment: Experiment, original: TrainState
) -> tuple[PyTree, float]:
  """The mean gradient of the forget loss at the original, and the seconds."""
  start = time.perf_counter()
  members = experiment.members("forget")
  rows = feed.ordered_rows(members, experiment.config.unlearn.batch_size)
  total = mean_gradient(
    experiment.apply_fn,
    original,
    experiment.feed.batches(rows),
    experiment.target.objective,
  )
  return jax.block_until_ready(total), time.perf_counter() - start


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
  renewed = renew_batch_stats(
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
  damage = goal.before.balanced_accuracy - after.balanced_accuracy
  return {
    **diagnosis._asdict(),
    **_summary(after),
    "balanced_accuracy_drop": damage,
  }


def _summary(reading: health.Reading) -> dict[str, Any]:
  return {
    **reading._asdict(),
    "histogram": reading.histogram.tolist(),
    "histogram_entropy": metrics.entropy(reading.histogram),
  }


def _movement(state: TrainState, original: TrainState) -> dict[str, float]:
  """How far the weights moved, relative to the original's norm."""
  moved = jax.tree.map(jnp.subtract, state.params, original.params)
  share = optax.tree.norm(moved) / optax.tree.norm(original.params)
  return {"moved_over_weights": float(share)}


def _losses(experiment: Experiment, state: TrainState) -> dict[str, float]:
  """Mean loss of what the retain and the forget set teach, nats."""
  columns = experiment.columns("train")
  found = {}
  for name in ("retain", "forget"):
    members = experiment.members(name)
    logits = experiment.predict(state, members)
    loss = experiment.example_losses(logits, members, columns)
    found[name] = float(np.mean(loss))
  return found


def _losses_and_noise(
  experiment: Experiment,
  plan: Plan,
  state: TrainState,
  goal: Goal,
  extras: dict[str, PyTree],
) -> dict[str, Any]:
  """The losses, and what a method of noise did, tensor by tensor."""
  before, after = goal.losses, _losses(experiment, state)
  report: dict[str, Any] = {
    f"{name}_loss": {"before": before[name], "after": after[name]}
    for name in before
  }
  if plan.row.noise is not None:
    params, retain_fisher = goal.original.params, extras["retain_fisher"]
    scale = plan.row.noise(retain_fisher, params, **plan.settings)
    report["noise"] = {
      **noise_report(params, retain_fisher, scale),
      "measured_loss_change": after["retain"] - before["retain"],
    }
  return report
