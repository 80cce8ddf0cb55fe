"""Arrays and a flax network of your own: find out what forgetting is worth.

    python examples/own_arrays.py

Wrong labels are planted in noisy images, and the network has room enough to
learn them by heart, so that there is something to forget.
"""

import flax.linen as nn
import numpy as np
from rich.console import Console

from gzjax import evaluation
from gzjax.problem import Problem
from gzjax.training import Recipe, train
from gzjax.unlearning import METHODS, run

layers = [lambda x: x.reshape(len(x), -1), nn.Dense(64), nn.relu, nn.Dense(3)]
rng = np.random.default_rng(0)
true = rng.integers(0, 3, 600)
image = rng.normal(60 + 30 * true[:, None, None, None], 60, (600, 12, 12, 3))
image = image.clip(0, 255).astype(np.uint8)
given = np.where(rng.random(600) < 0.1, (true + 1) % 3, true)  # what you have
net = nn.Sequential(layers)
problem = Problem.from_arrays(net, image, given, true_label=true)
recipe = Recipe(epochs=30, batch_size=32, learning_rate=3e-3)
networks = [train(problem, recipe=recipe)]
methods = {
  "retrain": {"recipe": recipe},
  "negative_learning": {"learning_rate": 3e-4},
  "ssd": {},
}
for name, how in methods.items():
  networks.append(run(problem, METHODS[name], networks[0], **how))
evaluation.show(evaluation.score(problem, networks), Console(width=160))
