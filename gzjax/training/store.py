"""Where a training keeps its states: in memory, or wherever a caller wants."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from gzjax import sharding
from gzjax.types import Cost, PyTree, TrainState


class Store(Protocol):
  """The last and the best state of one training, and its log."""

  def resume(
    self, state: TrainState, extra: Mapping[str, np.ndarray]
  ) -> tuple[TrainState, Cost, int]:
    """The last state, the cost and the epochs done; else what is given.

    The arrays of `extra` are filled in place.
    """

  def save(
    self,
    number: int,
    state: TrainState,
    cost: Cost,
    score: float,
    extra: Mapping[str, np.ndarray],
  ) -> None:
    """Keeps a copy; the state may be donated when this returns."""

  def networks(self, *, best: bool) -> tuple[PyTree, PyTree] | None:
    """(params, batch_stats) of the highest score, or of the last; or none."""

  def log(self, step: int, epoch: int, split: str, /, **values: float) -> None:
    """Keeps numbers of an epoch (from 1)."""


class Memory:
  """A `Store` of this process: the last network and the best one."""

  def __init__(self):
    self.lines: list[dict[str, Any]] = []
    self._kept: list[tuple[float, tuple[PyTree, PyTree]]] = []

  def resume(self, state, extra):
    del extra
    return state, Cost(), 0

  def save(self, number, state, cost, score, extra):
    del number, cost, extra
    kept = sharding.copied((state.params, state.batch_stats))
    self._kept = [*self._best()[:1], (score, kept)]

  def networks(self, *, best):
    if not self._kept:
      return None
    return (self._best() if best else self._kept[::-1])[0][1]

  def _best(self):
    """What is kept, the best first; of equally good ones the later."""
    return sorted(self._kept[::-1], key=lambda pair: pair[0], reverse=True)

  def log(self, step, epoch, split, /, **values):
    self.lines.append({"step": step, "epoch": epoch, "split": split, **values})
