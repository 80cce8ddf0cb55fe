"""How soon a network learns its wrong labels again."""

from typing import Any

import numpy as np
import optax

from gzjax import sharding
from gzjax.batches import Step, go_through
from gzjax.data import feed
from gzjax.problem import Network, Problem, example_losses, predict
from gzjax.remembered import remembered
from gzjax.training.step import init_state
from gzjax.types import ApplyFn, Objective
from gzjax.unlearning.step import make_descent

MARGIN = 0.05  # nats


class Relearn:
  """Relearn time (Golatkar et al. 2020).

  Little time says that wrong labels were only hidden. Adam on all of them, on
  stored BatchNorm statistics, until their mean loss over an epoch is at most
  that of the original and `MARGIN` nats. The rate must be low: where all is
  memorised the minimum is sharp, and at a high one even the original network
  needs long.
  """

  def __init__(
    self, problem: Problem, original: Network, epochs: int, rate: float = 1e-4
  ):
    """Tries at most `epochs` passes at a learning rate."""
    self._problem = problem
    self._epochs = epochs
    self._tx, self._step = _adam(
      problem.apply_fn, problem.target.objective, rate
    )
    logits = predict(problem, original, problem.wrong)
    self._goal = MARGIN + np.mean(
      example_losses(problem, logits, problem.wrong, problem.columns.given)
    )

  def steps(self, network: Network) -> dict[str, Any]:
    """`relearn_steps` and whether the loss was reached in time.

    Nothing for networks of another kind, which these steps cannot teach.
    """
    problem = self._problem
    if network.apply_fn is not None:
      return {}
    state = sharding.spread(
      problem.feed.mesh,
      init_state(network.params, network.batch_stats, self._tx),
    )
    for epoch in range(self._epochs):
      rng = np.random.default_rng([problem.seed, epoch])
      order = rng.permutation(problem.wrong)
      rows = feed.ordered_rows(order, problem.batch_size)
      batches = problem.feed.batches(rows)
      state, outputs = go_through(self._step, state, batches)
      found = [output["retain_loss"] for output in outputs]
      if np.mean(found, dtype=np.float64) <= self._goal:
        return {"relearn_steps": int(state.step), "relearned": True}
    return {"relearn_steps": int(state.step), "relearned": False}


@remembered  # the next run compiles nothing
def _adam(
  apply_fn: ApplyFn, objective: Objective, rate: float
) -> tuple[optax.GradientTransformation, Step]:
  tx = optax.adam(rate)
  return tx, make_descent(apply_fn, objective, tx)
