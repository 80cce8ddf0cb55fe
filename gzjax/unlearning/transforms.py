"""Gradient transformations for unlearning; nothing here knows about gzjax.

The updates that enter a chain are the retain gradient. Other arrays come as
keyword-only extra arguments from one vocabulary: `forget_grads`,
`forget_fisher`, `retain_fisher`, `train_fisher`, `reference_params`,
`saliency`. Fishers are means over examples, like params. A transformation names
those it needs and drops the rest.

| place in a chain       | transformations                                     |
|------------------------|-----------------------------------------------------|
| gradients to descend   | `contrast_gradients`, `add_forget_gradients`,       |
|                        | `alternate_gradients`, `accumulate`, `add_l1_decay`,|
|                        | `mask_by_saliency`, `precondition_by_fisher`        |
| optimizer              | those of optax                                      |
| edits added as they are| `dampen_by_fisher`, `dampen_by_percentile`,         |
|                        | `inject_fisher_noise`, `inject_noise`,              |
|                        | `clip_to_trust_region`, `project_to_ball`           |
| freeze                 | `freeze`, last                                      |

`project_conflicts` wraps any chain that has two gradients.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any

_TINY = float(jnp.finfo(jnp.float32).tiny)


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


def add_forget_gradients(
  weight: float,
) -> optax.GradientTransformationExtraArgs:
  """Descends the sum of both losses: g = g_retain + w g_forget.

  For forget objectives that are to fall: random labels, -log(1 - p_wrong).
  """

  def update_fn(updates, state, params=None, *, forget_grads, **extra_args):
    del params, extra_args
    updates = jax.tree.map(lambda r, f: r + weight * f, updates, forget_grads)
    return updates, state

  return _transformation(_init_empty, update_fn)


def accumulate(
  inner: optax.GradientTransformation, steps: int
) -> optax.GradientTransformationExtraArgs:
  """Hands `inner` the mean of `steps` updates at once, and else does nothing.

  `optax.MultiSteps`, whose own `gradient_transformation` drops extra arguments.
  """
  whole = optax.MultiSteps(inner, steps)
  return _transformation(whole.init, whole.update)


class CountState(NamedTuple):
  """State of the transformations that count their steps."""

  count: jax.Array  # i32[], steps so far


def alternate_gradients(
  ascent_steps: int,
) -> optax.GradientTransformationExtraArgs:
  """Ascends the forget loss and descends the retain loss, step about.

  Odd steps below `ascent_steps` take -g_forget, all others g_retain: the max
  and min steps of SCRUB (Kurmanji et al. 2023), which takes them
  epoch about. (A min step comes first: where student and teacher are one, the
  divergence has no gradient to ascend.) After `ascent_steps` only the retain
  loss is left; 0 is plain descent.
  """

  def update_fn(updates, state, params=None, *, forget_grads, **extra_args):
    del params, extra_args
    ascend = (state.count < ascent_steps) & (state.count % 2 == 1)
    updates = jax.tree.map(
      lambda r, f: jnp.where(ascend, -f, r), updates, forget_grads
    )
    return updates, CountState(state.count + 1)

  return _transformation(_init_count, update_fn)


def project_conflicts(
  inner: optax.GradientTransformation, *, ascends: bool
) -> optax.GradientTransformationExtraArgs:
  """Takes out of the forget gradient what would undo the retain gradient.

  Gradient surgery (PCGrad, Yu et al. 2020), one-sided: where a step
  along the forget gradient would raise the retain loss, its component along
  the retain gradient is removed, so that to first order forgetting never hurts.
  `inner` is any chain with two gradients.

  Args:
    inner: gets the same arguments with the mended `forget_grads`.
    ascends: whether `inner` ascends the forget loss (`contrast_gradients`) or
      descends it (`add_forget_gradients`).
  """
  inner = optax.with_extra_args_support(inner)

  def update_fn(updates, state, params=None, *, forget_grads, **extra_args):
    overlap = jnp.asarray(optax.tree.vdot(forget_grads, updates))
    conflict = overlap > 0 if ascends else overlap < 0
    squared = jnp.maximum(optax.tree.vdot(updates, updates), _TINY)
    share = jnp.where(conflict, overlap / squared, 0)
    forget_grads = jax.tree.map(
      lambda f, r: f - share * r, forget_grads, updates
    )
    return inner.update(
      updates, state, params, forget_grads=forget_grads, **extra_args
    )

  return _transformation(inner.init, update_fn)


def add_l1_decay(
  weight: optax.ScalarOrSchedule,
) -> optax.GradientTransformationExtraArgs:
  """Adds the gradient of w ||params||_1 (l1-sparse, Jia et al. 2023).

  `weight` may be a schedule; the authors let it fall linearly to 0. Tensors of
  one axis (BatchNorm, biases) are left alone.
  """

  def update_fn(updates, state, params, **extra_args):
    del extra_args
    w = weight(state.count) if callable(weight) else weight
    updates = jax.tree.map(
      lambda g, p: g + w * jnp.sign(p) if p.ndim > 1 else g, updates, params
    )
    return updates, CountState(state.count + 1)

  return _transformation(_init_count, update_fn)


class MaskBySaliencyState(NamedTuple):
  """State of `mask_by_saliency`."""

  count: jax.Array  # i32[], steps so far
  threshold: jax.Array  # f32[], least |saliency| that may move


def mask_by_saliency(share: float) -> optax.GradientTransformationExtraArgs:
  """Keeps the gradient only where the forget loss is most salient.

  SalUn (Fan et al. 2024): the entries of largest |`saliency`|, the
  `share` of all parameters together, may move; 0 pins all, 1 frees all. The
  first step finds the threshold.
  """

  def init_fn(params):
    del params
    return MaskBySaliencyState(jnp.zeros((), jnp.int32), jnp.zeros(()))

  def update_fn(updates, state, params=None, *, saliency, **extra_args):
    del params, extra_args

    def first():
      flat = [jnp.abs(s).ravel() for s in jax.tree.leaves(saliency)]
      found = jnp.quantile(jnp.concatenate(flat), 1 - share)
      return jnp.where(share > 0, found, jnp.inf)

    threshold = jax.lax.cond(state.count == 0, first, lambda: state.threshold)
    updates = jax.tree.map(
      lambda g, s: jnp.where(jnp.abs(s) >= threshold, g, 0), updates, saliency
    )
    return updates, MaskBySaliencyState(state.count + 1, threshold)

  return _transformation(init_fn, update_fn)


def precondition_by_fisher(
  stabiliser: float,
) -> optax.GradientTransformationExtraArgs:
  """The diagonal Newton step of influence functions: g / (F_retain + delta).

  delta is `stabiliser` times the mean of F over all parameters.
  """

  def update_fn(updates, state, params=None, *, retain_fisher, **extra_args):
    del params, extra_args
    size = sum(f.size for f in jax.tree.leaves(retain_fisher))
    delta = stabiliser * optax.tree.sum(retain_fisher) / size
    updates = jax.tree.map(
      lambda g, f: g / jnp.maximum(f + delta, _TINY), updates, retain_fisher
    )
    return updates, state

  return _transformation(_init_empty, update_fn)


def clip_to_trust_region(
  radius: float,
) -> optax.GradientTransformationExtraArgs:
  """Shortens the update: ||u|| <= radius ||params||, norms over all tensors."""

  def update_fn(updates, state, params, **extra_args):
    del extra_args
    limit = radius * optax.tree.norm(params)
    shrink = jnp.minimum(
      1.0, limit / jnp.maximum(optax.tree.norm(updates), _TINY)
    )
    return jax.tree.map(lambda u: shrink * u, updates), state

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
    shrink = limit / jnp.maximum(distance, _TINY)
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


def freeze(frozen: Callable[[str], bool]) -> optax.GradientTransformation:
  """Pins the tensors whose path (`"stem/conv/kernel"`) `frozen` is true for.

  Last in a chain: tree-valued extra arguments do not pass through masks.
  """

  def update_fn(updates, state, params=None):
    del params
    updates = jax.tree.map_with_path(
      lambda path, u: (
        jnp.zeros_like(u)
        if frozen(jax.tree_util.keystr(path, simple=True, separator="/"))
        else u
      ),
      updates,
    )
    return updates, state

  return optax.GradientTransformation(_init_empty, update_fn)


def dampen_by_fisher(
  threshold: jax.typing.ArrayLike, strength: float
) -> optax.GradientTransformationExtraArgs:
  """Shrinks the weights that matter more to the forget set than to all.

  Selective Synaptic Dampening (Foster et al. 2024): where
  F_forget > threshold F_train, p becomes p min(strength F_train/F_forget, 1).
  With per-example Fishers the ratio never exceeds n_train / n_forget, so a
  threshold above that cannot act. An infinite threshold changes nothing.
  """

  def update_fn(
    updates, state, params, *, forget_fisher, train_fisher, **extra_args
  ):
    del extra_args
    updates = jax.tree.map(
      lambda u, p, forget, train: (
        u + p * _dampening(forget, train, threshold, strength)
      ),
      updates,
      params,
      forget_fisher,
      train_fisher,
    )
    return updates, state

  return _transformation(_init_empty, update_fn)


def dampen_by_percentile(
  forget_share: float, scale: float = 1.0
) -> optax.GradientTransformationExtraArgs:
  """SSD that finds its own threshold (ASSD, Schoepf et al. 2024).

  strength is 1 and the threshold is the percentile
  100 - `scale` ln(1 + 100 s) of F_forget / F_train over all parameters, where s
  is `forget_share`, the part of the training set that is to be forgotten: 97.6
  for 10%. (The authors rank by F_forget / F_retain, which orders the parameters
  in the same way, and have no `scale`; 0 dampens nothing.)
  """

  def update_fn(
    updates, state, params, *, forget_fisher, train_fisher, **extra_args
  ):
    ratios = [
      (forget / jnp.maximum(train, _TINY)).ravel()
      for forget, train in zip(
        jax.tree.leaves(forget_fisher),
        jax.tree.leaves(train_fisher),
        strict=True,
      )
    ]
    rank = 1 - scale * jnp.log1p(100 * forget_share) / 100
    threshold = jnp.quantile(jnp.concatenate(ratios), rank)
    inner = dampen_by_fisher(threshold, 1.0)
    return inner.update(
      updates,
      state,
      params,
      forget_fisher=forget_fisher,
      train_fisher=train_fisher,
    )

  return _transformation(_init_empty, update_fn)


def _dampening(forget, train, threshold, strength):
  """The relative change of a tensor; 0 where nothing is dampened."""
  factor = jnp.minimum(strength * train / jnp.maximum(forget, _TINY), 1)
  return jnp.where(forget > threshold * train, factor - 1, 0)


class NoiseScale(NamedTuple):
  """The noise of Fisher Forgetting and what it is expected to do."""

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
    return jnp.maximum(stabiliser * jnp.mean(f), _TINY)

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
  return NoiseScale(
    sigma, alpha, effective, capped, _predicted_loss(mean_fisher, sigma)
  )


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

  def scale(retain_fisher, params):
    return fisher_noise_scale(
      retain_fisher, params, budget=budget, stabiliser=stabiliser, cap=cap
    )

  return inject_noise(key, scale)


def inject_noise(
  key: jax.Array, scale: Callable[[PyTree, PyTree], NoiseScale]
) -> optax.GradientTransformationExtraArgs:
  """Adds Gaussian noise of `scale(retain_fisher, params).sigma`.

  Args:
    key: of the noise; each draw folds in the number of draws before.
    scale: such as `fisher_noise_scale` and `published_noise_scale`.
  """

  def update_fn(updates, state, params, *, retain_fisher, **extra_args):
    del extra_args
    draw = jax.random.fold_in(key, state.count)
    noise = optax.tree.random_like(draw, params)
    updates = jax.tree.map(
      lambda u, s, n: u + (s * n).astype(u.dtype),
      updates,
      scale(retain_fisher, params).sigma,
      noise,
    )
    return updates, CountState(state.count + 1)

  return _transformation(_init_count, update_fn)


def published_noise_scale(
  mean_fisher: PyTree,
  params: PyTree,
  *,
  noise_scale: float,
  stabiliser: float,
) -> NoiseScale:
  """The noise of seed 1: sigma = noise_scale / sqrt(F + stabiliser).

  An absolute stabiliser, no budget, no cap, every tensor. Where F is far below
  the stabiliser (1e-8 there, and F so small nearly everywhere) sigma is
  noise_scale / sqrt(stabiliser) = 100 for weights of 0.01 to 0.06: isotropic
  noise in which the Fisher plays no part, and the network is destroyed.

  Args:
    mean_fisher: f32 like params.
    params: the weights that the noise is added to.
    noise_scale: 0.01 in the publication.
    stabiliser: 1e-8 in the publication.
  """
  sigma = jax.tree.map(
    lambda f: noise_scale * jax.lax.rsqrt(f + stabiliser), mean_fisher
  )
  effective = optax.tree.sum(
    jax.tree.map(lambda f: jnp.sum(f / (f + stabiliser)), mean_fisher)
  )
  return NoiseScale(
    sigma,
    jnp.square(jnp.asarray(noise_scale, jnp.float32)),
    jnp.asarray(effective),
    jax.tree.map(lambda p: jnp.zeros(()), params),
    _predicted_loss(mean_fisher, sigma),
  )


def _predicted_loss(mean_fisher, sigma):
  rises = jax.tree.map(lambda f, s: jnp.sum(f * s**2) / 2, mean_fisher, sigma)
  return jnp.asarray(optax.tree.sum(rises))


def _transformation(
  init_fn: Callable, update_fn: Callable
) -> optax.GradientTransformationExtraArgs:
  # Optax's type of an update function cannot say that an extra argument is
  # required; untyped callables pass.
  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _init_empty(params):
  del params
  return optax.EmptyState()


def _init_count(params):
  del params
  return CountState(jnp.zeros((), jnp.int32))
