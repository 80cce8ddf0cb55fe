"""One step of any unlearning method."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from gzjax.training.step import Step, gradient
from gzjax.types import FORWARD, ApplyFn, Method, TrainState


def make_unlearn_step(
  apply_fn: ApplyFn, method: Method, *, live: bool = False
) -> Step:
  """A jitted step (state, (batch, extras)) that consumes the state.

  `extras` holds the arrays that `method.extras` names; the gradient of the
  forget objective is added here. In each batch the objectives find its `step`,
  i32[B], and, where the method names `reference_logits`, those of the
  `reference_params`. Outputs: the mean `retain_loss` and `forget_loss`, f32[],
  where the method has them, and the `gradients` that the step took, f32[], see
  `Cost`.

  The stored BatchNorm statistics are used and kept; or, `live`, those of each
  batch, and the retain batch moves the stored ones. Where there is none, the
  forget batch does, which writes the forget set into them.
  """
  has_teacher = "reference_logits" in method.extras

  def learn(objective, state, batch, extras):
    batch = {**batch, "step": jnp.full_like(batch["id"], state.step)}
    if has_teacher:
      teacher = extras["reference_params"], state.batch_stats
      logits, _ = apply_fn(*teacher, batch["image"], train=False)
      batch = {**batch, "reference_logits": logits}
    grads, loss, _, batch_stats = gradient(
      partial(apply_fn, train=live), objective, state, batch
    )
    work = jnp.sum(batch["valid"]) * (1 + FORWARD * has_teacher)
    return grads, loss, work, state._replace(batch_stats=batch_stats)

  def step(state, batch_and_extras):
    batch, extras = batch_and_extras
    outputs, work = {}, jnp.zeros(())
    updates = jax.tree.map(jnp.zeros_like, state.params)
    if method.retain_objective is not None:
      updates, outputs["retain_loss"], work, state = learn(
        method.retain_objective, state, batch.retain, extras
      )
    if method.forget_objective is not None:
      forget_grads, outputs["forget_loss"], more, moved = learn(
        method.forget_objective, state, batch.forget, extras
      )
      if method.retain_objective is None:
        state = moved
      work = work + more
      extras = {**extras, "forget_grads": forget_grads}
    updates, opt_state = method.transform.update(
      updates, state.opt_state, state.params, **extras
    )
    params = optax.apply_updates(state.params, updates)
    state = TrainState(state.step + 1, params, state.batch_stats, opt_state)
    return state, {**outputs, "gradients": work}

  return jax.jit(step, donate_argnames="state")
