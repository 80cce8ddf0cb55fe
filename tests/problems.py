"""A problem from arrays that several tests share: tiny, on one device."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from gzjax import sharding
from gzjax.problem import Problem
from gzjax.training import Recipe

COUNT, CLASSES = 96, 3
# Enough for the network to memorise its wrong labels.
RECIPE = Recipe(
  epochs=25,
  batch_size=16,
  learning_rate=0.01,
  settings={"weight_decay": 0.0},
)


class Net(nn.Module):
  @nn.compact
  def __call__(self, image):
    flat = image.reshape(len(image), -1)
    return nn.Dense(3, name="head")(nn.relu(nn.Dense(32, name="stem")(flat)))


def arrays():
  """(image, given label, true label): a fifth of the labels is wrong."""
  rng = np.random.default_rng(0)
  true = rng.integers(0, CLASSES, COUNT).astype(np.int32)
  given = np.where(rng.random(COUNT) < 0.2, (true + 1) % CLASSES, true)
  shape = (COUNT, 6, 6, 3)
  image = rng.normal(60 + 50 * true[:, None, None, None], 40, shape)
  return image.clip(0, 255).astype(np.uint8), given.astype(np.int32), true


def make(network: nn.Module | None = None, **changes) -> Problem:
  """The problem, on one device; None: of a network without BatchNorm."""
  image, given, true = arrays()
  how = {"true_label": true, "batch_size": 16, **changes}
  with pytest.MonkeyPatch.context() as patch:
    mesh = sharding.make_mesh(jax.devices()[:1])
    patch.setattr(sharding, "make_mesh", lambda: mesh)
    return Problem.from_arrays(network or Net(), image, given, **how)
