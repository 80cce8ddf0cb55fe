"""The step, the loop and the optimizers of a training."""

from gzjax.training.train import Recipe, train

__all__ = ["Recipe", "train"]
