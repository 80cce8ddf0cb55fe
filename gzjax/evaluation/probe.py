"""What the features of a network still know, whatever its outputs say."""

from typing import Any

import numpy as np

from gzjax import problem as problems
from gzjax.evaluation import metrics
from gzjax.problem import Network, Problem

_MOST = 10_000  # galaxies that a head is fitted on
# Inverse of the weight of the squared length.
_C = 0.1


def head() -> Any:
  """A linear head, not fitted: logistic regression on standardised features."""
  from sklearn import linear_model, pipeline, preprocessing  # slow to import

  return pipeline.make_pipeline(
    preprocessing.StandardScaler(),
    linear_model.LogisticRegression(C=_C, max_iter=2000),
  )


def forget_accuracy(problem: Problem, network: Network) -> float:
  """Share of wrong labels that a fresh linear head gives.

  It is fitted to what the network's own head sees of galaxies with right
  labels, and never saw a wrong one: what it gives of them, the features hold
  ("An Illusion of Unlearning?", AISTATS 2026). To be compared with that of
  retraining. NaN for a network that ends in no dense layer, or is not finite.
  """
  wrong = problem.wrong
  rng = np.random.default_rng(problem.seed)
  right = rng.permutation(problem.right)[:_MOST]
  label = problem.given[right]
  if not len(wrong) or len(np.unique(label)) < 2:
    return float("nan")
  try:
    seen, asked = (
      problems.features(problem, network, rows) for rows in (right, wrong)
    )
  except ValueError:
    return float("nan")
  if not (np.isfinite(seen).all() and np.isfinite(asked).all()):
    return float("nan")
  predicted = head().fit(seen, label).predict(asked)
  return metrics.accuracy(problem.given[wrong], predicted)
