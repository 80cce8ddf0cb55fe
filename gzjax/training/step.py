"""The train step, mean gradients and renewed BatchNorm statistics."""

from collections.abc import Callable, Iterable
from functools import partial
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax import sharding
from gzjax.batches import Step, go_through, peeked
from gzjax.objectives import losses
from gzjax.remembered import remembered
from gzjax.types import ApplyFn, Batch, Objective, PyTree, TrainState


def init_state(
  params: PyTree, batch_stats: PyTree, tx: optax.GradientTransformation
) -> TrainState:
  """The state before the first step.

  It is a copy: steps that donate it do not delete the caller's arrays.
  """
  return _start(tx, params, batch_stats)


# One program, not one for each shape; so are those below.
@partial(jax.jit, static_argnums=0)
def _start(
  tx: optax.GradientTransformation, params: PyTree, batch_stats: PyTree
) -> TrainState:
  step = jnp.zeros((), jnp.int32)
  # A copy of all: optimizers may keep the parameters themselves.
  return sharding.copied(TrainState(step, params, batch_stats, tx.init(params)))


def make_train_step(
  apply_fn: ApplyFn,
  objective: Objective,
  tx: optax.GradientTransformation,
  *,
  summary: Callable[[jax.Array], jax.Array] = lambda loss: loss,
) -> Step:
  """A jitted step that consumes (donates) the state.

  Its outputs: `loss` f32[], `logits` f32[B,K] before the update, `id` i32[B],
  and the `gradients` that it took, f32[], see `Cost`.
  The batch may be split over devices: loss, gradients and BatchNorm statistics
  are those of the whole batch. The loss is the `summary`, such as a square
  root, of the mean objective; `tx` gets it as the extra argument `value`. The
  batch's `key`, if it has one, is folded with the step for the network's own
  randomness (dropout): an argument, so that the program is the same for all
  random seeds.
  """
  tx = optax.with_extra_args_support(tx)
  takes_example = "example" in inspect.signature(apply_fn).parameters

  def step(state, batch):
    own = {"example": batch["id"]} if takes_example else {}
    if "key" in batch:
      own["key"] = jax.random.fold_in(batch["key"], state.step)
    grads, loss, logits, batch_stats = gradient(
      partial(apply_fn, train=True, **own), objective, state, batch, summary
    )
    with jax.named_scope("optimizer"):
      updates, opt_state = tx.update(
        grads, state.opt_state, state.params, value=loss
      )
      params = optax.apply_updates(state.params, updates)
    outputs = {
      **{"loss": loss, "logits": logits, "id": batch["id"]},
      "gradients": jnp.sum(batch["valid"]),
    }
    return TrainState(state.step + 1, params, batch_stats, opt_state), outputs

  return jax.jit(step, donate_argnames="state")


def gradient(
  apply_fn: Callable,
  objective: Objective,
  state: TrainState,
  batch: Batch,
  summary: Callable[[jax.Array], jax.Array] = lambda loss: loss,
) -> tuple[PyTree, jax.Array, jax.Array, PyTree]:
  """The gradient of the loss of a batch, like params; see `make_train_step`.

  `apply_fn` is an `ApplyFn` that has its `train` and `key`.

  Returns:
    The gradient, the loss f32[], logits f32[B,K] and the new batch_stats.
  """

  def loss_fn(params):
    logits, batch_stats = apply_fn(params, state.batch_stats, batch["image"])
    with jax.named_scope("loss"):
      mean = losses.masked_mean(objective(logits, batch), batch["valid"])
      return summary(mean), (logits, batch_stats)

  (loss, (logits, batch_stats)), grads = jax.value_and_grad(
    loss_fn, has_aux=True
  )(state.params)
  return grads, loss, logits, batch_stats


def mean_gradient(
  apply_fn: ApplyFn,
  state: TrainState,
  batches: Iterable[Batch],
  objective: Objective = losses.cross_entropy,
) -> PyTree:
  """The gradient of the mean loss over all valid examples, like params.

  On stored BatchNorm statistics.
  """
  add = _make_add_gradient(apply_fn, objective)
  start = _zeros((np.float32(0), state.params))
  (count, total), _ = go_through(
    add, start, batches, state.params, state.batch_stats
  )
  return _scaled(total, 1 / max(float(count), 1.0))


