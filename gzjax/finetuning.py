"""Finetuning as pieces of optax: which layers learn, from when, and how fast.

A piece holds back finished updates, so that weight decay is held back with
them. A layer is an entry at the top of `params`. A piece that has nothing to
do is the optimizer itself.
"""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import optax

from gzjax.errors import UserError


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
