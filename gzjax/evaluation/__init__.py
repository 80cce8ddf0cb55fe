"""How good, how forgetful, how sure: numbers on the host in float64."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from gzjax.evaluation.compare import score
  from gzjax.evaluation.scoreboard import show, to_frame

__all__ = ["score", "show", "to_frame"]


def __getattr__(name: str) -> Any:
  """Imports what is asked for: tables need pandas, which is slow to import."""
  if name == "score":
    from gzjax.evaluation import compare

    return compare.score
  if name in __all__:
    from gzjax.evaluation import scoreboard

    return getattr(scoreboard, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
