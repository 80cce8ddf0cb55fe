"""What a method did to a network, in numbers: for health.json."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax import problem as problems
from gzjax.evaluation import batch_stats, health, metrics
from gzjax.problem import Network, Problem
from gzjax.types import FORWARD, PyTree
from gzjax.unlearning import edits
from gzjax.unlearning.plan import Plan


class Goal(NamedTuple):
  """What a method starts from and is measured by."""

  original: Network
  before: health.Reading  # of the original
  target: float  # forget accuracy to reach
  losses: dict[str, float]  # of the original, see `mean_losses`


def make_goal(problem: Problem, original: Network) -> Goal:
  """The goal of all methods that start from `original`."""
  validation, forget = _said(problem, original)
  return Goal(
    original,
    health.read(problem, original.params, validation, forget),
    health.target_of(problem, validation),
    mean_losses(problem, original),
  )


def read_vitals(problem: Problem, network: Network) -> health.Reading:
  """The vital signs of a network on validation and on the forget set."""
  return health.read(problem, network.params, *_said(problem, network))


def reading_cost(problem: Problem) -> float:
  """Gradients that `read_vitals` is worth."""
  sets = problem.sets
  return FORWARD * (len(sets.validation) + len(sets.forget))


def _said(problem: Problem, network: Network) -> tuple[np.ndarray, np.ndarray]:
  """Probabilities of the classes on the validation and the forget set."""
  validation, forget = problem.sets.validation, problem.sets.forget
  rows = np.concatenate([validation, forget])
  said = problems.probabilities(problem, network, rows)
  return said[: len(validation)], said[len(validation) :]


def mean_losses(problem: Problem, network: Network) -> dict[str, float]:
  """Mean loss of what the retain and the forget set teach, nats."""
  found, given = {}, problem.columns.given
  for name in ("retain", "forget"):
    rows = getattr(problem.sets, name)
    logits = problems.predict(problem, network, rows)
    loss = problems.example_losses(problem, logits, rows, given)
    found[name] = float(np.mean(loss))
  return found


def report(
  problem: Problem,
  plan: Plan,
  network: Network,
  goal: Goal,
  extras: Mapping[str, PyTree],
) -> dict[str, Any]:
  """The diagnosis, with and without renewed BatchNorm statistics.

  The numbers are those without; the verdict is the worse of both. `extras` are
  what the method was given, {} if it was not run.
  """
  stored = _judge(problem, network, goal)
  renewed = _judge(problem, batch_stats.renewed(problem, network), goal)
  before, after = goal.losses, mean_losses(problem, network)
  moved = _moved_share(network.params, goal.original.params)
  found: dict[str, Any] = {
    "target_forget_accuracy": goal.target,
    "original": summary(goal.before),
    **stored,
    **health.worse(*map(_diagnosis, (stored, renewed)))._asdict(),
    "with_renewed_batch_stats": renewed,
    "moved_over_weights": float(moved),
    **{
      f"{name}_loss": {"before": before[name], "after": after[name]}
      for name in before
    },
  }
  if plan.row.noise is not None and extras:
    params, retain_fisher = goal.original.params, extras["retain_fisher"]
    # One program, not one for each operation on each tensor.
    noise = jax.jit(partial(plan.row.noise, **plan.settings))
    scale = noise(retain_fisher, params)
    found["noise"] = {
      **noise_report(params, retain_fisher, scale),
      "measured_loss_change": after["retain"] - before["retain"],
    }
  return found


def _judge(problem: Problem, network: Network, goal: Goal) -> dict[str, Any]:
  after = read_vitals(problem, network)
  diagnosis = health.diagnose(
    after, goal.before, goal.target, problem.target.classes
  )
  damage = health.damage(after, goal.before)
  return {
    **diagnosis._asdict(),
    **summary(after),
    "balanced_accuracy_drop": damage.lost,
    "balanced_accuracy_drop_error": damage.error,
  }


def _diagnosis(judged: Mapping[str, Any]) -> health.Diagnosis:
  return health.Diagnosis(judged["verdict"], judged["reason"])


def summary(reading: health.Reading) -> dict[str, Any]:
  """A reading as plain data, without what each galaxy adds to it."""
  numbers = reading._asdict()
  del numbers["credits"]
  return {
    **numbers,
    "balanced_accuracy": reading.balanced_accuracy,
    "histogram": reading.histogram.tolist(),
    "histogram_entropy": metrics.entropy(reading.histogram),
  }


@jax.jit
def _moved_share(params: PyTree, before: PyTree) -> jax.Array:
  """How far the weights moved, relative to the norm that they had."""
  moved = jax.tree.map(jnp.subtract, params, before)
  return optax.tree.norm(moved) / optax.tree.norm(before)


def noise_report(
  params: PyTree, mean_fisher: PyTree, scale: edits.NoiseScale
) -> dict[str, Any]:
  """What noise does to a network, tensor by tensor; for health.json.

  `noise_over_weight` is a ratio of root mean squares, `zero_fisher` the share
  of parameters with F == 0, `at_cap` the share whose noise was capped.
  """

  def rms(x):
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))

  tensors = {}
  for (path, weight), sigma, f, capped in zip(
    jax.tree.leaves_with_path(params),
    *map(jax.tree.leaves, (scale.sigma, mean_fisher, scale.capped)),
    strict=True,
  ):
    if not np.any(np.asarray(sigma)):
      continue
    tensors[jax.tree_util.keystr(path, simple=True, separator="/")] = {
      "noise_over_weight": rms(sigma) / max(rms(weight), 1e-12),
      "zero_fisher": float(np.mean(np.asarray(f) == 0)),
      "at_cap": float(capped),
      "size": int(np.size(weight)),
    }
  sizes = [t["size"] for t in tensors.values()]

  def average(name):
    values = [t[name] for t in tensors.values()]
    return float(np.average(values, weights=sizes)) if sizes else 0.0

  return {
    "alpha": float(scale.alpha),
    "effective_parameters": float(scale.effective_parameters),
    "parameters": sum(np.size(p) for p in jax.tree.leaves(params)),
    "predicted_loss_change": float(scale.predicted_loss),
    "noise_over_weight": average("noise_over_weight"),
    "zero_fisher": average("zero_fisher"),
    "at_cap": average("at_cap"),
    "layers": tensors,
  }
