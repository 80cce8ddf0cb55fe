"""How a method takes its steps on a problem."""

from collections.abc import Mapping
from itertools import cycle, islice
from typing import Any, NamedTuple

import jax
import numpy as np

from gzjax import models, sharding
from gzjax.batches import Batches, join
from gzjax.data import feed
from gzjax.errors import SettingError
from gzjax.problem import Problem, Rows
from gzjax.training.step import init_state
from gzjax.types import Batch, Method, PyTree, TrainState, UnlearnBatch
from gzjax.unlearning.methods import METHODS, Driver, Row, Task


class Plan(NamedTuple):
  """A method with its settings, and its steps."""

  row: Row
  driver: Driver
  settings: dict[str, Any]
  task: Task
  steps: int  # in an epoch
  stride: int  # steps from one reading to the next

  @property
  def readings(self) -> int:
    """In all epochs."""
    return self.driver.epochs * -(-self.steps // self.stride)

  def build(self) -> Method:
    """The method."""
    return self.row.build(self.task, **self.settings)


def make_plan(problem: Problem, row: Row, settings: Mapping[str, Any]) -> Plan:
  """The plan of a method; settings left out, its driver's too, are the row's.

  Raises:
    SettingError: if the retain set is smaller than a batch.
    TypeError: for a setting that the method does not have.
  """
  check_retain(problem, "batch_size")
  own = {**METHODS.settings(row.name), **settings}
  driver = row.driver._replace(
    **{key: own.pop(key) for key in Driver._fields if key in own}
  )
  # Which batches a method needs does not depend on the number of steps.
  task = Task(
    problem.key,
    1,
    len(problem.sets.forget),
    len(problem.sets.train),
    models.depth_order(problem.fresh[0]),
    problem.target.objective,
    problem.mended_objective,
    problem.target.class_logits,
  )
  steps = _steps(problem, row, row.build(task, **own))
  task = task._replace(steps=max(steps * driver.epochs, 1))
  stride = -(-steps // max(driver.checks, 1))
  return Plan(row, driver, own, task, steps, stride)


def start(
  problem: Problem, plan: Plan, params: PyTree, batch_stats: PyTree
) -> TrainState:
  """The state before the first step, from these parameters."""
  state = init_state(params, batch_stats, plan.build().transform)
  return sharding.spread(problem.feed.mesh, state)


def check_retain(problem: Problem, argument: str) -> None:
  """Raises SettingError for a retain set smaller than a batch.

  `argument` is what the caller calls the size of a batch.
  """
  count = len(problem.sets.retain)
  if count < problem.batch_size:
    raise SettingError(
      f"the retain set has {count} galaxies, fewer than "
      f"{argument}={problem.batch_size}: nothing can be kept if (nearly) all of"
      " the training set is to be forgotten."
    )


def _kept(problem: Problem, row: Row) -> Rows:
  """What the batches to keep are of."""
  return problem.sets.train if row.keeps_all else problem.sets.retain


def _steps(problem: Problem, row: Row, method: Method) -> int:
  """Steps of an epoch: over what is kept if it is used, else the forget."""
  if method.retain_objective is not None:
    return len(_kept(problem, row)) // problem.batch_size
  if method.forget_objective is not None:
    return -(-len(problem.sets.forget) // problem.batch_size)
  return 1


def warnings(plan: Plan) -> list[str]:
  """What cannot work with these settings."""
  bound = plan.task.train / plan.task.forget
  threshold = plan.settings.get("threshold", 0)
  if "train_fisher" not in plan.build().extras or threshold <= bound:
    return []
  return [
    f"threshold {threshold:g} is above n_train / n_forget = {bound:.3g}, which "
    "no ratio of per-example Fishers exceeds: nothing can be dampened"
  ]


def batches(
  problem: Problem,
  plan: Plan,
  forget_fields: Mapping[str, np.ndarray],
  extras: Mapping[str, PyTree],
  stride: int,
) -> Batches:
  """What steps take between two readings: a pure function of the stride.

  (UnlearnBatch, extras); a set that the method does not look at has no batch.
  """
  method = plan.build()
  epoch, part = divmod(stride, -(-plan.steps // plan.stride))
  chosen = slice(part * plan.stride, (part + 1) * plan.stride)
  keeps = method.retain_objective is not None
  forgets = method.forget_objective is not None
  forget_size = (keeps and problem.forget_batch_size) or problem.batch_size

  def stream(members, size, stream_key, extra):
    order = np.random.default_rng([problem.seed, epoch]).permutation(members)
    rows = list(islice(cycle(feed.ordered_rows(order, size)), plan.steps))
    return problem.feed.batches(
      rows[chosen],
      key=stream_key,
      augmentation=problem.augmentation,
      extra=extra,
    )

  retain_key, forget_key = _two_keys(problem.key, stride)
  alike = {"example": _alike(problem)} if method.spare else {}
  streams = []
  if keeps:
    kept = _kept(problem, plan.row)
    streams += [stream(kept, problem.batch_size, retain_key, alike)]
  if forgets:
    forget = problem.sets.forget
    streams += [stream(forget, forget_size, forget_key, forget_fields)]
  return join(
    _Combine(keeps, forgets),
    *streams,
    mesh=problem.feed.mesh,
    count=len(range(plan.steps)[chosen]),
    shared=extras,
  )


@jax.jit
def _two_keys(key: jax.Array, stride: int) -> tuple[jax.Array, jax.Array]:
  retain, forget = jax.random.split(jax.random.fold_in(key, stride))
  return retain, forget


class _Combine(NamedTuple):
  """Which of the two batches of a step there are."""

  keeps: bool
  forgets: bool

  def __call__(
    self, extras: Mapping[str, PyTree], *batches: Batch
  ) -> tuple[UnlearnBatch, Mapping[str, PyTree]]:
    retain = batches[0] if self.keeps else {}
    return UnlearnBatch(retain, batches[-1] if self.forgets else {}), extras


def _alike(problem: Problem) -> np.ndarray:
  """A number of each galaxy, one for all of the forget set, i32[N]."""
  number = np.arange(problem.size, dtype=np.int32)
  number[problem.sets.forget] = problem.sets.forget[0]
  return number
