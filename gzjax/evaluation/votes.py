"""Numbers about predicted votes, on the host in float64.

Fractions are cumulative (shares of all volunteers, what the Kaggle challenge
scores), shares are conditional (of those who were asked); both have the answers
in the order of `Tree.answers` on the last axis. A prediction that is not finite
counts as wrong: as 0 or 1, whichever is farther from the truth, or as outside
of every interval. A truth of NaN, of a campaign that never showed the galaxy,
is not looked at.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gzjax.evaluation import dirichlet, intervals, metrics
from gzjax.morphology.trees import Tree


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
  """Root mean squared error over all galaxies and answers.

  The Kaggle challenge's score, of cumulative fractions f[N,A] and a prediction
  f[N,A], or f[A] for the same everywhere.
  """
  return float(np.sqrt(np.nanmean(np.square(_errors(truth, predicted)))))


def rmse_interval(
  truth: np.ndarray, predicted: np.ndarray, seed: int = 0
) -> tuple[float, float]:
  """95% interval of `rmse`: a bootstrap over galaxies."""
  squares = _errors(truth, predicted) ** 2
  squares = np.nanmean(squares[~np.isnan(truth).all(axis=1)], axis=1)
  low, high = intervals.bootstrap_interval(squares, seed)
  return float(np.sqrt(low)), float(np.sqrt(high))


def answers(
  tree: Tree, truth: np.ndarray, predicted: np.ndarray, mean: np.ndarray
) -> pd.DataFrame:
  """How well each answer is predicted, and what the zero labels cost.

  The lab report (section 4.4) lays most of its error to the many labels of
  exactly 0, for which its network "generally guesses a value". Of cumulative
  fractions f[N,A]; `mean`, f[A], is what to beat, that of the training set.

  Returns:
    A rows and one over all answers: `question`, `answer`, `mean_voted`,
    `mean_predicted`, `rmse`, `rmse_of_mean`, `skill` (1 - (rmse /
    rmse_of_mean)^2), `correlation` (Pearson's, of the departures from `mean`),
    `zero_share` (of the galaxies whose true fraction is 0),
    `predicted_where_zero`, `rmse_where_zero`, `rmse_elsewhere` and
    `error_from_zeros` (share of the squared error). NaN where there is nothing
    to take the mean of.
  """
  names = [(x.name, answer) for x in tree.questions for answer in x.answers]
  rows = []
  for a, (question, answer) in enumerate(names):
    at = np.s_[:, a : a + 1]
    row = _answer(truth[at], predicted[at], mean[a : a + 1])
    rows.append({"question": question, "answer": answer, **row})
  whole = _answer(truth, predicted, mean)
  return pd.DataFrame(
    [*rows, {"question": dirichlet.ALL, "answer": dirichlet.ALL, **whole}]
  )


def _answer(truth, predicted, mean) -> dict[str, float]:
  known = ~np.isnan(truth)
  mean = np.broadcast_to(mean, truth.shape)[known]
  truth, predicted = truth[known], predicted[known]
  squares = _errors(truth, predicted) ** 2
  of_mean = np.sqrt(metrics.mean_or_nan((truth - mean) ** 2))
  zero, finite = truth == 0, np.isfinite(predicted)
  return {
    "mean_voted": metrics.mean_or_nan(truth),
    "mean_predicted": metrics.mean_or_nan(predicted[finite]),
    "rmse": np.sqrt(metrics.mean_or_nan(squares)),
    "rmse_of_mean": of_mean,
    "skill": 1 - metrics.ratio(metrics.mean_or_nan(squares), of_mean**2),
    "correlation": _correlation(
      (truth - mean)[finite], (predicted - mean)[finite]
    ),
    "zero_share": metrics.mean_or_nan(zero),
    "predicted_where_zero": metrics.mean_or_nan(predicted[zero & finite]),
    "rmse_where_zero": np.sqrt(metrics.mean_or_nan(squares[zero])),
    "rmse_elsewhere": np.sqrt(metrics.mean_or_nan(squares[~zero])),
    "error_from_zeros": metrics.ratio(squares[zero].sum(), squares.sum()),
  }


def reliability(
  tree: Tree,
  shares: np.ndarray,
  predicted: np.ndarray,
  asked: np.ndarray,
  bins: int = 10,
) -> pd.DataFrame:
  """Whether shares that are predicted as p are p on average.

  Args:
    tree: the questions.
    shares: f[N,A], the volunteers' conditional shares; NaN where nobody was
      asked.
    predicted: f[N,A], conditional shares; not finite ones are left out.
    asked: f[N,Q], the weight of a galaxy's answers: how many volunteers were
      asked, or which share of them.
    bins: of equal width, over 0 to 1.

  Returns:
    A row for each question and bin that is not empty: `question`, `bin`,
    `predicted` and `observed` (weighted means), `standard_error` of the latter
    over galaxies, `shares` (galaxies x answers) and `weight` (their sum).
  """
  known = np.isfinite(shares) & np.isfinite(predicted)
  weight = np.where(known, asked[:, tree.question_of], 0)
  shares, predicted = np.where(known, shares, 0), np.where(known, predicted, 0)
  place = np.minimum(predicted * bins, bins - 1).astype(int)
  rows = []
  for question, part in zip(tree.questions, tree.slices, strict=True):
    for b in range(bins):
      inside = weight[:, part] * (place[:, part] == b)
      if not inside.any():
        continue
      mean, _ = dirichlet.mean_over_galaxies(predicted[:, part], inside)
      observed = dirichlet.mean_over_galaxies(shares[:, part], inside)
      size = np.count_nonzero(inside), inside.sum()
      rows.append((question.name, b, mean, *observed, *size))
  names = ["question", "bin", "predicted", "observed", "standard_error"]
  return pd.DataFrame(rows, columns=[*names, "shares", "weight"])


def scores(
  truth: np.ndarray, predicted: Mapping[str, np.ndarray], seed: int = 0
) -> pd.DataFrame:
  """`method`, `rmse` and its `rmse_interval`, `rmse_low` to `rmse_high`."""
  rows = [
    (name, rmse(truth, found), *rmse_interval(truth, found, seed))
    for name, found in predicted.items()
  ]
  return pd.DataFrame(rows, columns=["method", "rmse", "rmse_low", "rmse_high"])


def _errors(truth, predicted):
  """Predicted less true; what is not finite is as wrong as can be."""
  truth = np.asarray(truth, np.float64)
  worst = np.where(truth < 0.5, 1.0, 0.0)
  return np.where(np.isfinite(predicted), predicted, worst) - truth


def _correlation(x, y) -> float:
  """Pearson's; NaN where one side is constant or there is nothing."""
  if not x.size or not np.ptp(x) or not np.ptp(y):
    return np.nan
  return float(np.corrcoef(x, y)[0, 1])
