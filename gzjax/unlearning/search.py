"""The strongest setting of a method that does not hurt too much."""

from collections.abc import Mapping
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax.evaluation import health
from gzjax.problem import Problem
from gzjax.training.loop import Clock, compiled
from gzjax.types import PyTree
from gzjax.unlearning.diagnosis import Goal, read_vitals, summary
from gzjax.unlearning.plan import Plan


def decide(plan: Plan, goal: Goal, now: health.Reading) -> str:
  """What the stop rule says: "go on", "done" or "rewind"."""
  if plan.driver.max_damage >= 1:
    return "go on"
  return health.ascent_verdict(
    now, goal.before, goal.target, plan.driver.max_damage
  )


def search(
  problem: Problem, plan: Plan, goal: Goal, extras: Mapping[str, PyTree]
) -> tuple[Plan, dict[str, Any], Clock]:
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

  run, compile_seconds = compiled(
    moved, jnp.asarray(strongest, jnp.float32), original.params, extras
  )
  start = time.perf_counter()
  trials = []

  def is_safe(value: float) -> bool:
    params = run(jnp.asarray(value, jnp.float32), original.params, extras)
    now = read_vitals(problem, original._replace(params=params))
    decision = decide(plan, goal, now)
    trials.append({name: value, **summary(now), "decision": decision})
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
  return plan, found, Clock(seconds, compile_seconds)
