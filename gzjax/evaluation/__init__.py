"""How good, how forgetful, how sure: numbers on the host in float64."""

from gzjax.evaluation.compare import score
from gzjax.evaluation.scoreboard import show, to_frame

__all__ = ["score", "show", "to_frame"]
