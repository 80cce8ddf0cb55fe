"""The strongest setting of a method that does not hurt too much."""

from collections.abc import Callable, Mapping
from operator import itemgetter
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax.evaluation import health
from gzjax.problem import Problem
from gzjax.training.loop import compiled
from gzjax.types import Cost, PyTree
from gzjax.unlearning.diagnosis import (
  Goal,
  read_vitals,
  reading_cost,
  summary,
)
from gzjax.unlearning.plan import Plan

TAKEN_BACK = ("rewind", "hurt")  # decisions about what is no result


def decide(plan: Plan, goal: Goal, now: health.Reading) -> str:
  """What the stop rule says: "go on", "done", "rewind" or "hurt".

  The last is to go on from what is no result; only with `Driver.rewind`.
  """
  driver = plan.driver
  if driver.max_damage >= 1:
    return "go on"
  if not driver.rewind or now.nonfinite:
    return health.ascent_verdict(
      now, goal.before, goal.target, driver.max_damage
    )
  damage = health.damage(now, goal.before)
  return "hurt" if damage.exceeds(driver.max_damage) else "go on"


def search(
  problem: Problem, plan: Plan, goal: Goal, extras: Mapping[str, PyTree]
) -> tuple[Plan, dict[str, Any], Cost]:
  """Bisects for the strongest setting that does not hurt too much.

  For methods of a single step without gradients. Values are tried along the
  geometric mean of the strongest that was safe and the weakest that was not;
  with another setting at several values, those of them that forget most.

  Returns:
    The plan with the settings found, the trials for health.json, the cost.
  """
  row, original = plan.row, goal.original
  assert row.strength is not None
  name, weakest, other, factors = row.strength
  least = weakest(plan.task, plan.driver)

  @jax.jit
  def moved(values, params, extras):
    transform = row.build(plan.task, **{**plan.settings, **values}).transform
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transform.update(
      zeros, transform.init(params), params, **extras
    )
    return optax.apply_updates(params, updates)

  def arrays(values):
    return {key: jnp.asarray(x, jnp.float32) for key, x in values.items()}

  trials = []

  def is_safe(values):
    params = run(arrays(values), original.params, extras)
    now = read_vitals(problem, original._replace(params=params))
    decision = decide(plan, goal, now)
    trials.append({**values, **summary(now), "decision": decision})
    return decision not in TAKEN_BACK

  settings = plan.settings
  choices = [
    {other: factor * settings[other]} if other else {} for factor in factors
  ]
  run, compile_seconds = compiled(
    moved, arrays({name: settings[name], **choices[0]}), original.params, extras
  )
  start = time.perf_counter()
  safe = []
  for chosen in choices:
    begin = len(trials)
    _bisect(
      lambda value, chosen=chosen: is_safe({name: value, **chosen}),
      strongest=settings[name],
      weakest=least,
      trials=plan.driver.search,
    )
    # The last one that was safe is the strongest.
    safe += [x for x in trials[begin:] if x["decision"] not in TAKEN_BACK][-1:]
  best = min(safe, key=itemgetter("forget_accuracy"), default=None)
  found = {name: least}
  if best:
    found = {key: best[key] for key in (name, *choices[0])}
  plan = plan._replace(settings={**settings, **found})
  report = {"search": {"setting": name, "found": found[name], "trials": trials}}
  seconds = time.perf_counter() - start
  work = len(trials) * reading_cost(problem)
  return plan, report, Cost(seconds, compile_seconds, work)


def _bisect(
  is_safe: Callable[[float], bool],
  *,
  strongest: float,
  weakest: float,
  trials: int,
) -> None:
  """Tries the strongest, then between what was safe and what was not."""
  if is_safe(strongest):
    return
  safe, harmful = weakest, strongest
  for _ in range(trials - 1):
    middle = float(np.sqrt(safe * harmful))
    if is_safe(middle):
      safe = middle
    else:
      harmful = middle
