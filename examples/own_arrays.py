"""Arrays and a flax network of your own: find out what forgetting is worth.

    python examples/own_arrays.py

Wrong labels are planted in random images, so that there is something to forget.
"""

import flax.linen as nn
import numpy as np
from rich.console import Console

import gzjax
from gzjax.unlearning import METHODS


class Network(nn.Module):
  @nn.compact
  def __call__(self, image):
    x = nn.relu(nn.Conv(8, (3, 3), strides=2, name="stem")(image))
    return nn.Dense(3, name="head")(x.mean(axis=(1, 2)))


rng = np.random.default_rng(0)
true = rng.integers(0, 3, 400)
images = rng.normal(60 + 50 * true[:, None, None, None], 20, (400, 16, 16, 3))
given = np.where(rng.random(400) < 0.1, (true + 1) % 3, true)
problem = gzjax.Problem.from_arrays(
  Network(), images.clip(0, 255).astype(np.uint8), given, true_label=true
)
recipe = gzjax.training.Recipe(epochs=8, batch_size=32, learning_rate=0.01)
original = gzjax.training.train(problem, recipe=recipe)
networks = [original]
for name, own in {
  "retrain": {"recipe": recipe},
  "scrub": {},
  "ssd": {},
}.items():
  networks.append(gzjax.unlearning.run(problem, METHODS[name], original, **own))
gzjax.evaluation.show(gzjax.evaluation.score(problem, networks), Console())
