"""The diagonal of the Fisher information, one example at a time."""

from gzjax.fisher.diagonal import fisher_diagonal, mean, merge

__all__ = ["fisher_diagonal", "mean", "merge"]
