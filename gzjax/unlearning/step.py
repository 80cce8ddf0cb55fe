"""One step of any unlearning method."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gzjax.batches import Step
from gzjax.models import make_predict_step
from gzjax.objectives import losses
from gzjax.remembered import remembered
from gzjax.types import (
  FORWARD,
  ApplyFn,
  Batch,
  Method,
  Objective,
  PyTree,
  TrainState,
  UnlearnBatch,
)


def make_descent(
  apply_fn: ApplyFn, objective: Objective, tx: optax.GradientTransformation
) -> Step:
  """A step (state, batch) that learns a batch, on stored statistics.

  See `make_unlearn_step`: what it learns is what that one retains.
  """
  method = Method(optax.with_extra_args_support(tx), objective)
  take = make_unlearn_step(apply_fn, method)
  return lambda state, batch: take(state, (UnlearnBatch(batch, batch), {}))


def make_unlearn_step(
  apply_fn: ApplyFn, method: Method, *, live: bool = False
) -> Step:
  """A step (state, (batch, extras)) that consumes the state.

  It is made of jitted parts, and may be jitted as a whole. The network's passes
  are parts of their own, which take most of the time to compile: all methods
  share them.

  `extras` holds the arrays that `method.extras` names; the gradient of the
  forget objective is added here. In each batch the objectives find its `step`,
  i32[B], and, where the method names them, the `reference_logits` of the
  `reference_params` and `reference_batch_stats`. Outputs: the mean
  `retain_loss` and `forget_loss`, f32[], where the method has them, and the
  `gradients` that the step took, f32[], see `Cost`.

  The stored BatchNorm statistics are used and kept; or, `live`, those of each
  batch, and the retain batch moves the stored ones. Where there is none, the
  forget batch does, which writes the forget set into them.
  """
  learns = {
    name: _make_learn(apply_fn, method, name, live)
    for name in UnlearnBatch._fields
    if getattr(method, f"{name}_objective") is not None
  }
  update = _make_update(method)

  def step(state, batch_and_extras):
    batch, extras = batch_and_extras
    found = {
      name: learn(state, getattr(batch, name), extras)
      for name, learn in learns.items()
    }
    return update(state, found, extras)

  return step


class _Learned(NamedTuple):
  """What one of the two batches says."""

  gradient: PyTree  # like params, or like (params, spare)
  loss: jax.Array  # f32[], the mean
  work: jax.Array  # f32[], see `Cost`
  batch_stats: PyTree  # None: not moved


def _make_learn(
  apply_fn: ApplyFn, method: Method, name: str, live: bool
) -> Callable[[TrainState, Batch, PyTree], _Learned]:
  objective = getattr(method, f"{name}_objective")
  spare = method.spare if name == "retain" else None
  with_teacher = f"{name}_reference_logits" in method.extras
  function: Any = apply_fn if spare is None else spare.beside(apply_fn)
  cost = (1.0 if spare is None else spare.cost) + FORWARD * with_teacher
  forward, backward = _make_passes(function, live)

  @jax.jit
  def lose(logits, batch, step):
    batch = {**batch, "step": jnp.full_like(batch["id"], step)}

    def mean(logits):
      with jax.named_scope("loss"):
        return losses.masked_mean(objective(logits, batch), batch["valid"])

    loss, cotangent = jax.value_and_grad(mean)(logits)
    return loss, cotangent, jnp.sum(batch["valid"]) * cost

  def learn(state, batch, extras):
    image, rest = batch["image"], {**batch}
    del rest["image"]
    if with_teacher:
      # With its own statistics, whatever the student's are by now.
      teacher = extras["reference_params"], extras["reference_batch_stats"]
      answer = make_predict_step(apply_fn)
      rest["reference_logits"] = answer(*teacher, {"image": image})
    params, own = state.params, {}
    if spare is not None:
      params = state.params, state.opt_state.spare
      own["example"] = batch["example"]
    logits, moved, pullback = forward(params, state.batch_stats, image, **own)
    loss, cotangent, work = lose(logits, rest, state.step)
    return _Learned(backward(pullback, cotangent), loss, work, moved)

  return learn


@remembered
def _make_passes(apply_fn: Callable, live: bool) -> tuple[Callable, Callable]:
  """A pass forward and one backward, jitted apart from what is learned.

  The first is (params, batch_stats, image, **more) -> (logits f32[B,K],
  batch_stats or None where they do not move, pullback), the second (pullback,
  cotangent of the logits) -> gradient.
  """

  @jax.jit
  def forward(params, batch_stats, image, **own):
    def logits(params):
      return apply_fn(params, batch_stats, image, train=live, **own)

    found, pullback, moved = jax.vjp(logits, params, has_aux=True)
    # Stored ones would come back as the state's own arrays, which it gives up.
    return found, moved if live else None, pullback

  @jax.jit
  def backward(pullback, cotangent):
    return pullback(cotangent)[0]

  return forward, backward


def _make_update(
  method: Method,
) -> Callable[[TrainState, dict[str, _Learned], PyTree], Any]:
  """What the chain makes of the gradients: (new state, outputs)."""

  def update(state, found, extras):
    updates = jax.tree.map(jnp.zeros_like, state.params)
    if "retain" in found:
      updates = found["retain"].gradient
    if method.spare is not None:
      updates, spare_grads = updates
      extras = {**extras, "spare_grads": spare_grads}
    if "forget" in found:
      extras = {**extras, "forget_grads": found["forget"].gradient}
    with jax.named_scope("optimizer"):
      updates, opt_state = method.transform.update(
        updates, state.opt_state, state.params, **extras
      )
      params = optax.apply_updates(state.params, updates)
    by = found.get("retain") or found.get("forget")
    stays = by is None or by.batch_stats is None
    batch_stats = state.batch_stats if stays else by.batch_stats
    state = TrainState(state.step + 1, params, batch_stats, opt_state)
    outputs = {f"{name}_loss": x.loss for name, x in found.items()}
    work = sum((x.work for x in found.values()), jnp.zeros(()))
    return state, {**outputs, "gradients": work}

  return jax.jit(update, donate_argnames="state")
