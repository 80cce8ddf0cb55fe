"""Galaxies that are flagged by a threshold on a predicted vote fraction."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gzjax.evaluation import intervals
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
  threshold: float = FLAGGED_FROM,
  meant_from: float = FLAGGED_FROM,
) -> pd.DataFrame:
  """How well a threshold on a prediction flags what the volunteers saw.

  The lab report (section 4.5) takes galaxies with a predicted merger fraction
  of 0.4 or higher for mergers.

  Args:
    tree: the questions.
    truth: f[N,A], cumulative fractions.
    predicted: f[N,A], cumulative fractions.
    answer: full name; "" for mergers.
    threshold: galaxies with at least this prediction are flagged.
    meant_from: galaxies with at least this true fraction are meant.

  Returns:
    A row for each reading of what is meant (`meant`: "fraction", as above, or
    "most voted", where no other answer of the question has more votes):
    `threshold`, `flagged`, `positives`, `hits` (galaxies), `precision` and
    `recall` (NaN of nothing), each with `_low` and `_high`, the 95% Wilson
    interval.
  """
  a = tree.index(answer or merger(tree) or "")
  rivals = truth[:, tree.slices[tree.question_of[a]]]
  meanings = {
    "fraction": truth[:, a] >= meant_from,
    "most voted": (truth[:, a] > 0) & (truth[:, a] == rivals.max(axis=1)),
  }
  return pd.DataFrame(
    [
      {"meant": name, **_flag(meant, predicted[:, a], threshold)}
      for name, meant in meanings.items()
    ]
  )


def precision_recall(
  tree: Tree,
  truth: np.ndarray,
  predicted: np.ndarray,
  *,
  answer: str = "",
  thresholds: Sequence[float] = THRESHOLDS,
  meant_from: float = FLAGGED_FROM,
) -> pd.DataFrame:
  """The rows of `flag` for many thresholds."""
  tables = [
    flag(
      tree,
      truth,
      predicted,
      answer=answer,
      threshold=threshold,
      meant_from=meant_from,
    )
    for threshold in thresholds
  ]
  return pd.concat(tables, ignore_index=True)


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
    row[name] = ratio(hits, n)
    row[f"{name}_low"], row[f"{name}_high"] = intervals.wilson_interval(hits, n)
  return row


def ratio(part, whole) -> float:
  """The part of the whole; NaN of nothing."""
  return float(part / whole) if whole else np.nan
