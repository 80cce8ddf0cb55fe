"""One step of any unlearning method."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from gzjax.training.step import Step, gradient
from gzjax.types import ApplyFn, Method, TrainState, UnlearnBatch


def make_unlearn_step(
  apply_fn: ApplyFn, method: Method, *, train: bool = False
) -> Step:
  """A jitted step (state, (batch, extras)) that consumes the state.

  `extras` holds the arrays that `method.extras` names; the gradient of the
  forget objective is added here. Where `reference_params` are among them, the
  objectives find their logits as `batch["reference_logits"]` (a method that
  does not look at them does not pay for them). Outputs: the mean `retain_loss`
  and `forget_loss`, f32[], where the method has them.

  Without `train` it uses and keeps the stored BatchNorm statistics. With it, it
  uses those of the batch and moves the stored ones, which writes the forget set
  into them: for presets that repeat publications.
  """

  def learn(objective, state, batch):
    grads, loss, _, batch_stats = gradient(
      partial(apply_fn, train=train), objective, state, batch
    )
    return grads, loss, state._replace(batch_stats=batch_stats)

  def taught(batch, state, extras):
    if "reference_params" not in extras:
      return batch
    logits, _ = apply_fn(
      extras["reference_params"], state.batch_stats, batch["image"], train=False
    )
    return {**batch, "reference_logits": logits}

  def step(state, batch_and_extras):
    batch, extras = batch_and_extras
    batch = UnlearnBatch(*(taught(part, state, extras) for part in batch))
    outputs = {}
    updates = jax.tree.map(jnp.zeros_like, state.params)
    if method.retain_objective is not None:
      updates, outputs["retain_loss"], state = learn(
        method.retain_objective, state, batch.retain
      )
    if method.forget_objective is not None:
      forget_grads, outputs["forget_loss"], state = learn(
        method.forget_objective, state, batch.forget
      )
      extras = {**extras, "forget_grads": forget_grads}
    updates, opt_state = method.transform.update(
      updates, state.opt_state, state.params, **extras
    )
    params = optax.apply_updates(state.params, updates)
    state = TrainState(state.step + 1, params, state.batch_stats, opt_state)
    return state, outputs

  return jax.jit(step, donate_argnames="state")
