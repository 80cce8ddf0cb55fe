"""What volunteers said about galaxies, and what networks say."""

from typing import NamedTuple

import numpy as np

from gzjax.errors import UserError
from gzjax.morphology import trees
from gzjax.morphology.trees import Tree


class Votes(NamedTuple):
  """What volunteers said about N galaxies, answers in the order of the tree."""

  tree: Tree
  shares: np.ndarray  # f64[N,A], conditional; NaN where nobody was asked
  counts: np.ndarray | None = None  # f64[N,A], votes
  debiased: np.ndarray | None = None  # f64[N,A], conditional, NaN where unknown

  @property
  def cumulative(self) -> np.ndarray:
    """f64[N,A], shares of all volunteers; 0 where nobody was asked.

    Of several campaigns, NaN in those that never showed the galaxy.
    """
    known = trees.joint(self.tree, np.nan_to_num(self.shares))
    return np.where(self._shown[:, self.tree.question_of], known, np.nan)

  @property
  def _shown(self) -> np.ndarray:
    """bool[N,Q]: whether the campaign of a question showed the galaxy."""
    campaigns = np.array([x.campaign for x in self.tree.questions])
    shown = np.ones((len(self.shares), len(campaigns)), bool)
    for campaign in set(campaigns.tolist()) - {""}:
      own = campaigns == campaign
      voted = np.isfinite(self.shares[:, own[self.tree.question_of]])
      shown[:, own] = voted.any(axis=1, keepdims=True)
    return shown

  @property
  def asked(self) -> np.ndarray:
    """f64[N,Q], expected share of volunteers who are asked each question."""
    return trees.asked(self.tree, np.nan_to_num(self.shares))

  def select(self, rows: np.ndarray) -> "Votes":
    """The votes on some of the galaxies."""
    return self._cut(self.tree, np.s_[rows])

  def on(self, tree: Tree) -> "Votes":
    """The votes on the answers of `tree`, all of which this tree has."""
    return self._cut(tree, np.s_[:, trees.places(self.tree, tree)])

  def _cut(self, tree, at):
    rest = (None if x is None else x[at] for x in self[2:])
    return Votes(tree, self.shares[at], *rest)


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
    rest = (None if x is None else x[rows] for x in self[2:])
    return Predictions(self.tree, self.shares[rows], *rest)


def from_counts(
  tree: Tree, counts: np.ndarray, debiased: np.ndarray | None = None
) -> Votes:
  """Votes from their numbers f[N,A]."""
  counts = counts.astype(np.float64)
  shares = trees.conditional(tree, counts, empty=np.nan)
  return Votes(tree, shares, counts, debiased)


def from_fractions(
  tree: Tree, fractions: np.ndarray, debiased: np.ndarray | None = None
) -> Votes:
  """Votes from cumulative fractions f[N,A], as the Kaggle files have them."""
  return from_counts(tree, fractions, debiased)._replace(counts=None)


def answered(votes: Votes, question: str) -> np.ndarray:
  """How many volunteers answered a question about each galaxy, f64[N].

  Of several campaigns, with its name without them, those of all.

  Raises:
    UserError: if the votes have no counts.
  """
  if votes.counts is None:
    raise UserError(
      "these files hold vote fractions without the number of volunteers: set "
      "min_votes to 0."
    )
  total = trees.sums(votes.tree, votes.counts)
  return total[:, votes.tree.meant(question)].sum(axis=1)
