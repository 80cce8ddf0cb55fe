"""The arrays that methods ask for, see `transforms`, and what they cost."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import numpy as np
import optax

from gzjax import fisher, sharding
from gzjax.data import feed
from gzjax.problem import Network, Problem
from gzjax.training.loop import fit, timed
from gzjax.training.step import init_state, mean_gradient
from gzjax.types import Cost, Fisher, PyTree
from gzjax.unlearning import plan as plans
from gzjax.unlearning.step import make_descent

# (the network, "retain" or "forget", an estimator or "" for the usual one) ->
# the Fisher of that set and what it took.
FisherOf = Callable[[Network, str, str], tuple[Fisher, Cost]]


def find(
  problem: Problem,
  plan: plans.Plan,
  original: Network,
  fisher_of: FisherOf | None = None,
) -> tuple[dict[str, PyTree], Cost]:
  """The arrays that the method asks for, and what they cost.

  Fishers come from `fisher_of`; None: they are computed anew.
  """
  fisher_of = fisher_of or fisher_by(problem)
  wanted = plan.build().extras
  extras: dict[str, PyTree] = {}
  cost = Cost()
  if any("reference_" in name for name in wanted):
    extras["reference_params"] = original.params
    extras["reference_batch_stats"] = original.batch_stats
  for key, rows in _pulling(problem).items():
    if key in wanted:
      extras[key], seconds = timed(
        mean_gradient,
        problem.apply_fn,
        original.state,
        problem.feed.batches(feed.ordered_rows(rows, problem.batch_size)),
        problem.target.objective,
      )
      cost = cost.plus(Cost(seconds, gradients=len(rows)))
  if "forget_params" in wanted:
    extras["forget_params"], took = _taught(problem, original, plan.settings)
    cost = cost.plus(took)
  sets: dict[str, Fisher] = {}
  for name in ("retain", "forget"):
    if f"{name}_fisher" in wanted or "train_fisher" in wanted:
      sets[name], took = fisher_of(original, name, plan.driver.fisher)
      cost = cost.plus(took)
  if "train_fisher" in wanted:
    sets["train"] = fisher.merge(sets["retain"], sets["forget"])
  for name, found in sets.items():
    if f"{name}_fisher" in wanted:
      extras[f"{name}_fisher"] = fisher.mean(found)
  return extras, cost


def fisher_by(problem: Problem, spec: fisher.Spec | None = None) -> FisherOf:
  """Computes Fishers of the sets of a problem.

  Of the spec, its target has the objective and the likelihood.
  """
  spec = (spec or fisher.Spec())._replace(
    objective=problem.target.objective, likelihood=problem.target.likelihood
  )

  def of_set(network: Network, name: str, estimator: str):
    used = cast(fisher.Estimator, estimator or spec.estimator)
    rows = feed.ordered_rows(getattr(problem.sets, name), problem.batch_size)
    variables = {"params": network.params, "batch_stats": network.batch_stats}

    def compute(rows):
      return fisher.fisher_diagonal(
        problem.apply_fn,
        variables,
        problem.feed.batches(rows),
        spec=spec._replace(estimator=used),
        mesh=problem.feed.mesh,
        key=problem.key,
        total=len(rows),
      )

    _, compile_seconds = timed(compute, rows[:1])
    found, seconds = timed(compute, rows)
    each = fisher.gradients_each(
      spec._replace(estimator=used),
      problem.target.outputs,
      {key: x[0] for key, x in problem.columns.given.items()},
    )
    return found, Cost(seconds, compile_seconds, each * float(found.count))

  return of_set


def _pulling(problem: Problem) -> dict[str, np.ndarray]:
  """Galaxies whose mean gradient a method may ask for, by its name.

  Those to forget, and as many of those to keep.
  """
  forget, retain = problem.sets.forget, problem.sets.retain
  rng = np.random.default_rng([problem.seed, len(retain)])
  some = rng.permutation(retain)[: len(forget)]
  return {"saliency": forget, "retain_saliency": some}


def _taught(
  problem: Problem, original: Network, settings: Mapping[str, Any]
) -> tuple[PyTree, Cost]:
  """Parameters after `passes` over the forget set alone, wrong labels and all.

  By Adam at `learning_rate`, on stored BatchNorm statistics.
  """
  tx = optax.adam(settings["learning_rate"])
  forget, size = problem.sets.forget, problem.batch_size

  def batches(epoch):
    order = np.random.default_rng([problem.seed, epoch]).permutation(forget)
    return problem.feed.batches(
      feed.ordered_rows(order, size),
      key=jax.random.fold_in(problem.key, epoch),
      augmentation=problem.augmentation,
    )

  state = init_state(original.params, original.batch_stats, tx)
  state, cost = fit(
    sharding.spread(problem.feed.mesh, state),
    make_descent(problem.apply_fn, problem.target.objective, tx),
    batches,
    steps=-(-len(forget) // size),
    epochs=range(settings["passes"]),
    title="the wrong labels once more:",
    after_epoch=lambda *_: True,
    cost=Cost(),
  )
  return state.params, cost
