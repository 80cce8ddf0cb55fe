"""The vital signs of a network on a problem, from what it says."""

import numpy as np

from gzjax.evaluation import health, metrics
from gzjax.problem import Problem
from gzjax.types import PyTree


def read(
  problem: Problem, params: PyTree, validation: np.ndarray, forget: np.ndarray
) -> health.Reading:
  """The reading of a network on the validation and the forget set.

  Args:
    problem: the galaxies.
    params: of the network; None: they are not looked at.
    validation: probabilities f64[n,C] on that set.
    forget: the same on the forget set, f64[m,C].
  """
  sets = problem.sets
  return health.take_reading(
    params,
    validation,
    problem.true[sets.validation],
    forget,
    problem.given[sets.forget],
  )


def expected_forget_accuracy(problem: Problem, validation: np.ndarray) -> float:
  """The target, by what the original says of validation, f64[n,C].

  See `health.expected_forget_accuracy`.
  """
  label = problem.true[problem.sets.validation]
  accuracy = metrics.accuracy(label, metrics.predicted_class(validation))
  return health.expected_forget_accuracy(accuracy, len(problem.target.classes))
