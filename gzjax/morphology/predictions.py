"""What a network says of the answers of a tree."""

from typing import NamedTuple

import numpy as np

from gzjax.morphology import trees
from gzjax.morphology.trees import Tree


class Predictions(NamedTuple):
  """What a network says about N galaxies, answers in the order of the tree."""

  tree: Tree
  shares: np.ndarray  # f64[N,A], conditional
  concentration: np.ndarray | None = None  # f64[N,A], of Dirichlet laws

  @property
  def cumulative(self) -> np.ndarray:
    """f64[N,A], shares of all volunteers."""
    return trees.joint(self.tree, self.shares)

  def select(self, rows: np.ndarray) -> "Predictions":
    """The predictions for some of the galaxies."""
    return Predictions(
      self.tree,
      self.shares[rows],
      None if self.concentration is None else self.concentration[rows],
    )
