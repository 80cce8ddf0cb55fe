"""How well the questions of a tree are answered, on the host in float64."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gzjax.evaluation import intervals, metrics
from gzjax.evaluation.dirichlet import ALL
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Votes


def question_accuracy(
  tree: Tree,
  votes: Votes,
  shares: np.ndarray,
  confident: float = 0.8,
  min_asked: float = 0.5,
) -> pd.DataFrame:
  """How often the most voted answer to a question is predicted.

  As in Table 1 of Walmsley et al. (2022): only galaxies of which at least half
  of the volunteers are asked the question, and of these again those on which
  the volunteers are confident. Of equal votes the first answer wins.

  Args:
    tree: the questions, all or some of those of `votes.tree`.
    votes: on N galaxies.
    shares: f[N,A], predicted, conditional, answers in the order of `tree`.
    confident: the largest share of the volunteers is over this.
    min_asked: least share of the volunteers who are asked.

  Returns:
    A row for each question, and one for all pairs of a galaxy and a question:
    `question`, `galaxies`, `accuracy`, `accuracy_low`, `accuracy_high` (its 95%
    Wilson interval, as if all pairs were independent) and the same of the
    confident ones, as `confident_<name>`. Accuracies of nothing are NaN.
  """
  right, counted = _right_answers(tree, votes, shares, min_asked)
  truth = votes.on(tree).shares
  largest = [truth[:, part].max(axis=1) for part in tree.slices]
  sure = counted & (np.stack(largest, axis=1) > confident)
  columns = {x.name: np.s_[:, q] for q, x in enumerate(tree.questions)}
  return pd.DataFrame(
    [
      {
        "question": name,
        **_accuracy(right[at][counted[at]]),
        **_accuracy(right[at][sure[at]], "confident_"),
      }
      for name, at in {**columns, ALL: np.s_[:]}.items()
    ]
  )


def question_accuracy_difference(
  tree: Tree, votes: Votes, one: np.ndarray, other: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
  """By how much the accuracy over all questions is above that of `other`.

  (difference, low, high) of the shares f[N,A], see `question_accuracy`; the
  interval (95%) is a bootstrap over galaxies, drawn for both together.
  """
  right, counted = _right_answers(tree, votes, one)
  others, _ = _right_answers(tree, votes, other)
  gain = np.sum((right.astype(int) - others) * counted, axis=1)
  pairs = counted.sum(axis=1)

  def difference(rows):
    return gain[rows].sum() / max(pairs[rows].sum(), 1)

  return intervals.with_interval(difference, len(gain), seed)


def _right_answers(tree, votes, shares, min_asked=0.5):
  """Whether each question is answered rightly, and whether that counts.

  (bool[N,Q], bool[N,Q])
  """

  def most_voted(values):
    parts = [metrics.predicted_class(values[:, part]) for part in tree.slices]
    return np.stack(parts, axis=1)

  at = [votes.tree.question(question.name) for question in tree.questions]
  asked = votes.asked[:, at] >= min_asked
  answer = most_voted(votes.on(tree).shares)
  counted = asked & (answer != metrics.INVALID_CLASS)
  return answer == most_voted(shares), counted


def _accuracy(right: np.ndarray, of: str = "") -> dict[str, float]:
  low, high = intervals.wilson_interval(right.sum(), len(right))
  return {
    f"{of}galaxies": len(right),
    f"{of}accuracy": metrics.mean_or_nan(right),
    f"{of}accuracy_low": low,
    f"{of}accuracy_high": high,
  }


def rank_correlations(
  names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, seed: int = 0
) -> pd.DataFrame:
  """Spearman's rank correlation of each of A answers over the galaxies.

  Of true and predicted shares, f[N,A]. A row for each answer: `answer`,
  `galaxies` (those with a finite truth and prediction; the others are left
  out), `spearman` and its 95% interval (a bootstrap) `low` to `high`. NaN where
  all values of a side are equal; for the interval, where they are in any of its
  samples.
  """
  known = np.isfinite(truth) & np.isfinite(predicted)
  rows = [
    (name, keep.sum(), *_spearman(x[keep], y[keep], seed))
    for name, x, y, keep in zip(
      names, truth.T, predicted.T, known.T, strict=True
    )
  ]
  columns = ["answer", "galaxies", "spearman", "low", "high"]
  return pd.DataFrame(rows, columns=columns)


def _spearman(x, y, seed) -> tuple[float, float, float]:
  """Correlation of f[n] and f[n], and the ends of its interval."""
  # Places in the order of the values: no sample has to be sorted again.
  x, y = (np.unique(values, return_inverse=True)[1] for values in (x, y))

  def correlation(rows):
    times = np.bincount(rows, minlength=len(x))
    a, b = _centred_ranks(x, times), _centred_ranks(y, times)
    # No dot products: the threads of BLAS are slow on a busy machine.
    xx, yy, xy = (np.sum(times * c) for c in (a * a, b * b, a * b))
    return xy / np.sqrt(xx * yy) if xx and yy else np.nan

  if np.isnan(correlation(np.arange(len(x)))):
    return np.nan, np.nan, np.nan
  return intervals.with_interval(correlation, len(x), seed)


def _centred_ranks(place, times):
  """Mean rank of each galaxy among all, `times` of each, less their mean."""
  ties = np.bincount(place, weights=times)
  return (ties.cumsum() - (ties + times.sum()) / 2)[place]
