"""Programs to profile: a training step, a Fisher, a step of unlearning."""

from collections.abc import Callable, Generator, Iterable
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gzjax import fisher
from gzjax.data import feed
from gzjax.fisher import diagonal
from gzjax.problem import Entries, Problem
from gzjax.training import recipe as recipes
from gzjax.training.dynamics import Dynamics
from gzjax.types import Method, PyTree
from gzjax.unlearning import driver
from gzjax.unlearning import plan as plans
from gzjax.unlearning.methods import Row
from gzjax.unlearning.step import make_unlearn_step


class Program(NamedTuple):
  """A jitted step, and what it goes through without end."""

  step: Any  # (state, *fixed, batch) -> (new state, outputs); jitted
  state: PyTree  # before the first step, which consumes it
  fixed: tuple[PyTree, ...]
  batches: Generator[Any, None, None]
  examples: int  # in a batch, those to forget included


def of_training(
  problem: Problem, recipe: recipes.Recipe, entries: Entries
) -> Program:
  """The steps of `training.train` over the training set."""
  rows = problem.sets.train
  memory = recipes.memory(recipe)
  if memory is not None:
    dynamics = Dynamics(problem, entries)
    dynamics.remember(memory)
    entries = {**entries, "remembered": dynamics.arrays["remembered"]}
  plan = recipes.make_plan(problem, rows, recipe, entries)
  return Program(
    plan.step,
    plan.start(problem),
    (),
    _endless(plan.batches),
    recipe.batch_size,
  )


def of_fisher(problem: Problem, spec: fisher.Spec) -> Program:
  """The sums of `fisher.fisher_diagonal` over the training set.

  Of the spec, its target has the objective and the likelihood.
  """
  spec = spec._replace(
    objective=problem.target.objective, likelihood=problem.target.likelihood
  )
  mesh, (params, batch_stats) = problem.feed.mesh, problem.fresh
  rows = feed.ordered_rows(problem.sets.train, problem.batch_size)
  return Program(
    diagonal.make_accumulate(problem.apply_fn, spec, mesh),
    diagonal.make_sums(spec, mesh)[0](params),
    (params, batch_stats, problem.key),
    _endless(lambda _: problem.feed.batches(rows)),
    problem.batch_size,
  )


def of_method(problem: Problem, row: Row, **settings: Any) -> Program:
  """The steps of a method from the fresh network.

  The arrays that it asks for (Fishers, mean gradients, a reference) are ones of
  the same shapes: what a step takes does not depend on their values.

  Raises:
    ValueError: for a row that takes no steps of its own.
  """
  if row.make is not None:
    raise ValueError(f"{row.name} is no chain of steps")
  plan = plans.make_plan(problem, row, settings)
  method, (params, batch_stats) = plan.build(), problem.fresh
  fields = {}
  forgotten = 0
  if method.forget_objective is not None:
    fields = driver.forget_fields(problem)
    forgotten = problem.batch_size
    if method.retain_objective is not None:
      forgotten = problem.forget_batch_size or problem.batch_size
  kept = problem.batch_size if method.retain_objective is not None else 0
  extras = _stand_ins(method, params, batch_stats)
  live = driver.is_live(method, plan.driver)
  return Program(
    jax.jit(make_unlearn_step(problem.apply_fn, method, live=live)),
    plans.start(problem, plan, params, batch_stats),
    (),
    _endless(
      lambda stride: plans.batches(problem, plan, fields, extras, stride)
    ),
    kept + forgotten,
  )


def _stand_ins(
  method: Method, params: PyTree, batch_stats: PyTree
) -> dict[str, PyTree]:
  """Ones for the arrays that a method asks for, see `extras.find`."""

  def ones(tree):
    return jax.tree.map(jnp.ones_like, tree)

  found = {
    name: ones(params)
    for name in method.extras
    if not name.endswith("reference_logits")
  }
  if any("reference_" in name for name in method.extras):
    found["reference_params"] = ones(params)
    found["reference_batch_stats"] = ones(batch_stats)
  return found


def _endless(
  batches: Callable[[int], Iterable[Any]],
) -> Generator[Any, None, None]:
  for number in itertools.count():
    yield from batches(number)
