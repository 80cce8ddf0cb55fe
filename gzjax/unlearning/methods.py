"""The unlearning methods: one row each, see `METHODS`.

Real retraining is not a row: it is the train stage run on the retain set.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from gzjax import losses
from gzjax.types import Method
from gzjax.unlearning import transforms


class Row(NamedTuple):
  """A method of the table.

  `build(key, **settings)` makes it; with the settings of `neutral` in place of
  its own it changes no parameter, which a test checks.
  """

  build: Callable[..., Method]
  neutral: Mapping[str, Any]


def finetune(key: jax.Array, *, learning_rate: float) -> Method:
  """Goes on training, on the retain set only: the baseline of all methods.

  Adam on the cross-entropy. Cheap and harmless, but memorised wrong labels
  fade slowly. Cost: epochs over the retain set.
  """
  del key
  return Method(
    transform=optax.with_extra_args_support(optax.adam(learning_rate)),
    retain_objective=losses.cross_entropy,
    forget_objective=None,
    extras=(),
  )


def gradient_ascent(
  key: jax.Array, *, learning_rate: float, max_norm: float, radius: float
) -> Method:
  """Ascends the cross-entropy of the wrong labels (NegGrad), guarded.

  -CE has no lowest point, so plain ascent ends in collapse: here the gradient
  is clipped to `max_norm`, the weights stay within `radius` (relative) of the
  original ones, and the driver stops by `health.ascent_verdict`. Adam, as in
  seed 1. Cost: epochs over the forget set; no retain data.
  """
  del key
  return Method(
    transform=optax.chain(
      transforms.contrast_gradients(retain_weight=0.0),
      optax.clip_by_global_norm(max_norm),
      optax.adam(learning_rate),
      transforms.project_to_ball(radius),
    ),
    retain_objective=None,
    forget_objective=losses.cross_entropy,
    extras=("reference_params",),
  )


def fisher_forgetting(
  key: jax.Array, *, budget: float, stabiliser: float, cap: float
) -> Method:
  """Noise scaled by the retain set's Fisher (Golatkar et al. 2020), budgeted.

  One draw, no training; see `transforms.fisher_noise_scale`. It blurs all that
  was memorised, and cannot aim at single wrong labels. Cost: one pass of
  per-example gradients over the retain set.
  """
  return Method(
    transform=transforms.inject_fisher_noise(
      key, budget=budget, stabiliser=stabiliser, cap=cap
    ),
    retain_objective=None,
    forget_objective=None,
    extras=("retain_fisher",),
  )


METHODS: dict[str, Row] = {
  "finetune": Row(finetune, {"learning_rate": 0.0}),
  "gradient_ascent": Row(gradient_ascent, {"learning_rate": 0.0}),
  "fisher_forgetting": Row(fisher_forgetting, {"budget": 0.0}),
}
