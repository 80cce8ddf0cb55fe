"""Numbers about predictions that are not one class of each galaxy.

Several labels at once, the answers to the questions of a tree, and classes with
an `uncertain` one beside them; on the host in float64. A prediction that is not
finite gives no label, the wrong answer and no class.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gzjax import metrics
from gzjax.data import decision_tree
from gzjax.data.decision_tree import Tree
from gzjax.data.labels import LEFT_OUT, Votes
from gzjax.vote_metrics import ALL


def choose_thresholds(
  truth: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
  """The threshold of the largest F1 of each label, for `above`.

  All cuts between the galaxies are compared. Of equally good ones the highest
  is taken, which gives the label to the fewest galaxies.

  Args:
    truth: bool or 0 and 1, [N,L], of validation galaxies.
    probabilities: f[N,L]; those that are not finite are under every threshold.

  Returns:
    f64[L], one of the label's probabilities each; 0.5 where no galaxy with a
    finite one has the label.
  """
  columns = zip(np.asarray(truth, bool).T, probabilities.T, strict=True)
  return np.array([_threshold(*column) for column in columns], np.float64)


def _threshold(truth, probability) -> float:
  finite = np.isfinite(probability)
  if not np.any(truth[finite]):
    return 0.5
  cuts, place = np.unique(probability[finite], return_inverse=True)
  # From the highest cut down, galaxies with at least that probability.
  said = np.bincount(place)[::-1].cumsum()
  hits = np.bincount(place, weights=truth[finite])[::-1].cumsum()
  best = _f1(hits, said, truth.sum()).argmax()
  return float(cuts[::-1][best])


def above(
  probabilities: np.ndarray, thresholds: np.ndarray | float
) -> np.ndarray:
  """Labels whose probability f[N,L] reaches its threshold f[L], bool[N,L]."""
  return np.isfinite(probabilities) & (probabilities >= thresholds)


def label_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
  """Scores over all labels.

  Args:
    truth: bool or 0 and 1, [N,L].
    predicted: bool or 0 and 1, [N,L].

  Returns:
    `exact_match` (share of galaxies with all labels right), `macro_precision`,
    `macro_recall` and `macro_f1` (means over the labels, one that is 0 / 0
    counted as 0), `micro_precision`, `micro_recall` and `micro_f1` (of all
    galaxies and labels together) and `hamming` (share of wrong labels).
  """
  truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
  counts = _counts(truth, predicted)
  each, pooled = _scores(*counts), _scores(*(n.sum() for n in counts))
  return {
    "exact_match": float(np.mean(np.all(truth == predicted, axis=1))),
    **{f"macro_{name}": float(value.mean()) for name, value in each.items()},
    **{f"micro_{name}": float(value) for name, value in pooled.items()},
    "hamming": float(np.mean(truth != predicted)),
  }


def per_label(
  names: Sequence[str], truth: np.ndarray, predicted: np.ndarray
) -> pd.DataFrame:
  """Counts and scores of each label.

  Args:
    names: of the L labels.
    truth: bool or 0 and 1, [N,L].
    predicted: bool or 0 and 1, [N,L].

  Returns:
    A row for each label: `label`; galaxies: `positives`, `predicted`,
    `true_positive`, `false_positive`, `false_negative`, `true_negative`; and
    `precision`, `recall` and `f1`, 0 where they are 0 / 0.
  """
  truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
  hits, said, meant = _counts(truth, predicted)
  return pd.DataFrame(
    {
      "label": list(names),
      "positives": meant,
      "predicted": said,
      "true_positive": hits,
      "false_positive": said - hits,
      "false_negative": meant - hits,
      "true_negative": len(truth) - said - meant + hits,
      **_scores(hits, said, meant),
    }
  )


def macro_f1_difference(
  truth: np.ndarray, one: np.ndarray, other: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
  """By how much the macro-F1 of `one` is above that of `other`.

  Args:
    truth: bool or 0 and 1, [N,L].
    one: bool or 0 and 1, [N,L], predicted.
    other: bool or 0 and 1, [N,L], predicted for the same galaxies.
    seed: of the bootstrap over galaxies, which are drawn for both together.

  Returns:
    (difference, low, high), the ends of its 95% interval.
  """
  truth, one, other = (np.asarray(x, bool) for x in (truth, one, other))
  marks = np.hstack([truth, one, truth & one, other, truth & other])

  def difference(rows):
    meant, said, hits, others_said, others_hits = np.split(
      marks[rows].sum(axis=0), 5
    )
    return np.mean(
      _f1(hits, said, meant) - _f1(others_hits, others_said, meant)
    )

  low, high = metrics.resampled_interval(difference, len(marks), seed)
  return float(difference(np.arange(len(marks)))), float(low), float(high)


def _counts(truth, predicted):
  """Galaxies: hits, those that were said and those that were meant, i64[L]."""
  pairs = truth & predicted, predicted, truth
  return tuple(pair.sum(axis=0) for pair in pairs)


def _scores(hits, said, meant) -> dict[str, np.ndarray]:
  return {
    "precision": _ratio(hits, said),
    "recall": _ratio(hits, meant),
    "f1": _f1(hits, said, meant),
  }


def _f1(hits, said, meant):
  return _ratio(2 * hits, said + meant)


def _ratio(part, whole):
  """Of whole numbers; 0 / 0 is 0."""
  return part / np.maximum(whole, 1)


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
  truth = votes.shares[:, decision_tree.places(votes.tree, tree)]
  largest = [truth[:, part].max(axis=1) for part in tree.slices]
  sure = counted & (np.stack(largest, axis=1) > confident)
  names = [question.name for question in tree.questions]
  columns = {name: np.s_[:, q] for q, name in enumerate(names)}
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
  tree: Tree,
  votes: Votes,
  one: np.ndarray,
  other: np.ndarray,
  min_asked: float = 0.5,
  seed: int = 0,
) -> tuple[float, float, float]:
  """By how much the accuracy over all questions is above that of `other`.

  Args:
    tree: see `question_accuracy`.
    votes: on N galaxies.
    one: f[N,A], predicted, conditional.
    other: f[N,A], likewise.
    min_asked: see `question_accuracy`.
    seed: of the bootstrap over galaxies, which are drawn for both together.

  Returns:
    (difference, low, high), the ends of its 95% interval.
  """
  right, counted = _right_answers(tree, votes, one, min_asked)
  others, _ = _right_answers(tree, votes, other, min_asked)
  gain = np.sum((right.astype(int) - others) * counted, axis=1)
  pairs = counted.sum(axis=1)

  def difference(rows):
    return gain[rows].sum() / max(pairs[rows].sum(), 1)

  low, high = metrics.resampled_interval(difference, len(gain), seed)
  return float(difference(np.arange(len(gain)))), float(low), float(high)


def _right_answers(tree, votes, shares, min_asked):
  """Whether each question is answered rightly, and whether that counts.

  (bool[N,Q], bool[N,Q])
  """
  truth = votes.shares[:, decision_tree.places(votes.tree, tree)]
  at = [votes.tree.question(question.name) for question in tree.questions]
  answer, said = (
    np.stack(
      [metrics.predicted_class(x[:, part]) for part in tree.slices], axis=1
    )
    for x in (truth, shares)
  )
  counted = (votes.asked[:, at] >= min_asked) & (
    answer != metrics.INVALID_CLASS
  )
  return answer == said, counted


def _accuracy(right: np.ndarray, of: str = "") -> dict[str, float]:
  low, high = metrics.wilson_interval(right.sum(), len(right))
  return {
    f"{of}galaxies": len(right),
    f"{of}accuracy": _mean(right),
    f"{of}accuracy_low": low,
    f"{of}accuracy_high": high,
  }


def _mean(values) -> float:
  return float(values.mean()) if values.size else np.nan


def with_uncertain(probabilities: np.ndarray, below: float) -> np.ndarray:
  """Class of the largest probability of f[N,C], i64[N].

  C, which stands for uncertain, where it is under `below` or not all
  probabilities are finite.
  """
  found = metrics.predicted_class(probabilities)
  sure = probabilities.max(axis=1) >= below
  return np.where(
    sure & (found != metrics.INVALID_CLASS), found, probabilities.shape[1]
  )


def confusion_with_uncertain(
  true_label: np.ndarray, probabilities: np.ndarray, below: float
) -> np.ndarray:
  """i64[C+1,C+1]: rows are labels, columns predictions, uncertain is last.

  Args:
    true_label: i[N]; -1 where volunteers are uncertain.
    probabilities: f[N,C].
    below: see `with_uncertain`.
  """
  uncertain = probabilities.shape[1]
  return metrics.confusion_matrix(
    np.where(true_label == LEFT_OUT, uncertain, true_label),
    with_uncertain(probabilities, below),
    uncertain + 1,
  )


def coverage_accuracy(
  true_label: np.ndarray, probabilities: np.ndarray, below: float
) -> dict[str, float]:
  """How many galaxies get a class, and how many of those the right one.

  Args:
    true_label: i[N]; galaxies with -1, which have no class, are left out.
    probabilities: f[N,C].
    below: see `with_uncertain`.

  Returns:
    `coverage` (share of the galaxies that get a class) and `accuracy` (among
    them); NaN of no galaxies.
  """
  known = true_label != LEFT_OUT
  label, found = true_label[known], with_uncertain(probabilities, below)[known]
  covered = found != probabilities.shape[1]
  return {
    "coverage": _mean(covered),
    "accuracy": metrics.accuracy(label[covered], found[covered]),
  }


def rank_correlations(
  names: Sequence[str],
  truth: np.ndarray,
  predicted: np.ndarray,
  seed: int = 0,
) -> pd.DataFrame:
  """Spearman's rank correlation of each answer over the galaxies.

  Args:
    names: of the A answers.
    truth: f[N,A], shares; NaN where nobody was asked.
    predicted: f[N,A].
    seed: of the bootstrap over galaxies.

  Returns:
    A row for each answer: `answer`, `galaxies` (those with a finite truth and
    prediction; the others are left out), `spearman` and its 95% interval `low`
    to `high`. NaN where all values of a side are equal; for the interval, where
    they are in any of its samples.
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

  found = correlation(np.arange(len(x)))
  if np.isnan(found):
    return np.nan, np.nan, np.nan
  low, high = metrics.resampled_interval(correlation, len(x), seed)
  return float(found), float(low), float(high)


def _centred_ranks(place, times):
  """Mean rank of each galaxy among all, `times` of each, less their mean."""
  ties = np.bincount(place, weights=times)
  return (ties.cumsum() - (ties + times.sum()) / 2)[place]
