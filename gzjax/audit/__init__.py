"""Which labels are probably wrong: arrays in, arrays out."""

from typing import TYPE_CHECKING

from gzjax import lazy

if TYPE_CHECKING:
  from gzjax.audit import review
  from gzjax.audit.endless import favourite, favourites
  from gzjax.audit.how_many import (
    Estimate,
    calibrated,
    confident_joint,
    cut,
    estimate,
    expected,
    transitions,
  )
  from gzjax.audit.suspicion import (
    Neighbours,
    Scores,
    area_under_margin,
    neighbours,
    scores,
    self_influence,
  )
  from gzjax.audit.volunteers import (
    Consensus,
    conjugate,
    consensus,
    dawid_skene,
    one_more_volunteer,
    tail_probability,
  )

__all__ = [
  "Consensus",
  "Estimate",
  "Neighbours",
  "Scores",
  "area_under_margin",
  "calibrated",
  "confident_joint",
  "conjugate",
  "consensus",
  "cut",
  "dawid_skene",
  "estimate",
  "expected",
  "favourite",
  "favourites",
  "neighbours",
  "one_more_volunteer",
  "review",
  "scores",
  "self_influence",
  "tail_probability",
  "transitions",
]

_HOMES = {
  "endless": ("favourite", "favourites"),
  "how_many": (
    "Estimate",
    "calibrated",
    "confident_joint",
    "cut",
    "estimate",
    "expected",
    "transitions",
  ),
  "suspicion": (
    "Neighbours",
    "Scores",
    "area_under_margin",
    "neighbours",
    "scores",
    "self_influence",
  ),
  "volunteers": (
    "Consensus",
    "conjugate",
    "consensus",
    "dawid_skene",
    "one_more_volunteer",
    "tail_probability",
  ),
}
# A review needs pandas, which is slow to import.
__getattr__ = lazy.getter(
  __name__,
  {name: f"{__name__}.{home}" for home in _HOMES for name in _HOMES[home]},
  {"review"},
)
