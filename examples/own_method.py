"""A method of your own: an optax chain and one row of the table.

    python examples/own_method.py

It teaches "it is not this" for the wrong labels, in a ball around the original.
Beside it runs finetuning, the least that a method has to beat.
"""

import flax.linen as nn
import numpy as np
import optax
from rich.console import Console

from gzjax import evaluation
from gzjax.objectives import losses
from gzjax.problem import Problem
from gzjax.training import Recipe, train
from gzjax.types import Method
from gzjax.unlearning import METHODS, Driver, Row, register, run, transforms


def nudge(task, *, learning_rate: float = 1e-3, radius: float = 0.2) -> Method:
  """Descends both losses by Adam, never far from the original.

  Args:
    task: what a method may know of the run.
    learning_rate: of Adam.
    radius: largest distance from the original over its norm.
  """
  chain = optax.chain(
    transforms.add_forget_gradients(1.0),
    optax.adam(learning_rate),
    transforms.project_to_ball(radius),
  )
  return Method(chain, task.loss, losses.complement, ("reference_params",))


# With a rate of 0 it does nothing; three passes over what is to be kept.
register("nudge", Row(nudge, {"learning_rate": 0.0}, Driver(epochs=3)))

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
for name in ("finetune", "nudge"):
  networks.append(run(problem, METHODS[name], networks[0]))
evaluation.show(evaluation.score(problem, networks), Console(width=160))
