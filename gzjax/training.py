"""The train step, the loop around it, and prediction.

No loop runs far ahead of the devices. That saves memory, and on XLA:CPU with
several devices it must be so: only 32 programs may wait on a device, and if all
of them wait for a collective of the others, it never starts (XLA aborts the
process after a while).
"""

from collections.abc import Callable, Iterable
import functools
from functools import lru_cache
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax import losses
from gzjax.progress import progress
from gzjax.types import ApplyFn, Batch, Objective, PyTree, TrainState

# (state, batch) -> (state, outputs that a person or the audit wants to see).
Step = Callable[[TrainState, Any], tuple[TrainState, PyTree]]


class Plateau(NamedTuple):
  """Lowers the rate where the training loss stops falling.

  The rate is multiplied by `factor` after `patience` epochs in a row whose mean
  loss was not below 0.9999 of the lowest before, down to the rate `least`.
  """

  factor: float
  patience: int  # epochs
  least: float  # learning rate


def make_schedule(
  *, learning_rate: float, steps: int, warmup_steps: int, decays: bool = True
) -> optax.Schedule:
  """A linear warm-up to `learning_rate`, then a cosine to 0 at `steps`.

  Args:
    learning_rate: the peak.
    steps: all steps of the run.
    warmup_steps: less than `steps`.
    decays: False stays at the peak in place of the cosine.
  """
  start = 0.0 if warmup_steps else learning_rate
  if not decays:
    return optax.linear_schedule(start, learning_rate, max(warmup_steps, 1))
  return optax.warmup_cosine_decay_schedule(
    start, learning_rate, warmup_steps, steps
  )


def make_optimizer(
  name: str,
  schedule: optax.Schedule,
  *,
  weight_decay: float = 0.0,
) -> optax.GradientTransformation:
  """Adam, AdamW or SGD (momentum 0.9) under a schedule.

  Args:
    name: "adam", "adamw" or "sgd".
    schedule: step -> learning rate.
    weight_decay: AdamW: decoupled; Adam and SGD: added to the gradient, as in
      torch. Tensors of one axis (BatchNorm, biases) are not decayed.

  Raises:
    KeyError: for another name.
  """

  def matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)

  def decayed(optimizer):
    if not weight_decay:
      return optimizer
    return optax.chain(
      optax.add_decayed_weights(weight_decay, matrices), optimizer
    )

  return {
    "adam": lambda: decayed(optax.adam(schedule)),
    "adamw": lambda: optax.adamw(
      schedule, weight_decay=weight_decay, mask=matrices
    ),
    "sgd": lambda: decayed(optax.sgd(schedule, momentum=0.9)),
  }[name]()


def with_plateau(
  tx: optax.GradientTransformation,
  plateau: Plateau,
  *,
  learning_rate: float,
  steps: int,
) -> optax.GradientTransformationExtraArgs:
  """`tx` with its updates scaled down on plateaus; needs `value`, the loss.

  Args:
    tx: an optimizer at `learning_rate`.
    plateau: see `Plateau`.
    learning_rate: of `tx`.
    steps: in an epoch.
  """
  return optax.chain(
    tx,
    optax.contrib.reduce_on_plateau(
      factor=plateau.factor,
      patience=plateau.patience,
      accumulation_size=steps,
      min_scale=plateau.least / learning_rate,
    ),
  )


def learning_rate(
  schedule: optax.Schedule, opt_state: optax.OptState, step: int
) -> float:
  """The rate of a step (from 0), lowered as plateaus did up to `opt_state`."""

  def is_plateau(node):
    return isinstance(node, optax.contrib.ReduceLROnPlateauState)

  rate = float(jnp.asarray(schedule(step)))
  for node in jax.tree.leaves(opt_state, is_leaf=is_plateau):
    if is_plateau(node):
      rate *= float(node.scale)
  return rate


def init_state(
  params: PyTree, batch_stats: PyTree, tx: optax.GradientTransformation
) -> TrainState:
  """The state before the first step.

  It is a copy: steps that donate it do not delete the caller's arrays.
  """
  step = jnp.zeros((), jnp.int32)
  # All of it: optimizers may keep the parameters themselves.
  return jax.tree.map(
    jnp.copy, TrainState(step, params, batch_stats, tx.init(params))
  )


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


class Clock(NamedTuple):
  """Seconds spent, device-synchronised; compilation is kept apart."""

  wall: float = 0.0
  compile: float = 0.0

  def seconds(self) -> dict[str, float]:
    """As the scoreboard names them."""
    return {"wall_seconds": self.wall, "compile_seconds": self.compile}


def compiled(step: Any, *args: Any) -> tuple[Any, float]:
  """`step` compiled for `args`, and the seconds that it took."""
  start = time.perf_counter()
  function = step.lower(*args).compile()
  return function, time.perf_counter() - start


