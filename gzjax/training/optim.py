"""Optimizers, schedules and the rates of single layers."""

from collections.abc import Callable, Mapping, Sequence
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gzjax.errors import UserError
from gzjax.registry import Natural, NonNegative, Share, Table


class Span(NamedTuple):
  """What a schedule is made for."""

  learning_rate: float  # the peak
  steps: int  # all steps of the run
  warmup_steps: int  # less than `steps`
  epoch_steps: int = 0  # in an epoch


class Rates(NamedTuple):
  """What a schedule does to an optimizer."""

  schedule: optax.Schedule  # step -> learning rate
  # Around the whole optimizer; its update may take `value`, the loss.
  wrap: Callable[
    [optax.GradientTransformation], optax.GradientTransformation
  ] = lambda tx: tx


def cosine(span: Span) -> Rates:
  """A linear warm-up to the peak, then a cosine to 0."""
  return Rates(
    optax.warmup_cosine_decay_schedule(
      0.0, span.learning_rate, span.warmup_steps, span.steps
    )
  )


def constant(span: Span) -> Rates:
  """A linear warm-up to the peak, which it keeps."""
  start = 0.0 if span.warmup_steps else span.learning_rate
  return Rates(
    optax.linear_schedule(start, span.learning_rate, max(span.warmup_steps, 1))
  )


def plateau(
  span: Span,
  *,
  plateau_factor: Share = 0.5,
  plateau_patience: Natural = 2,
  min_learning_rate: NonNegative = 1e-6,
) -> Rates:
  """`constant`, lowered where the training loss stops falling.

  Args:
    span: see `Span`.
    plateau_factor: of the rate after each plateau.
    plateau_patience: epochs in a row whose mean loss was not below 0.9999 of
      the lowest before.
    min_learning_rate: that plateaus lower to.
  """

  def wrap(tx):
    return optax.chain(
      tx,
      optax.contrib.reduce_on_plateau(
        factor=plateau_factor,
        patience=plateau_patience,
        accumulation_size=span.epoch_steps,
        min_scale=min_learning_rate / span.learning_rate,
      ),
    )

  return Rates(constant(span).schedule, wrap)


# (span, **settings) -> Rates
SCHEDULES: Table[Callable[..., Rates]] = Table(
  {"cosine": cosine, "constant": constant, "plateau": plateau}
)


def _matrices(params):
  return jax.tree.map(lambda p: p.ndim > 1, params)


def _decayed(make):
  """An optimizer with weight decay in its gradients, as in torch."""

  def build(
    schedule: optax.Schedule, *, weight_decay: NonNegative = 1e-4
  ) -> optax.GradientTransformation:
    return optax.chain(
      optax.add_decayed_weights(weight_decay, _matrices), make(schedule)
    )

  return build


def adamw(
  schedule: optax.Schedule, *, weight_decay: NonNegative = 1e-4
) -> optax.GradientTransformation:
  """AdamW.

  Args:
    schedule: step -> learning rate.
    weight_decay: adamw: decoupled; adam and sgd: in the gradient. Not of
      tensors of one axis (BatchNorm, biases).
  """
  return optax.adamw(schedule, weight_decay=weight_decay, mask=_matrices)


# (schedule, **settings) -> optax.GradientTransformation
OPTIMIZERS: Table[Callable[..., optax.GradientTransformation]] = Table(
  {
    "adam": _decayed(optax.adam),
    "adamw": adamw,
    "sgd": _decayed(functools.partial(optax.sgd, momentum=0.9)),
  }
)


def learning_rate(
  schedule: optax.Schedule, opt_state: optax.OptState, step: int
) -> float:
  """The rate of a step (from 0), lowered as plateaus did up to `opt_state`."""
  plateaus = optax.tree.get_all_with_path(opt_state, "ReduceLROnPlateauState")
  scales = [float(plateau.scale) for _, plateau in plateaus]
  # One program, not one for each operation.
  return math.prod(scales, start=float(jax.jit(schedule)(step)))


def freeze_backbone(
  make_optimizer: Callable[[int], optax.GradientTransformation], steps: int
) -> optax.GradientTransformation:
  """At first only the head learns.

  The backbone has an optimizer of its own, which waits: after `steps` updates
  its moments and its count of updates, from which Adam corrects the bias of
  young moments, are still 0. (With one count for both, Adam's first hundred
  updates of the backbone would be three to six times too large.) BatchNorm's
  statistics are no updates: those of the backbone move from the start.

  `make_optimizer` takes the step at which its learning-rate schedule begins, so
  that both are at the same place in it. 0 steps give `make_optimizer(0)`.
  """
  if steps == 0:
    return make_optimizer(0)
  backbone = optax.transforms.conditionally_mask(
    make_optimizer(steps), lambda step, **_: jnp.greater_equal(step, steps)
  )
  return optax.partition(
    {True: make_optimizer(0), False: backbone},
    lambda params: {layer: layer == "head" for layer in params},
  )


def scale_rates(
  inner: optax.GradientTransformation, factors: Mapping[str, float]
) -> optax.GradientTransformation:
  """Multiplies all that `inner` does to a layer by a factor of its own.

  See `decay_by_depth` and `match_prefixes`. 0 freezes the layer; if all factors
  are 1, the result is `inner`.
  """
  if all(factor == 1 for factor in factors.values()):
    return inner

  def scale(updates, params):
    del params
    return {
      layer: optax.tree.scale(factors[layer], update)
      for layer, update in updates.items()
    }

  return optax.chain(inner, optax.stateless(scale))


def decay_by_depth(layers: Sequence[str], decay: float) -> dict[str, float]:
  """Layer-wise decay: decay^d, d layers below the last one (Clark et al. 2020).

  The layers go from the input to the output, see `models.depth_order`.

  Raises:
    UserError: for a decay that is not above 0 and at most 1.
  """
  if not 0 < decay <= 1:
    raise UserError(
      f"the layer-wise decay is {decay}: choose one above 0 and at most 1."
    )
  return {layer: decay**depth for depth, layer in enumerate(reversed(layers))}


def match_prefixes(
  layers: Sequence[str], rates: Mapping[str, float]
) -> dict[str, float]:
  """Discriminative rates: a factor for all layers whose names begin alike.

  Of the prefixes, e.g. {"stem": 0.0, "stage1": 0.1}, the longest that fits
  counts; without one the factor is 1.

  Raises:
    UserError: for a prefix of no layer.
  """
  for prefix in rates:
    if not any(layer.startswith(prefix) for layer in layers):
      raise UserError(
        f"no layer begins with {prefix!r}: the layers are {', '.join(layers)}."
      )

  def rate(layer):
    fitting = [prefix for prefix in rates if layer.startswith(prefix)]
    return rates[max(fitting, key=len)] if fitting else 1.0

  return {layer: rate(layer) for layer in layers}
