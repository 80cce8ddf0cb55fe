"""Gradient transformations for unlearning; nothing here knows about gzjax.

The updates that enter a chain are the retain gradient. Other arrays come as
keyword-only extra arguments from one vocabulary: `forget_grads`,
`forget_fisher`, `retain_fisher`, `train_fisher`, `reference_params`,
`forget_params`, `saliency`, `retain_saliency`, `spare_grads`. Fishers are means
over examples, like params. A transformation names those it needs and drops the
rest.

Their places in a chain; `project_conflicts` wraps any that has two gradients,
`beside_spare` any:

1. gradients to descend: `contrast_gradients`, `add_forget_gradients`,
   `alternate_gradients`, `add_saliency`, `add_l1_decay`, `mask_by_saliency`,
   `slow_but_for`, `precondition_by_fisher`;
2. an optimizer of optax;
3. edits that are added as they are: `dampen_by_fisher`, `dampen_by_percentile`,
   `subtract_task`, `drop_tied`, `inject_noise`, `clip_to_trust_region`,
   `project_to_ball`;
4. `freeze`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

Transformation = optax.GradientTransformationExtraArgs
TINY = float(jnp.finfo(jnp.float32).tiny)


def contrast_gradients(retain_weight: float) -> Transformation:
  """Descends the retain loss and ascends the forget loss.

  g = w g_retain - (1 - w) g_forget, with w = `retain_weight`: 0 is gradient
  ascent, values near 1 are NegGrad+ (Kurmanji et al. 2023), 1 is finetuning.
  """

  def edit(updates, *, forget_grads, **_):
    kept = optax.tree.scale(retain_weight, updates)
    return optax.tree.add_scale(kept, retain_weight - 1, forget_grads)

  return stateless(edit)


def add_forget_gradients(weight: float) -> Transformation:
  """Descends the sum of both losses: g = g_retain + w g_forget.

  For forget objectives that are to fall: random labels, -log(1 - p_wrong).
  """

  def edit(updates, *, forget_grads, **_):
    return optax.tree.add_scale(updates, weight, forget_grads)

  return stateless(edit)


def add_saliency(weight: float) -> Transformation:
  """Adds w `saliency`, the gradient of the mean loss of all that is to go.

  At the original network, of every example once and without random views: what
  second-order methods take their one step from.
  """

  def edit(updates, *, saliency, **_):
    return optax.tree.add_scale(updates, weight, saliency)

  return stateless(edit)


def alternate_gradients(ascent_steps: int) -> Transformation:
  """Ascends the forget loss and descends the retain loss, step about.

  Odd steps below `ascent_steps` take -g_forget, all others g_retain: the max
  and min steps of SCRUB (Kurmanji et al. 2023), which takes them epoch about.
  (A min step comes first: where student and teacher are one, the gradient of
  the divergence is rounding, and Adam would take whole steps along it.) After
  `ascent_steps` only the retain loss is left; 0 is plain descent.
  """

  def edit(updates, *, count, forget_grads, **_):
    ascend = (count < ascent_steps) & (count % 2 == 1)
    return jax.tree.map(
      lambda r, f: jnp.where(ascend, -f, r), updates, forget_grads
    )

  return counting(edit)


def project_conflicts(
  inner: optax.GradientTransformation, *, ascends: bool
) -> Transformation:
  """Takes out of the forget gradient what would undo the retain gradient.

  Gradient surgery (PCGrad, Yu et al. 2020), one-sided: where a step along the
  forget gradient would raise the retain loss, its component along the retain
  gradient is removed, so that to first order forgetting never hurts.

  Args:
    inner: any chain with two gradients; it gets the mended `forget_grads`.
    ascends: whether `inner` ascends the forget loss (`contrast_gradients`) or
      descends it (`add_forget_gradients`).
  """
  inner = optax.with_extra_args_support(inner)

  def update_fn(updates, state, params=None, *, forget_grads, **extra_args):
    overlap = jnp.asarray(optax.tree.vdot(forget_grads, updates))
    conflict = overlap > 0 if ascends else overlap < 0
    squared = jnp.maximum(optax.tree.vdot(updates, updates), TINY)
    share = jnp.where(conflict, overlap / squared, 0)
    mended = optax.tree.add_scale(forget_grads, -share, updates)
    return inner.update(
      updates, state, params, forget_grads=mended, **extra_args
    )

  return transformation(inner.init, update_fn)


def add_l1_decay(weight: optax.ScalarOrSchedule) -> Transformation:
  """Adds the gradient of w ||params||_1 (l1-sparse, Jia et al. 2023).

  `weight` may be a schedule; the authors let it fall linearly to 0. Tensors of
  one axis (BatchNorm, biases) are left alone.
  """

  def edit(updates, *, count, params, **_):
    w = weight(count) if callable(weight) else weight
    return jax.tree.map(
      lambda g, p: g + w * jnp.sign(p) if p.ndim > 1 else g, updates, params
    )

  return counting(edit)


def mask_by_saliency(share: float) -> Transformation:
  """Keeps the gradient only where the forget loss is most salient.

  SalUn (Fan et al. 2024): the entries of largest |`saliency`|, the `share` of
  all parameters together, may move; 0 pins all, 1 frees all. The state is the
  least |saliency| that may move, f32[]: NaN until the first step finds it.
  """

  def update_fn(updates, threshold, params=None, *, saliency, **_):
    del params

    def find():
      flat = [jnp.abs(s).ravel() for s in jax.tree.leaves(saliency)]
      found = jnp.quantile(jnp.concatenate(flat), 1 - share)
      return jnp.where(share > 0, found, jnp.inf)

    threshold = jax.lax.cond(jnp.isnan(threshold), find, lambda: threshold)
    updates = jax.tree.map(
      lambda g, s: jnp.where(jnp.abs(s) >= threshold, g, 0), updates, saliency
    )
    return updates, threshold

  return transformation(lambda params: jnp.float32(jnp.nan), update_fn)


def slow_but_for(
  entries: Callable[[optax.Updates, optax.Updates], optax.Updates],
  factor: float,
) -> Transformation:
  """Multiplies the gradient by `factor` but for some entries.

  `entries(retain_saliency, saliency)`, bool like params, says for which. They
  are the state, and found in the first step.
  """

  def init_fn(params):
    nowhere = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    return jnp.zeros((), jnp.int32), nowhere

  def update_fn(updates, state, params=None, *, retain_saliency, saliency, **_):
    del params
    count, found = state
    found = jax.lax.cond(
      count == 0, lambda: entries(retain_saliency, saliency), lambda: found
    )
    updates = jax.tree.map(
      lambda g, fast: jnp.where(fast, g, factor * g), updates, found
    )
    return updates, (count + 1, found)

  return transformation(init_fn, update_fn)


class SpareState(NamedTuple):
  """Parameters beside those of the network, and both optimizers' states."""

  inner: optax.OptState
  spare: optax.Params
  beside: optax.OptState


