"""Networks as they are once their BatchNorm statistics are estimated anew.

Whoever goes on training a network renews them, and much that was forgotten on
the stored ones comes back: see docs/unlearning.md.
"""

from gzjax.data import feed
from gzjax.problem import Network, Problem
from gzjax.training.step import renew_batch_stats
from gzjax.types import FORWARD


def renewed(problem: Problem, network: Network) -> Network:
  """With the statistics of the retain set, without random views.

  A network that has none comes back as it is, and any where the retain set is
  smaller than a batch.
  """
  rows = _rows(problem)
  if not network.batch_stats or not rows:
    return network
  state = renew_batch_stats(
    network.apply_fn or problem.apply_fn,
    network.state,
    problem.feed.batches(rows),
  )
  return network._replace(batch_stats=state.batch_stats)


def cost(problem: Problem) -> float:
  """Gradients that renewing is worth, see `Cost`."""
  return FORWARD * problem.batch_size * len(_rows(problem))


def _rows(problem: Problem) -> list[feed.BatchRows]:
  """Full batches only: padding would be counted."""
  return feed.training_rows(
    problem.sets.retain, problem.batch_size, problem.seed, epoch=0
  )
