"""One step of any unlearning method."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from gzjax.objectives import losses
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


def make_unlearn_step(
  apply_fn: ApplyFn, method: Method, *, train: bool = False
) -> UnlearnStep:
  """A jitted step (state, (batch, extras)) that consumes the state.

  `extras` holds the arrays that `method.extras` names; the gradient of the
  forget objective is added here. Where `reference_params` are among them, the
  objectives find their logits as `batch["reference_logits"]` (a method that
  does not look at them does not pay for them). Outputs: the mean `retain_loss`
  and `forget_loss`, f32[], where the method has them.

  Args:
    apply_fn: the network.
    method: see `Method`.
    train: False uses and keeps the stored BatchNorm statistics. True uses those
      of the batch and moves the stored ones, which writes the forget set into
      them: for presets that repeat publications.
  """

  def value_and_grad(objective: Objective, state: TrainState, batch: Batch):
    def loss_fn(params):
      logits, batch_stats = apply_fn(
        params, state.batch_stats, batch["image"], train=train
      )
      loss = losses.masked_mean(objective(logits, batch), batch["valid"])
      return loss, batch_stats

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      state.params
    )
    return loss, grads, state._replace(batch_stats=batch_stats)

  def taught(batch: Batch, state: TrainState, extras) -> Batch:
    if "reference_params" not in extras:
      return batch
    logits, _ = apply_fn(
      extras["reference_params"],
      state.batch_stats,
      batch["image"],
      train=False,
    )
    return {**batch, "reference_logits": logits}

  def step(state, batch_and_extras):
    batch, extras = batch_and_extras
    batch = UnlearnBatch(*(taught(part, state, extras) for part in batch))
    outputs = {}
    updates = jax.tree.map(jnp.zeros_like, state.params)
    if method.retain_objective is not None:
      outputs["retain_loss"], updates, state = value_and_grad(
        method.retain_objective, state, batch.retain
      )
    if method.forget_objective is not None:
      outputs["forget_loss"], forget_grads, state = value_and_grad(
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
