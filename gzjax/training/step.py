"""The train step, the loop around it, and prediction.

No loop runs far ahead of the devices. That saves memory, and on XLA:CPU with
several devices it must be so: only 32 programs may wait on a device, and if all
of them wait for a collective of the others, it never starts (XLA aborts the
process after a while).
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax.objectives import losses
from gzjax.types import ApplyFn, Batch, Objective, PyTree, TrainState

# (state, batch) -> (state, outputs that a person or the audit wants to see).
Step = Callable[[TrainState, Any], tuple[TrainState, PyTree]]


def init_state(
  params: PyTree, batch_stats: PyTree, tx: optax.GradientTransformation
) -> TrainState:
  """The state before the first step."""
  step = jnp.zeros((), jnp.int32)
  return TrainState(step, params, batch_stats, tx.init(params))


def make_train_step(
  apply_fn: ApplyFn,
  objective: Objective,
  tx: optax.GradientTransformation,
  *,
  summary: Callable[[jax.Array], jax.Array] = lambda loss: loss,
  key: jax.Array | None = None,
) -> Step:
  """A jitted step that consumes (donates) the state.

  Its outputs: `loss` f32[], `logits` f32[B,K] before the update, `id` i32[B].
  The batch may be split over devices: loss, gradients and BatchNorm statistics
  are those of the whole batch.

  Args:
    apply_fn: the network.
    objective: the loss of each example.
    tx: it gets the loss as the extra argument `value`, too.
    summary: mean of the objective -> loss, such as a square root.
    key: of the network's own randomness (dropout), folded with the step; None:
      there is none.
  """
  tx = optax.with_extra_args_support(tx)

  def loss_fn(params, batch_stats, batch, key):
    random = {} if key is None else {"key": key}
    logits, batch_stats = apply_fn(
      params, batch_stats, batch["image"], train=True, **random
    )
    mean = losses.masked_mean(objective(logits, batch), batch["valid"])
    return summary(mean), (logits, batch_stats)

  def step(state, batch):
    step_key = None if key is None else jax.random.fold_in(key, state.step)
    (loss, (logits, batch_stats)), grads = jax.value_and_grad(
      loss_fn, has_aux=True
    )(state.params, state.batch_stats, batch, step_key)
    updates, opt_state = tx.update(
      grads, state.opt_state, state.params, value=loss
    )
    params = optax.apply_updates(state.params, updates)
    outputs = {"loss": loss, "logits": logits, "id": batch["id"]}
    return TrainState(state.step + 1, params, batch_stats, opt_state), outputs

  return jax.jit(step, donate_argnames="state")


def make_predict_step(
  apply_fn: ApplyFn,
) -> Callable[[PyTree, PyTree, Batch], jax.Array]:
  """(params, batch_stats, batch) -> logits f32[B,K], stored statistics."""

  @jax.jit
  def predict_step(params, batch_stats, batch):
    return apply_fn(params, batch_stats, batch["image"], train=False)[0]

  return predict_step


def predict(
  predict_step: Callable[[PyTree, PyTree, Batch], jax.Array],
  state: TrainState,
  batches: Iterable[Batch],
) -> np.ndarray:
  """Logits of all valid examples in the order of `batches`, f32[N,K]."""
  kept: list[tuple[jax.Array, jax.Array]] = []
  for batch in batches:
    logits = predict_step(state.params, state.batch_stats, batch)
    kept.append((logits, batch["valid"]))
    jax.block_until_ready(kept[-2:-1])
  return np.concatenate(
    [logits[valid > 0] for logits, valid in jax.device_get(kept)]
  )


def mean_gradient(
  apply_fn: ApplyFn,
  state: TrainState,
  batches: Iterable[Batch],
  objective: Objective = losses.cross_entropy,
) -> PyTree:
  """The gradient of the mean loss over all valid examples, like params.

  On stored BatchNorm statistics.
  """

  @jax.jit
  def add(total, params, batch_stats, batch):
    def loss_fn(params):
      logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
      return jnp.sum(objective(logits, batch) * batch["valid"])

    return jax.tree.map(jnp.add, total, jax.grad(loss_fn)(params))

  total = jax.tree.map(jnp.zeros_like, state.params)
  count = 0.0
  for batch in batches:
    total = jax.block_until_ready(
      add(total, state.params, state.batch_stats, batch)
    )
    count += float(jnp.sum(batch["valid"]))
  return jax.tree.map(lambda t: t / max(count, 1.0), total)


def renew_batch_stats(
  apply_fn: ApplyFn, state: TrainState, batches: Iterable[Batch]
) -> TrainState:
  """Replaces the stored BatchNorm statistics by the mean over `batches`.

  A named act of its own, because unlearning steps leave the statistics alone.
  The batches must be full: padding would be counted.
  """

  @jax.jit
  def add(total, params, batch_stats, batch):
    moved = apply_fn(params, batch_stats, batch["image"], train=True)[1]
    return jax.tree.map(jnp.add, total, moved)

  total = jax.tree.map(jnp.zeros_like, state.batch_stats)
  count = 0
  for batch in batches:
    total = jax.block_until_ready(
      add(total, state.params, state.batch_stats, batch)
    )
    count += 1
  # Each pass moved the stored value a tenth of the way to the batch's, so the
  # mean of the batches lies ten times as far (momentum 0.9 in all our models).
  renewed = jax.tree.map(
    lambda old, new: old + (new / count - old) / (1 - 0.9),
    state.batch_stats,
    total,
  )
  return state._replace(batch_stats=renewed)
