"""The step, the loop and the optimizers of a training."""

from typing import TYPE_CHECKING

from gzjax import lazy

if TYPE_CHECKING:
  from gzjax.training.recipe import Recipe, train

__all__ = ["Recipe", "train"]

# Optimizers and steps are of use on a machine that cannot read images.
__getattr__ = lazy.getter(
  __name__, dict.fromkeys(__all__, "gzjax.training.recipe")
)