def beside_spare(
  inner: optax.GradientTransformation,
  beside: optax.GradientTransformation,
  make: Callable[[optax.Params], optax.Params],
) -> Transformation:
  """`inner`, and `beside` for spare parameters that the state keeps.

  `make(params)` makes them; their gradient comes as `spare_grads`.
  """
  inner = optax.with_extra_args_support(inner)

  def init_fn(params):
    spare = make(params)
    return SpareState(inner.init(params), spare, beside.init(spare))

  def update_fn(updates, state, params=None, *, spare_grads, **extra_args):
    updates, inner_state = inner.update(
      updates, state.inner, params, **extra_args
    )
    moves, beside_state = beside.update(spare_grads, state.beside, state.spare)
    spare = optax.apply_updates(state.spare, moves)
    return updates, SpareState(inner_state, spare, beside_state)

  return transformation(init_fn, update_fn)


def precondition_by_fisher(stabiliser: float) -> Transformation:
  """The diagonal Newton step of influence functions: g / (F_retain + delta).

  delta is `stabiliser` times the mean of F over all parameters.
  """

  def edit(updates, *, retain_fisher, **_):
    size = optax.tree.size(retain_fisher)
    delta = stabiliser * optax.tree.sum(retain_fisher) / size
    return jax.tree.map(
      lambda g, f: g / jnp.maximum(f + delta, TINY), updates, retain_fisher
    )

  return stateless(edit)


def subtract_task(scale: float) -> Transformation:
  """Steps away from what learned to be wrong: p - a (`forget_params` - p).

  Task arithmetic (Ilharco et al. 2023).
  """

  def edit(updates, *, params, forget_params, **_):
    return jax.tree.map(
      lambda u, p, wrong: u - scale * (wrong - p),
      updates,
      params,
      forget_params,
    )

  return stateless(edit)


def clip_to_trust_region(radius: float) -> Transformation:
  """Shortens the update: ||u|| <= radius ||params||, norms over all tensors."""

  def edit(updates, *, params, **_):
    limit = radius * optax.tree.norm(params)
    shrink = limit / jnp.maximum(optax.tree.norm(updates), TINY)
    return optax.tree.scale(jnp.minimum(1.0, shrink), updates)

  return stateless(edit)


def project_to_ball(radius: float) -> Transformation:
  """Keeps the parameters near the reference: ||p - ref|| <= radius ||ref||.

  The norms are global, over all tensors. Radius 0 pins the parameters.
  """

  def edit(updates, *, params, reference_params, **_):
    moved = jax.tree.map(
      lambda p, u, ref: p + u - ref, params, updates, reference_params
    )
    distance = optax.tree.norm(moved)
    limit = radius * optax.tree.norm(reference_params)
    shrink = limit / jnp.maximum(distance, TINY)
    # Inside of the ball the update passes through bit for bit.
    return jax.tree.map(
      lambda p, u, ref, m: jnp.where(
        distance <= limit, u, ref + shrink * m - p
      ),
      params,
      updates,
      reference_params,
      moved,
    )

  return stateless(edit)


def freeze(frozen: Callable[[str], bool]) -> optax.GradientTransformation:
  """Pins the tensors whose path (`"stem/conv/kernel"`) `frozen` is true for.

  Last in a chain: tree-valued extra arguments do not pass through masks.
  """

  def edit(path, update):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return jnp.zeros_like(update) if frozen(name) else update

  return optax.stateless(
    lambda updates, params: jax.tree.map_with_path(edit, updates)
  )


def stateless(edit: Callable) -> Transformation:
  """edit(updates, params=, **extras) -> updates, as a transformation."""

  def update_fn(updates, state, params=None, **extras):
    return edit(updates, params=params, **extras), state

  return transformation(optax.init_empty_state, update_fn)


def counting(edit: Callable) -> Transformation:
  """The same of an edit that asks for `count`, the steps so far, i32[], too."""

  def update_fn(updates, count, params=None, **extras):
    return edit(updates, count=count, params=params, **extras), count + 1

  return transformation(lambda params: jnp.zeros((), jnp.int32), update_fn)


def transformation(init_fn: Callable, update_fn: Callable) -> Transformation:
  """A transformation whose update may require extra arguments."""
  # Optax's type of an update function cannot say that an extra argument is
  # required; untyped callables pass.
  return Transformation(init_fn, update_fn)
