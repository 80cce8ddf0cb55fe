"""How good, how forgetful, how sure: numbers on the host in float64."""

from typing import TYPE_CHECKING

from gzjax import lazy

if TYPE_CHECKING:
  from gzjax.evaluation.compare import score
  from gzjax.evaluation.scoreboard import show, to_frame

__all__ = ["score", "show", "to_frame"]

# Tables need pandas, which is slow to import.
__getattr__ = lazy.getter(
  __name__,
  {
    "score": "gzjax.evaluation.compare",
    "show": "gzjax.evaluation.scoreboard",
    "to_frame": "gzjax.evaluation.scoreboard",
  },
)
