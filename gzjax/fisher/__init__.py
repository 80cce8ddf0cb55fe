"""The diagonal of the Fisher information, one example at a time."""

from gzjax.fisher.diagonal import (
  Estimator,
  Spec,
  fisher_diagonal,
  gradients_each,
  mean,
  merge,
  signs_with_error,
)
from gzjax.fisher.provenance import provenance
from gzjax.fisher.transform import UnknownUseError, square_grad

__all__ = [
  "Estimator",
  "Spec",
  "UnknownUseError",
  "fisher_diagonal",
  "gradients_each",
  "mean",
  "merge",
  "provenance",
  "signs_with_error",
  "square_grad",
]
