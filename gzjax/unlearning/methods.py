"""Every network of a run is a row of one table, see `METHODS`.

The constant answer, the original network, real retraining and the unlearning
methods.
"""

from functools import partial
from typing import Any

import optax

from gzjax.evaluation import baselines
from gzjax.problem import Network, Problem
from gzjax.training.recipe import Recipe, train
from gzjax.types import Method
from gzjax.unlearning import edits, starts
from gzjax.unlearning import gradient_methods as gradients
from gzjax.unlearning import one_step_methods as one_step
from gzjax.unlearning.table import (
  METHODS,
  Driver,
  Row,
  Strength,
  Task,
  register,
)

__all__ = [
  "METHODS",
  "TRAININGS",
  "Driver",
  "Row",
  "Strength",
  "Task",
  "register",
]


def _no_steps(task: Task) -> Method:
  """The empty chain: nothing is learned and nothing forgotten."""
  del task
  return Method(optax.with_extra_args_support(optax.identity()))


def _constant(problem: Problem, original: Network, *, name: str, store=None):
  """Says what most volunteers say, whatever the image."""
  del original, store
  return baselines.constant(problem, name)


def _original(problem: Problem, original: Network, *, name: str, store=None):
  """What was trained on wrong labels, too."""
  del problem, store
  return original._replace(name=name)


def _retrain(problem: Problem, original: Network, **how: Any):
  """Trains from scratch without the forget set: what all are measured by."""
  del original
  return train(problem, problem.sets.retain, role="reference", **how)


def _resist(problem: Problem, original: Network, *, learns: str, **how: Any):
  """Trains from scratch, by a loss that resists wrong labels."""
  del original
  usual = Recipe(batch_size=problem.batch_size, loss="early_learning")
  how.setdefault("recipe", usual)
  return train(problem, getattr(problem.sets, learns), role="method", **how)


def _largest_ratio(task: Task, driver: Driver) -> float:
  """Of F_forget and F_train, both per example; of batch means as they tried."""
  return 1e6 if driver.fisher == "batch_mean" else task.train / task.forget


_STILL = {"learning_rate": 0.0}
_TRAINED = Driver(epochs=3)
# Without a batch to keep: the statistics are those of the retain set at the
# end, or the new weights are judged, and hurt, by those of the old ones.
_ONE_STEP = Driver(batch_stats="renewed")
# Stops at the first reading that reaches the target or loses too much.
_CAREFUL = _ONE_STEP._replace(rewind=False)
# As published: nothing stops it.
_UNGUARDED = Driver(max_damage=1.0, rewind=False)

for _name, _row in {
  "constant": Row(_no_steps, {}, make=_constant, role="baseline"),
  "original": Row(
    _no_steps, {}, make=_original, role="original", keeps_all=True
  ),
  "retrain": Row(_no_steps, {}, make=_retrain, role="reference"),
  "finetune": Row(gradients.finetune, _STILL, _TRAINED),
  "gradient_ascent": Row(
    gradients.gradient_ascent,
    _STILL,
    _CAREFUL._replace(epochs=3, checks=4),
  ),
  "neggrad_plus": Row(gradients.neggrad_plus, _STILL, _TRAINED),
  "bounded_neggrad": Row(gradients.bounded_neggrad, _STILL, _TRAINED),
  "negative_learning": Row(gradients.negative_learning, _STILL, _TRAINED),
  "npo": Row(gradients.npo, _STILL, _TRAINED, softmax_only=True),
  "simnpo": Row(gradients.simnpo, _STILL, _TRAINED),
  "delete": Row(gradients.delete, _STILL, _TRAINED, softmax_only=True),
  "l1_sparse": Row(gradients.l1_sparse, _STILL, _TRAINED),
  "random_label": Row(gradients.random_label, _STILL, _TRAINED),
  "salun": Row(gradients.salun, _STILL, _TRAINED),
  "scrub": Row(gradients.scrub, _STILL, _TRAINED, softmax_only=True),
  "bad_teacher": Row(
    gradients.bad_teacher, _STILL, _TRAINED, softmax_only=True
  ),
  "reinit_head": Row(
    gradients.reinit_head,
    _STILL | {"k": 0},
    _TRAINED,
    start=starts.reinitialise,
  ),
  "msg": Row(
    gradients.msg,
    _STILL | {"share": 0.0},
    _TRAINED,
    start=starts.reinitialise_least_telling,
  ),
  "rem": Row(
    gradients.rem,
    _STILL,
    # The statistics of the network without its spare channels are others.
    _TRAINED._replace(batch_stats="renewed"),
    softmax_only=True,
    keeps_all=True,
  ),
  "cf_k": Row(gradients.cf_k, _STILL, _TRAINED),
  "eu_k": Row(gradients.eu_k, {"k": 0}, _TRAINED, start=starts.reinitialise),
  "ssd": Row(
    one_step.ssd,
    {"threshold": float("inf")},
    _CAREFUL._replace(search=6),
    strength=Strength("threshold", _largest_ratio, "strength", (1.0, 0.3, 0.1)),
  ),
  "assd": Row(one_step.assd, {"scale": 0.0}, _ONE_STEP),
  "influence": Row(
    one_step.influence,
    {"scale": 0.0},
    _CAREFUL._replace(search=8),
    strength=Strength("radius", lambda task, driver: 1e-5),
  ),
  "cuts": Row(
    one_step.cuts,
    {"scale": 0.0},
    _CAREFUL._replace(search=8),
    strength=Strength("scale", lambda task, driver: 1e-3),
  ),
  "etd": Row(
    one_step.etd,
    {"scale": 0.0},
    _CAREFUL._replace(search=8),
    strength=Strength("scale", lambda task, driver: 1e-3),
    needs_ties=True,
  ),
  "fisher_forgetting": Row(
    one_step.fisher_forgetting,
    {"budget": 0.0},
    _CAREFUL._replace(search=8),
    strength=Strength("budget", lambda task, driver: 1e-8),
    noise=edits.fisher_noise_scale,
  ),
  "elr": Row(
    _no_steps,
    {},
    make=partial(_resist, learns="train"),
    softmax_only=True,
    keeps_all=True,
  ),
  "retrain_elr": Row(
    _no_steps, {}, make=partial(_resist, learns="retain"), softmax_only=True
  ),
  "relabel": Row(gradients.relabel, _STILL, _TRAINED),
  "published_gradient_ascent": Row(
    gradients.published_gradient_ascent,
    _STILL,
    _UNGUARDED._replace(epochs=3),
  ),
  "published_fisher_forgetting": Row(
    one_step.published_fisher_forgetting,
    {"noise_scale": 0.0},
    _UNGUARDED._replace(fisher="batch_mean"),
    noise=edits.published_noise_scale,
  ),
}.items():
  register(_name, _row)

# Rows that a config asks for and that are trained from scratch.
TRAININGS = tuple(
  name for name, row in METHODS.items() if row.make and not row.given
)
