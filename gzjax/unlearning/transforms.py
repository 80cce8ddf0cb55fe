"""Gradient transformations for unlearning; nothing here knows about gzjax.

The updates that enter a chain are the retain gradient. Other arrays come as
keyword-only extra arguments from one vocabulary: `forget_grads`,
`forget_fisher`, `retain_fisher`, `train_fisher`, `reference_params`,
`saliency`. A transformation names those it needs and drops the rest.

Order in a chain: gradients to descend (`contrast_gradients`) | optimizer |
edits added as they are (`inject_fisher_noise`, `project_to_ball`) | freeze.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


def contrast_gradients(
  retain_weight: float,
) -> optax.GradientTransformationExtraArgs:
  """Descends the retain loss and ascends the forget loss.

  g = w g_retain - (1 - w) g_forget, with w = `retain_weight`: 0 is gradient
  ascent, values near 1 are NegGrad+ (Kurmanji et al. 2023), 1 is finetuning.
  """

  def update_fn(updates, state, params=None, *, forget_grads, **extra_args):
    del params, extra_args
    updates = jax.tree.map(
      lambda r, f: retain_weight * r - (1 - retain_weight) * f,
      updates,
      forget_grads,
    )
    return updates, state

  return _transformation(_init_empty, update_fn)


def project_to_ball(radius: float) -> optax.GradientTransformationExtraArgs:
  """Keeps the parameters near the reference: ||p - ref|| <= radius ||ref||.

  The norms are global, over all tensors. Radius 0 pins the parameters.
  """

  def update_fn(updates, state, params, *, reference_params, **extra_args):
    del extra_args
    moved = jax.tree.map(
      lambda p, u, ref: p + u - ref, params, updates, reference_params
    )
    distance = optax.tree.norm(moved)
    limit = radius * optax.tree.norm(reference_params)
    shrink = limit / jnp.maximum(distance, jnp.finfo(jnp.float32).tiny)
    # Inside of the ball the update passes through bit for bit.
    updates = jax.tree.map(
      lambda p, u, ref, m: jnp.where(
        distance <= limit, u, ref + shrink * m - p
      ),
      params,
      updates,
      reference_params,
      moved,
    )
    return updates, state

  return _transformation(_init_empty, update_fn)


class NoiseScale(NamedTuple):
  """The noise of `inject_fisher_noise` and what it is expected to do."""

  sigma: PyTree  # like params, f32: standard deviation of each parameter
  alpha: jax.Array  # f32[]: sigma^2 = alpha / (F + delta) before the cap
  effective_parameters: jax.Array  # f32[]: sum of F / (F + delta)
  capped: PyTree  # f32[] of each tensor: share of parameters at the cap
  predicted_loss: jax.Array  # f32[], nats: sum of F sigma^2 / 2, after the cap


def fisher_noise_scale(
  mean_fisher: PyTree,
  params: PyTree,
  *,
  budget: float,
  stabiliser: float,
  cap: float,
) -> NoiseScale:
  """How much noise each parameter gets for a loss budget.

  To second order, noise of variance sigma_i^2 raises the loss by
  sum_i F_i sigma_i^2 / 2. With sigma_i^2 = alpha / (F_i + delta) this is
  alpha P_eff / 2, where P_eff = sum_i F_i / (F_i + delta); so a budget of B
  nats means alpha = 2 B / P_eff (Golatkar et al. 2020 give alpha by hand: for
  a ResNet34 their 1e-6 is a budget of 10 nats).

  Where F is about 0 the quadratic law is void and alpha / F is huge; two
  guards keep the noise local. delta is relative, `stabiliser` times the mean
  of F in each tensor, and sigma is capped at `cap` times the tensor's root
  mean square. Tensors of one axis (BatchNorm, biases) get no noise.

  Args:
    mean_fisher: f32 like params, per example (see `gzjax.fisher.mean`).
    params: the weights that the noise is added to.
    budget: B, nats.
    stabiliser: delta over the tensor's mean F.
    cap: largest sigma over the tensor's root mean square.
  """

  def noisy(p):
    return p.ndim > 1

  def delta(f):
    return jnp.maximum(stabiliser * jnp.mean(f), jnp.finfo(jnp.float32).tiny)

  shares = jax.tree.map(
    lambda f, p: jnp.sum(f / (f + delta(f))) if noisy(p) else jnp.zeros(()),
    mean_fisher,
    params,
  )
  effective = jnp.asarray(optax.tree.sum(shares))
  alpha = 2 * budget / jnp.maximum(effective, 1)

  def free_sigma(f):
    return jnp.sqrt(alpha / (f + delta(f)))

  def limit(p):
    return cap * jnp.sqrt(jnp.mean(jnp.square(p)))

  sigma = jax.tree.map(
    lambda f, p: (
      jnp.minimum(free_sigma(f), limit(p)) if noisy(p) else jnp.zeros_like(f)
    ),
    mean_fisher,
    params,
  )
  capped = jax.tree.map(
    lambda f, p: (
      jnp.mean(free_sigma(f) > limit(p)) if noisy(p) else jnp.zeros(())
    ),
    mean_fisher,
    params,
  )
  rises = jax.tree.map(lambda f, s: jnp.sum(f * s**2) / 2, mean_fisher, sigma)
  predicted = jnp.asarray(optax.tree.sum(rises))
  return NoiseScale(sigma, alpha, effective, capped, predicted)


class InjectFisherNoiseState(NamedTuple):
  """State of `inject_fisher_noise`."""

  count: jax.Array  # i32[], draws so far


def inject_fisher_noise(
  key: jax.Array, *, budget: float, stabiliser: float, cap: float
) -> optax.GradientTransformationExtraArgs:
  """Adds noise where the retain set does not feel it: Fisher Forgetting.

  Golatkar, Achille and Soatto (2020), with the noise scale of
  `fisher_noise_scale`. A budget of 0 adds nothing.

  Args:
    key: of the noise; each draw folds in the number of draws before.
    budget: see `fisher_noise_scale`.
    stabiliser: see `fisher_noise_scale`.
    cap: see `fisher_noise_scale`.
  """

  def init_fn(params):
    del params
    return InjectFisherNoiseState(jnp.zeros((), jnp.int32))

  def update_fn(updates, state, params, *, retain_fisher, **extra_args):
    del extra_args
    scale = fisher_noise_scale(
      retain_fisher, params, budget=budget, stabiliser=stabiliser, cap=cap
    )
    draw = jax.random.fold_in(key, state.count)
    noise = optax.tree.random_like(draw, params)
    updates = jax.tree.map(
      lambda u, s, n: u + (s * n).astype(u.dtype), updates, scale.sigma, noise
    )
    return updates, InjectFisherNoiseState(state.count + 1)

  return _transformation(init_fn, update_fn)


def _transformation(
  init_fn: Callable, update_fn: Callable
) -> optax.GradientTransformationExtraArgs:
  # Optax's type of an update function cannot say that an extra argument is
  # required; untyped callables pass.
  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _init_empty(params):
  del params
  return optax.EmptyState()
