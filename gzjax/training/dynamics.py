"""Training dynamics: what was said of each galaxy while it was learned."""

import numpy as np

from gzjax.objectives import targets
from gzjax.problem import Entries, Problem, example_losses


class Dynamics:
  """Sums over visits of each example's loss and probabilities.

  Taken before each update, in training mode. The audit ranks by the means.
  """

  def __init__(self, problem: Problem, entries: Entries):
    """For losses of what is learned: `entries` of all galaxies."""
    self._problem, self._entries = problem, entries
    count, classes = problem.size, len(problem.target.classes)
    self.arrays = {
      "visits": np.zeros(count, np.float32),
      "loss": np.zeros(count, np.float32),
      "probability": np.zeros((count, classes), np.float32),
    }

  def add(self, outputs: list[dict[str, np.ndarray]]) -> None:
    """Adds the outputs of an epoch's steps; a galaxy may be there twice."""
    row = np.concatenate([output["id"] for output in outputs])
    logits = np.concatenate([output["logits"] for output in outputs])
    loss = example_losses(self._problem, logits, row, self._entries)
    said = targets.probabilities(self._problem.target, logits)
    for name, x in (("visits", 1), ("loss", loss), ("probability", said)):
      np.add.at(self.arrays[name], row, x)

  def means(self, rows: np.ndarray) -> dict[str, np.ndarray]:
    """mean_loss (nats) and p_<class> of each of the galaxies `rows`, f[n]."""
    visits = np.maximum(self.arrays["visits"][rows], 1)
    mean = self.arrays["probability"][rows] / visits[:, None]
    names = [f"p_{name}" for name in self._problem.target.classes]
    return {
      "mean_loss": self.arrays["loss"][rows] / visits,
      **dict(zip(names, mean.T, strict=True)),
    }
