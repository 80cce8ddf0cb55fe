"""One step of any unlearning method."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from gzjax.batches import Step
from gzjax.training.step import gradient
from gzjax.types import (
  FORWARD,
  ApplyFn,
  Method,
  Objective,
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

  def step(state, batch):
    return take(state, (UnlearnBatch(batch, batch), {}))

  return jax.jit(step, donate_argnames="state")


def make_unlearn_step(
  apply_fn: ApplyFn, method: Method, *, live: bool = False
) -> Step:
  """A jitted step (state, (batch, extras)) that consumes the state.

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

  def learn(name, state, batch, extras):
    """Gradients like params, or like (params, spare) of the retain batch."""
    function, cost = apply_fn, 1.0
    if name == "retain" and method.spare is not None:
      beside = method.spare.beside(apply_fn)
      function = partial(beside, example=batch["example"])
      both = state.params, state.opt_state.spare
      state, cost = state._replace(params=both), method.spare.cost
    batch = {**batch, "step": jnp.full_like(batch["id"], state.step)}
    if f"{name}_reference_logits" in method.extras:
      # With its own statistics, whatever the student's are by now.
      teacher = extras["reference_params"], extras["reference_batch_stats"]
      logits, _ = apply_fn(*teacher, batch["image"], train=False)
      batch, cost = {**batch, "reference_logits": logits}, cost + FORWARD
    grads, loss, _, batch_stats = gradient(
      partial(function, train=live),
      getattr(method, f"{name}_objective"),
      state,
      batch,
    )
    return grads, loss, jnp.sum(batch["valid"]) * cost, batch_stats

  def step(state, batch_and_extras):
    batch, extras = batch_and_extras
    outputs, work = {}, jnp.zeros(())
    updates, batch_stats = jax.tree.map(jnp.zeros_like, state.params), None
    if method.retain_objective is not None:
      updates, outputs["retain_loss"], work, batch_stats = learn(
        "retain", state, batch.retain, extras
      )
    if method.spare is not None:
      updates, spare_grads = updates
      extras = {**extras, "spare_grads": spare_grads}
    if method.forget_objective is not None:
      forget_grads, outputs["forget_loss"], more, moved = learn(
        "forget", state, batch.forget, extras
      )
      batch_stats = moved if batch_stats is None else batch_stats
      work = work + more
      extras = {**extras, "forget_grads": forget_grads}
    with jax.named_scope("optimizer"):
      updates, opt_state = method.transform.update(
        updates, state.opt_state, state.params, **extras
      )
      params = optax.apply_updates(state.params, updates)
    if batch_stats is None:
      batch_stats = state.batch_stats
    state = TrainState(state.step + 1, params, batch_stats, opt_state)
    return state, {**outputs, "gradients": work}

  return jax.jit(step, donate_argnames="state")