# With the tree's own arrays as inputs they come to lie where those do, and what
# adds to them is compiled once.
@partial(jax.jit, keep_unused=True)
def _zeros(tree: PyTree) -> PyTree:
  return jax.tree.map(jnp.zeros_like, tree)


@jax.jit
def _scaled(tree: PyTree, factor: float) -> PyTree:
  return jax.tree.map(lambda x: x * factor, tree)


@remembered  # the next call with this network compiles nothing
def _make_add_gradient(apply_fn: ApplyFn, objective: Objective) -> Step:
  """((examples, sum of their gradients), params, batch_stats, batch)."""

  def add(total, params, batch_stats, batch):
    def loss_fn(params):
      logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
      return jnp.sum(objective(logits, batch) * batch["valid"])

    new = jnp.sum(batch["valid"]), jax.grad(loss_fn)(params)
    return jax.tree.map(jnp.add, total, new), ()

  return jax.jit(add, donate_argnums=0)


def renew_batch_stats(
  apply_fn: ApplyFn, state: TrainState, batches: Iterable[Batch]
) -> TrainState:
  """Replaces the stored BatchNorm statistics by the mean over `batches`.

  A named act of its own, because unlearning steps leave the statistics alone.
  The batches must be full: padding would be counted. Any momentum will do, and
  each layer may have its own.

  Raises:
    ValueError: if a statistic never moves (momentum 1); the message names it.
  """
  first, every = peeked(batches)
  zeros = _zeros(state.batch_stats)

  def moved(stored, batches):
    add = _make_add_moved(apply_fn)
    return go_through(add, _zeros(zeros), batches, state.params, stored)

  kept = _kept(lambda stored: moved(stored, first)[0], zeros)
  total, passes = moved(zeros, every)
  return state._replace(batch_stats=_arrived(total, kept, 1 / len(passes)))


@jax.jit
def _arrived(total: PyTree, kept: PyTree, share: float) -> PyTree:
  """Where passes went of which each moved 1 - kept of the way from 0."""
  return jax.tree.map(lambda x, kept: x * share / (1 - kept), total, kept)


@remembered
def _make_add_moved(apply_fn: ApplyFn) -> Step:
  """(total, params, batch_stats, batch): adds the statistics, moved once."""

  def add(total, params, batch_stats, batch):
    moved = apply_fn(params, batch_stats, batch["image"], train=True)[1]
    return jax.tree.map(jnp.add, total, moved), ()

  return jax.jit(add, donate_argnums=0)


def _kept(moved: Callable[[PyTree], PyTree], zeros: PyTree) -> PyTree:
  """The share of its stored value that each statistic keeps in one pass.

  No network tells its momentum, so it is read from where two different stored
  values go: s -> m s + (1 - m) b, with the same b, since in training the
  network does not look at what is stored. `moved` is batch_stats -> batch_stats
  after one pass, of the same batch; `zeros` and the m returned are like them.

  Raises:
    ValueError: if a statistic keeps all.
  """
  low = moved(zeros)
  # As large as what it is to be told from; a fixed one would drown in rounding.
  other = _far(low)
  kept = _slope(low, moved(other), other)
  for path, leaf in jax.tree.leaves_with_path(kept):
    if np.max(jax.device_get(leaf)) > 1 - 1e-6:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise ValueError(
        f"the stored statistic {name} does not move in training (momentum 1): "
        "there is nothing to renew it from"
      )
  return kept


@jax.jit
def _far(tree: PyTree) -> PyTree:
  return jax.tree.map(lambda x: 1 + jnp.abs(x), tree)


@jax.jit
def _slope(low: PyTree, high: PyTree, between: PyTree) -> PyTree:
  return jax.tree.map(lambda x, h, o: (h - x) / o, low, high, between)
