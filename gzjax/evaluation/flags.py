"""Galaxies that are flagged by a threshold on a predicted vote fraction."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gzjax.evaluation import intervals, metrics
from gzjax.morphology.trees import Tree

FLAGGED_FROM = 0.4  # the lab report, section 4.5
THRESHOLDS = tuple(k / 100 for k in range(1, 100))


def merger(tree: Tree) -> str | None:
  """The full name of the tree's answer "merger"; None: it has none."""
  return next((x for x in tree.answers if x.endswith("_merger")), None)


def flag(
  tree: Tree,
  truth: np.ndarray,
  predicted: np.ndarray,
  *,
  answer: str = "",
  thresholds: Sequence[float] = (FLAGGED_FROM,),
  meant_from: float = FLAGGED_FROM,
) -> pd.DataFrame:
  """How well thresholds on a prediction flag what the volunteers saw.

  The lab report (section 4.5) takes galaxies with a predicted merger fraction
  of 0.4 or higher for mergers. Of cumulative fractions f[N,A] of an answer (its
  full name; "": mergers): galaxies with a prediction of at least the threshold
  are flagged, those with a truth of at least `meant_from` are meant.

  Returns:
    A row for each threshold and reading of what is meant (`meant`: "fraction",
    as above, or "most voted", where no other answer of the question has more
    votes): `threshold`, `flagged`, `positives`, `hits` (galaxies), `precision`
    and `recall` (NaN of nothing), each with `_low` and `_high`, the 95% Wilson
    interval.
  """
  a = tree.index(answer or merger(tree) or "")
  known = ~np.isnan(truth[:, a])
  truth, predicted = truth[known], predicted[known]
  rivals = truth[:, tree.slices[tree.question_of[a]]]
  meanings = {
    "fraction": truth[:, a] >= meant_from,
    "most voted": (truth[:, a] > 0) & (truth[:, a] == rivals.max(axis=1)),
  }
  return pd.DataFrame(
    [
      {"meant": name, **_flag(meant, predicted[:, a], threshold)}
      for threshold in thresholds
      for name, meant in meanings.items()
    ]
  )


def _flag(meant, score, threshold) -> dict[str, float]:
  flagged = score >= threshold  # NaN is not
  hits = int(np.sum(flagged & meant))
  row = {
    "threshold": threshold,
    "flagged": int(flagged.sum()),
    "positives": int(meant.sum()),
    "hits": hits,
  }
  for name, n in (("precision", row["flagged"]), ("recall", row["positives"])):
    row[name] = metrics.ratio(hits, n)
    row[f"{name}_low"], row[f"{name}_high"] = intervals.wilson_interval(hits, n)
  return row
