"""What a network says of batches, on stored BatchNorm statistics."""

from collections.abc import Callable, Iterable
from functools import lru_cache

import jax
import numpy as np

from gzjax.types import ApplyFn, Batch, PyTree, TrainState


# Cached, so that the next call with the same network compiles nothing.
@lru_cache(maxsize=8)
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
    # No loop runs far ahead of the devices, see `training.step`.
    jax.block_until_ready(kept[-2:-1])
  return np.concatenate(
    [logits[valid > 0] for logits, valid in jax.device_get(kept)]
  )
