"""Runs a method on a problem: its Fisher, search, steps and stop rule."""

from collections.abc import Mapping
import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from gzjax.evaluation import batch_stats, health
from gzjax.problem import Network, Problem, predict
from gzjax.progress import say
from gzjax.training.loop import fit
from gzjax.training.store import Memory, Store
from gzjax.types import Cost, Method, PyTree, TrainState
from gzjax.unlearning import diagnosis, extras
from gzjax.unlearning import plan as plans
from gzjax.unlearning.diagnosis import Goal
from gzjax.unlearning.methods import Driver, Row
from gzjax.unlearning.search import TAKEN_BACK, decide, search
from gzjax.unlearning.step import make_unlearn_step


def run(
  problem: Problem,
  row: Row,
  original: Network,
  *,
  name: str = "",
  goal: Goal | None = None,
  fisher_of: extras.FisherOf | None = None,
  store: Store | None = None,
  least_learned: float = health.LEAST_LEARNED,
  **settings: Any,
) -> Network:
  """Makes the network of a row of the table, from the original one.

  Where there is nothing to unlearn a method is not run: the original stands,
  and the report says why in `not_run`.

  Args:
    problem: what to forget and to keep.
    row: such as `METHODS["scrub"]`.
    original: the network that learned the wrong labels.
    name: of the result; "": that of the row.
    goal: what the method is measured by; None: `diagnosis.make_goal`.
    fisher_of: where Fishers come from; None: computed anew.
    store: keeps the states; None: this process only.
    least_learned: see `health.nothing_to_unlearn`; 0: methods always run.
    **settings: of the method and its driver; others are the row's defaults.

  Raises:
    ValueError: if the retain set is smaller than a batch.
    TypeError: for a setting that the method does not have.
  """
  name = name or row.name
  store = store or Memory()
  if row.make is not None:
    return row.make(problem, original, name=name, store=store, **settings)
  goal = goal or diagnosis.make_goal(problem, original)
  plan = plans.make_plan(problem, row, settings)
  warnings = plans.warnings(plan)
  for words in warnings:
    say(f"warning: {words}")
  why = health.nothing_to_unlearn(goal.before, goal.target, least_learned)
  if why:
    say(f"{name}: not run: {why}")
    arrays, besides = {}, {"not_run": why, "reason": f"not run: {why}"}
    network = _Run(problem, name, plan, goal, store).original()
  else:
    arrays, cost = extras.find(problem, plan, original, fisher_of)
    besides = {}
    if plan.driver.search and row.strength:
      say(f"{name}: searching {row.strength.setting}")
      plan, besides, took = search(problem, plan, goal, arrays)
      cost = cost.plus(took)
    network = _Run(problem, name, plan, goal, store).network(arrays, cost)
  report = {
    **diagnosis.report(problem, plan, network, goal, arrays),
    **besides,
    "warnings": warnings,
    **network.cost._asdict(),
  }
  report["cause"] = health.cause(report)
  if report["cause"]:
    say(f"{name}: {report['verdict']}: {report['cause']}")
  return network._replace(report=report)


