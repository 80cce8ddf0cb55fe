"""Small networks and batches that several tests share."""

import functools

import jax
import numpy as np

from gzjax import models

SIZE = 12
CLASSES = 3


@functools.cache
def tiny(**options):
  """(apply_fn, params, batch_stats) of a two-block ResNet of width 4.

  The stored statistics are made uneven, so that a test sees where they enter.
  """
  model = models.MODELS["resnet_tiny"](
    num_classes=CLASSES, width=4, small_stem=True, **options
  )
  params, batch_stats = models.init_variables(model, jax.random.key(1), SIZE)
  rng = np.random.default_rng(2)
  batch_stats = jax.tree.map(
    lambda x: (x + 0.3 * rng.random(x.shape)).astype(np.float32), batch_stats
  )
  return models.make_apply_fn(model), params, batch_stats


def batch(count: int, padding: int = 0, seed: int = 0):
  """A batch of NumPy arrays, its last `padding` examples not valid."""
  rng = np.random.default_rng(seed)
  return {
    "image": rng.normal(size=(count, SIZE, SIZE, 3)).astype(np.float32),
    "label": rng.integers(0, CLASSES, count).astype(np.int32),
    "valid": (np.arange(count) < count - padding).astype(np.float32),
    "id": np.arange(count, dtype=np.int32),
  }
