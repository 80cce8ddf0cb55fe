"""What networks say of all galaxies, kept in a file and read one by one."""

from collections.abc import Iterator, Mapping, Sequence
import os
from typing import IO, NamedTuple

import numpy as np

from gzjax.objectives import targets
from gzjax.objectives.targets import Prediction, Target
from gzjax.problem import Network, Problem, predict


class _Kept(NamedTuple):
  """What a network has said."""

  target: Target
  place: int  # of its logits f32[N,K] in the file, bytes


class Said(Mapping[str, Prediction]):
  """What networks say of the galaxies of a problem, by their names.

  Each look reads the logits anew, so that whoever looks at one network after
  another holds one of them in memory.
  """

  def __init__(
    self, problem: Problem, names: Sequence[str], file: IO[bytes], views: int
  ):
    """Will ask about `views` of each galaxy, and keep it in an empty file.

    The names are in their order, whichever is asked first.
    """
    self._problem, self._names = problem, names
    self._file, self._views = file, views
    self._kept: dict[str, _Kept] = {}

  def ask(self, network: Network) -> Prediction:
    """What a network says; it is asked once."""
    if network.name not in self._kept:
      everything = np.arange(self._problem.size)
      logits = predict(self._problem, network, everything, self._views)
      place = self._file.seek(0, os.SEEK_END)
      np.save(self._file, logits)
      target = network.target or self._problem.target
      self._kept[network.name] = _Kept(target, place)
    return self[network.name]

  def __getitem__(self, name: str) -> Prediction:
    target, place = self._kept[name]
    self._file.seek(place)
    return targets.interpret(target, np.load(self._file))

  def __iter__(self) -> Iterator[str]:
    return (name for name in self._names if name in self._kept)

  def __len__(self) -> int:
    return len(self._kept)
