"""Small networks and batches that several tests share."""

import functools

import jax
import numpy as np

from gzjax import models

# Of a function that draws for seconds, against what tests/conftest.py sets.
OPTIMISED = {"xla_backend_optimization_level": 3}
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


def check_randomness(logits, without):
  """Asserts that a network is random in training, with a key, and only there.

  Args:
    logits: (train, key=None) -> what the network says of some images.
    without: what it would say in training without its random parts.
  """
  one, two = jax.random.split(jax.random.key(2))
  np.testing.assert_array_equal(logits(train=True), without)
  np.testing.assert_array_equal(
    logits(train=False, key=one), logits(train=False)
  )
  random = logits(train=True, key=one)
  np.testing.assert_array_equal(random, logits(train=True, key=one))
  assert np.any(random != logits(train=True, key=two))
  assert np.any(random != without)