class _Run(NamedTuple):
  """Takes steps; reads vital signs between them, keeps states, may stop."""

  problem: Problem
  name: str
  plan: plans.Plan
  goal: Goal
  store: Store

  def network(self, arrays: Mapping[str, PyTree], cost: Cost) -> Network:
    """Takes the method's steps, or those that a killed run left to do."""
    problem, plan, goal, store = self.problem, self.plan, self.goal, self.store
    method, driver = plan.build(), plan.driver
    params = goal.original.params
    if plan.row.start is not None:
      params = plan.row.start(
        params, problem.fresh[0], plan.task.layers, arrays, **plan.settings
      )
    state, earlier, done = store.resume(self.start(params), {})
    cost = earlier if done else cost
    fields = {} if method.forget_objective is None else forget_fields(problem)
    # A run killed after its last step must not take another one.
    stopped = done and decide(plan, goal, self.read(state)) == "done"
    state, cost = fit(
      state,
      make_unlearn_step(problem.apply_fn, method, live=is_live(method, driver)),
      lambda stride: plans.batches(problem, plan, fields, arrays, stride),
      steps=plan.stride,
      epochs=range(done, done if stopped else plan.readings),
      title=self.name,
      after_epoch=self.after_stride,
      cost=cost,
      reading=diagnosis.reading_cost(problem),
    )
    network = self.kept(cost)
    renews = driver.batch_stats == "renewed" and network.batch_stats
    if renews and done <= plan.readings:
      network = self.renew(network, state)
    return network

  def start(self, params: PyTree) -> TrainState:
    """The state before the first step, from these parameters."""
    batch_stats = self.goal.original.batch_stats
    return plans.start(self.problem, self.plan, params, batch_stats)

  def original(self) -> Network:
    """The original as the result, without a step."""
    self.store.resume(self.start(self.goal.original.params), {})
    return self.kept(Cost())

  def kept(self, cost: Cost) -> Network:
    """The reading that stands; the original, if none does."""
    best = self.plan.driver.rewind
    found = self.store.networks(best=best)
    if found is None:
      self.keep(
        0, self.start(self.goal.original.params), cost, self.goal.before
      )
      found = self.store.networks(best=best)
    assert found is not None
    return Network(self.name, *found, cost)

  def renew(self, network: Network, last: TrainState) -> Network:
    """The result with renewed BatchNorm statistics, as one more state."""
    start = time.perf_counter()
    found = jax.block_until_ready(batch_stats.renewed(self.problem, network))
    seconds = time.perf_counter() - start
    took = Cost(seconds, gradients=batch_stats.cost(self.problem))
    found = found._replace(cost=network.cost.plus(took))
    state = last._replace(params=found.params, batch_stats=found.batch_stats)
    number = self.plan.readings + 1
    self.store.save(number, state, found.cost, sys.float_info.max, {})
    return found

  def read(self, state: TrainState) -> health.Reading:
    network = Network(self.name, state.params, state.batch_stats)
    return diagnosis.read_vitals(self.problem, network)

  def keep(
    self, number: int, state: TrainState, cost: Cost, now: health.Reading
  ) -> None:
    score = now.balanced_accuracy
    if self.plan.driver.rewind:
      score = health.worth(now, self.goal.before, self.goal.target)
    self.store.save(number, state, cost, score, {})

  def after_stride(
    self, stride: int, state: TrainState, outputs: list, cost: Cost
  ) -> bool:
    now, number = self.read(state), stride + 1
    decision = decide(self.plan, self.goal, now)
    at = int(state.step), number
    means = jax.tree.map(lambda *x: float(np.mean(x)), *outputs)
    self.store.log(*at, "train", **means)
    self.store.log(
      *at,
      "validation",
      balanced_accuracy=now.balanced_accuracy,
      forget_accuracy=now.forget_accuracy,
      rewound=float(decision in TAKEN_BACK),
    )
    say(
      f"{self.name} {number}/{self.plan.readings}: wrong labels still given "
      f"{now.forget_accuracy:.3f}, balanced accuracy "
      f"{now.balanced_accuracy:.3f}; {decision}"
    )
    if decision not in TAKEN_BACK:
      self.keep(number, state, cost, now)
    return decision in ("go on", "hurt")


def is_live(method: Method, driver: Driver) -> bool:
  """Whether it learns on the BatchNorm statistics of its batches."""
  keeps = method.retain_objective is not None
  return driver.batch_stats == "live" or (
    keeps and driver.batch_stats == "renewed"
  )


def forget_fields(problem: Problem) -> dict[str, np.ndarray]:
  """What the batches of the forget set hold besides, for all galaxies.

  `mended_label` i32[N] and `mended_votes` f32[N,A], where they are known, to
  learn instead; `random_logits` f32[N,K], the answers of a fresh network (0
  outside of the forget set).
  """
  forget = problem.sets.forget
  random_logits = np.zeros((problem.size, problem.target.outputs), np.float32)
  random_logits[forget] = predict(
    problem, Network("fresh", *problem.fresh), forget
  )
  mended = {f"mended_{key}": x for key, x in problem.columns.mended.items()}
  return {**mended, "random_logits": random_logits}
