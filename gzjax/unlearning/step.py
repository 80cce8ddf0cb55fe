"""One step of any unlearning method."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from gzjax import losses
from gzjax.types import (
  ApplyFn,
  Batch,
  Method,
  Objective,
  PyTree,
  TrainState,
  UnlearnBatch,
)

UnlearnStep = Callable[
  [TrainState, tuple[UnlearnBatch, dict[str, PyTree]]],
  tuple[TrainState, dict[str, jax.Array]],
]


def make_unlearn_step(apply_fn: ApplyFn, method: Method) -> UnlearnStep:
  """A jitted step (state, (batch, extras)) that consumes the state.

  Stored BatchNorm statistics are used and kept. `extras` holds the arrays that
  `method.extras` names; the gradient of the forget objective is added here.
  Outputs: the mean `retain_loss` and `forget_loss`, f32[], where the method
  has them.
  """

  def value_and_grad(objective: Objective, state: TrainState, batch: Batch):
    def loss_fn(params):
      logits, _ = apply_fn(
        params, state.batch_stats, batch["image"], train=False
      )
      return losses.masked_mean(objective(logits, batch), batch["valid"])

    return jax.value_and_grad(loss_fn)(state.params)

  def step(state, batch_and_extras):
    batch, extras = batch_and_extras
    outputs = {}
    updates = jax.tree.map(jnp.zeros_like, state.params)
    if method.retain_objective is not None:
      outputs["retain_loss"], updates = value_and_grad(
        method.retain_objective, state, batch.retain
      )
    if method.forget_objective is not None:
      outputs["forget_loss"], forget_grads = value_and_grad(
        method.forget_objective, state, batch.forget
      )
      extras = {**extras, "forget_grads": forget_grads}
    updates, opt_state = method.transform.update(
      updates, state.opt_state, state.params, **extras
    )
    params = optax.apply_updates(state.params, updates)
    return TrainState(
      state.step + 1, params, state.batch_stats, opt_state
    ), outputs

  return jax.jit(step, donate_argnames="state")
