"""Optimizers, schedules and the rates of single layers."""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gzjax.errors import UserError


class Plateau(NamedTuple):
  """Lowers the rate where the training loss stops falling.

  The rate is multiplied by `factor` after `patience` epochs in a row whose mean
  loss was not below 0.9999 of the lowest before, down to the rate `least`.
  """

  factor: float
  patience: int  # epochs
  least: float  # learning rate


def make_schedule(
  *, learning_rate: float, steps: int, warmup_steps: int, decays: bool = True
) -> optax.Schedule:
  """A linear warm-up to `learning_rate`, then a cosine to 0 at `steps`.

  Args:
    learning_rate: the peak.
    steps: all steps of the run.
    warmup_steps: less than `steps`.
    decays: False stays at the peak in place of the cosine.
  """
  start = 0.0 if warmup_steps else learning_rate
  if not decays:
    return optax.linear_schedule(start, learning_rate, max(warmup_steps, 1))
  return optax.warmup_cosine_decay_schedule(
    start, learning_rate, warmup_steps, steps
  )


def make_optimizer(
  name: str,
  schedule: optax.Schedule,
  *,
  weight_decay: float = 0.0,
) -> optax.GradientTransformation:
  """Adam, AdamW or SGD (momentum 0.9) under a schedule.

  Args:
    name: "adam", "adamw" or "sgd".
    schedule: step -> learning rate.
    weight_decay: AdamW: decoupled; Adam and SGD: added to the gradient, as in
      torch. Tensors of one axis (BatchNorm, biases) are not decayed.

  Raises:
    KeyError: for another name.
  """

  def matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)

  def decayed(optimizer):
    if not weight_decay:
      return optimizer
    return optax.chain(
      optax.add_decayed_weights(weight_decay, matrices), optimizer
    )

  return {
    "adam": lambda: decayed(optax.adam(schedule)),
    "adamw": lambda: optax.adamw(
      schedule, weight_decay=weight_decay, mask=matrices
    ),
    "sgd": lambda: decayed(optax.sgd(schedule, momentum=0.9)),
  }[name]()


def with_plateau(
  tx: optax.GradientTransformation,
  plateau: Plateau,
  *,
  learning_rate: float,
  steps: int,
) -> optax.GradientTransformationExtraArgs:
  """`tx` with its updates scaled down on plateaus; needs `value`, the loss.

  Args:
    tx: an optimizer at `learning_rate`.
    plateau: see `Plateau`.
    learning_rate: of `tx`.
    steps: in an epoch.
  """
  return optax.chain(
    tx,
    optax.contrib.reduce_on_plateau(
      factor=plateau.factor,
      patience=plateau.patience,
      accumulation_size=steps,
      min_scale=plateau.least / learning_rate,
    ),
  )


def learning_rate(
  schedule: optax.Schedule, opt_state: optax.OptState, step: int
) -> float:
  """The rate of a step (from 0), lowered as plateaus did up to `opt_state`."""

  def is_plateau(node):
    return isinstance(node, optax.contrib.ReduceLROnPlateauState)

  rate = float(jnp.asarray(schedule(step)))
  for node in jax.tree.leaves(opt_state, is_leaf=is_plateau):
    if is_plateau(node):
      rate *= float(node.scale)
  return rate


def freeze_backbone(
  make_optimizer: Callable[[int], optax.GradientTransformation],
  steps: int,
  head: str = "head",
) -> optax.GradientTransformation:
  """At first only the head learns.

  The backbone has an optimizer of its own, which waits: after `steps` updates
  its moments and its count of updates, from which Adam corrects the bias of
  young moments, are still 0. (With one count for both, Adam's first hundred
  updates of the backbone would be three to six times too large.) BatchNorm's
  statistics are no updates: those of the backbone move from the start.

  Args:
    make_optimizer: of the step at which its learning-rate schedule begins, so
      that both are at the same place in it.
    steps: updates of the head alone; 0 gives `make_optimizer(0)`.
    head: the layer that learns from the start.
  """
  if steps == 0:
    return make_optimizer(0)
  backbone = optax.transforms.conditionally_mask(
    make_optimizer(steps), lambda step, **_: jnp.greater_equal(step, steps)
  )
  return optax.partition(
    {True: make_optimizer(0), False: backbone},
    lambda params: {layer: layer == head for layer in params},
  )


def scale_rates(
  inner: optax.GradientTransformation, factors: Mapping[str, float]
) -> optax.GradientTransformation:
  """Multiplies the learning rate of each layer by a factor of its own.

  Args:
    inner: an optimizer, with its learning rate and weight decay.
    factors: for each layer, see `decay_by_depth` and `match_prefixes`; 0
      freezes it. If all are 1, the result is `inner`.
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

  Args:
    layers: from the input to the output, see `models.depth_order`.
    decay: above 0, at most 1.

  Raises:
    UserError: for another decay.
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

  Args:
    layers: all of them.
    rates: prefix -> factor, e.g. {"stem": 0.0, "stage1": 0.1}. The longest
      prefix that fits counts; without one the factor is 1.

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


def recipe_schedule(recipe: Any, steps: int) -> optax.Schedule:
  """The learning rate of a `train.Recipe` for epochs of so many steps."""
  every = recipe.epochs * steps
  return make_schedule(
    learning_rate=recipe.learning_rate,
    steps=every,
    warmup_steps=min(math.ceil(recipe.warmup_epochs * steps), every - 1),
    decays=recipe.schedule == "cosine",
  )


def recipe_optimizer(
  recipe: Any, schedule: optax.Schedule, steps: int, layers: Sequence[str]
) -> optax.GradientTransformation:
  """The optimizer of a `train.Recipe`.

  Args:
    recipe: see there.
    schedule: step -> learning rate.
    steps: in an epoch.
    layers: of the network, input to output.
  """

  def make(start: int) -> optax.GradientTransformation:
    return make_optimizer(
      recipe.optimizer,
      lambda step: schedule(step + start),
      weight_decay=recipe.weight_decay,
    )

  by_name = match_prefixes(layers, dict(recipe.layer_rates))
  by_depth = decay_by_depth(layers, recipe.layer_decay)
  tx = scale_rates(
    freeze_backbone(make, recipe.frozen_epochs * steps),
    {layer: by_name[layer] * by_depth[layer] for layer in layers},
  )
  if recipe.schedule != "plateau":
    return tx
  plateau = Plateau(
    recipe.plateau_factor, recipe.plateau_patience, recipe.min_learning_rate
  )
  return with_plateau(
    tx, plateau, learning_rate=recipe.learning_rate, steps=steps
  )