def fit(
  state: TrainState,
  step: Step,
  batches: Callable[[int], Iterable[Any]],
  *,
  steps: int,
  epochs: range,
  title: str,
  after_epoch: Callable[[int, TrainState, list[PyTree], Clock], bool],
  clock: Clock,
) -> tuple[TrainState, Clock]:
  """Runs `step` over epochs: the one loop of training and unlearning.

  Args:
    state: donated to the first step.
    step: see `Step`; jitted.
    batches: epoch -> its batches, a pure function of the epoch, so that a
      resumed run sees what an unbroken one would have seen.
    steps: batches in one epoch.
    epochs: the epochs still to do.
    title: for the progress bar.
    after_epoch: called with the epoch, the state, the outputs of its steps (on
      the host) and the clock; it evaluates and saves, and says whether to go
      on. Its own time is counted, too.
    clock: what earlier, interrupted runs spent.

  Returns:
    The last state and the clock.
  """
  if not epochs:
    return state, clock
  run, seconds = compiled(step, state, next(iter(batches(epochs.start))))
  start = time.perf_counter() - clock.wall
  clock = clock._replace(compile=clock.compile + seconds)
  for epoch in epochs:
    outputs = []
    name = f"{title} epoch {epoch + 1}/{epochs.stop}"
    for batch in progress(batches(epoch), steps, name):
      state, output = run(state, batch)
      outputs.append(output)
      # Let the device run one step ahead of the progress bar, not more.
      jax.block_until_ready(outputs[-2:-1])
    outputs = jax.device_get(outputs)
    clock = clock._replace(wall=time.perf_counter() - start)
    if not after_epoch(epoch, state, outputs, clock):
      break
    clock = clock._replace(wall=time.perf_counter() - start)
  return state, clock


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
  total = jax.tree.map(jnp.zeros_like, state.params)
  count = 0.0
  for batch in batches:
    total = jax.block_until_ready(
      add(total, state.params, state.batch_stats, batch)
    )
    count += float(jnp.sum(batch["valid"]))
  return jax.tree.map(lambda t: t / max(count, 1.0), total)


# These are cached, so that the next call with the same network compiles
# nothing.
@lru_cache(maxsize=8)
def _make_add_gradient(
  apply_fn: ApplyFn, objective: Objective
) -> Callable[[PyTree, PyTree, PyTree, Batch], PyTree]:
  """(total, params, batch_stats, batch) -> total + sum of gradients."""

  def add(total, params, batch_stats, batch):
    def loss_fn(params):
      logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
      return jnp.sum(objective(logits, batch) * batch["valid"])

    return jax.tree.map(jnp.add, total, jax.grad(loss_fn)(params))

  return jax.jit(add)


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
  add = _make_add_moved(apply_fn)
  zeros = jax.tree.map(jnp.zeros_like, state.batch_stats)
  total, kept = zeros, None
  count = 0
  for batch in batches:
    if kept is None:
      kept = _kept(functools.partial(add, zeros, state.params), zeros, batch)
    total = jax.block_until_ready(add(total, state.params, zeros, batch))
    count += 1
  # From a stored value of 0, each pass moved the share 1 - kept of the way to
  # the batch's value.
  renewed = jax.tree.map(
    lambda moved, kept: moved / count / (1 - kept), total, kept
  )
  return state._replace(batch_stats=renewed)


@lru_cache(maxsize=8)
def _make_add_moved(
  apply_fn: ApplyFn,
) -> Callable[[PyTree, PyTree, PyTree, Batch], PyTree]:
  """(total, params, batch_stats, batch) -> total + statistics moved once."""

  def add(total, params, batch_stats, batch):
    moved = apply_fn(params, batch_stats, batch["image"], train=True)[1]
    return jax.tree.map(jnp.add, total, moved)

  return jax.jit(add)


def _kept(
  moved: Callable[[PyTree, Batch], PyTree], zeros: PyTree, batch: Batch
) -> PyTree:
  """The share of its stored value that each statistic keeps in one pass.

  No network tells its momentum, so it is read from where two different stored
  values go: s -> m s + (1 - m) b, with the same b, since in training the
  network does not look at what is stored.

  Args:
    moved: (batch_stats, batch) -> batch_stats after one pass.
    zeros: like batch_stats.
    batch: any.

  Returns:
    The momentum m of each entry, like batch_stats.

  Raises:
    ValueError: if a statistic keeps all.
  """
  low = moved(zeros, batch)
  # As large as what it is to be told from; a fixed one would drown in rounding.
  other = jax.tree.map(lambda x: 1 + jnp.abs(x), low)
  high = moved(other, batch)
  kept = jax.tree.map(lambda h, x, o: (h - x) / o, high, low, other)
  for path, leaf in jax.tree.leaves_with_path(kept):
    if float(jnp.max(leaf)) > 1 - 1e-6:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise ValueError(
        f"the stored statistic {name} does not move in training (momentum 1): "
        "there is nothing to renew it from"
      )
  return kept
