"""Training dynamics: what was said of each galaxy while it was learned."""

from collections.abc import Callable
import itertools

import numpy as np

from gzjax.evaluation import metrics
from gzjax.objectives import targets
from gzjax.problem import Entries, Network, Problem, example_losses, predict


class Dynamics:
  """Sums over visits of each example's loss, margin and probabilities.

  Taken before each update, in training mode; galaxies that are not trained on
  may be asked after each epoch, see `after_epochs`. The audit ranks by the
  means.
  """

  def __init__(self, problem: Problem, entries: Entries):
    """For losses of what is learned: `entries` of all galaxies."""
    self._problem, self._entries = problem, entries
    self._memory: float | None = None
    count, classes = problem.size, len(problem.target.classes)
    self.arrays = {
      "visits": np.zeros(count, np.float32),
      "loss": np.zeros(count, np.float32),
      "margin": np.zeros(count, np.float32),
      "probability": np.zeros((count, classes), np.float32),
    }

  def remember(self, memory: float) -> None:
    """Keeps a moving average of what is said of each example, too.

    `arrays["remembered"]` f32[N,C], 0 at first; each visit leaves a share of
    `memory` of it (for `losses.early_learning`).
    """
    self._memory = memory
    self.arrays["remembered"] = np.zeros_like(self.arrays["probability"])

  def add(self, outputs: list[dict[str, np.ndarray]]) -> None:
    """Adds the outputs of an epoch's steps; a galaxy may be there twice."""
    row = np.concatenate([output["id"] for output in outputs])
    logits = np.concatenate([output["logits"] for output in outputs])
    loss = example_losses(self._problem, logits, row, self._entries)
    said = targets.probabilities(self._problem.target, logits)
    margin = metrics.log_margin(said, self._entries["label"][row])
    for name, x in (
      ("visits", 1), ("loss", loss), ("margin", margin), ("probability", said)
    ):  # fmt: skip
      np.add.at(self.arrays[name], row, x)
    if self._memory is not None:
      kept = self.arrays["remembered"]
      ends = np.cumsum([len(output["id"]) for output in outputs])[:-1]
      # Step by step: the second visit in an epoch finds the first.
      for seen, now in zip(np.split(row, ends), np.split(said, ends)):
        kept[seen] = self._memory * kept[seen] + (1 - self._memory) * now

  def after_epochs(self, rows: np.ndarray) -> Callable[[Network], dict]:
    """Asks for the galaxies `rows`, as a training's `validate`."""
    calls = itertools.count()

    def ask(network):
      if next(calls):  # the first comes before a step
        logits = predict(self._problem, network, rows)
        self.add([{"id": rows, "logits": logits}])
      return {}

    return ask

  def means(self, rows: np.ndarray) -> dict[str, np.ndarray]:
    """mean_loss, margin (nats) and p_<class> of the galaxies `rows`, f[n].

    The margin is that of Pleiss et al. (2020): the logit of the label over the
    largest other one. NaN of galaxies that were never visited.
    """
    visits = self.arrays["visits"][rows]
    visits = np.where(visits > 0, visits, np.nan)
    mean = self.arrays["probability"][rows] / visits[:, None]
    names = [f"p_{name}" for name in self._problem.target.classes]
    return {
      "mean_loss": self.arrays["loss"][rows] / visits,
      "margin": self.arrays["margin"][rows] / visits,
      **dict(zip(names, mean.T, strict=True)),
    }
