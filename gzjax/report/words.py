"""The three sentences at the head of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def of_run(
  model: str,
  split: pd.DataFrame,
  rows: Sequence[Mapping[str, Any]],
  choice: Mapping[str, str],
) -> list[str]:
  """What was done, which network to use and why, and how sure that is.

  Args:
    model: name of the network.
    split: with `set`, where `forget` are the labels to unlearn.
    rows: of the scoreboard.
    choice: see `evaluation.recommend`.
  """
  return [
    _done(model, split, rows),
    choice["sentence"],
    _sure(rows, choice["method"], (split["split"] == "test").sum()),
  ]


def of_audit(audit: Mapping[str, Any]) -> list[str]:
  """The same of a run that was only audited."""
  return [
    f"{audit['labels']:,} labels were judged, each by what had not learned it.",
    "No network has unlearned anything yet: go through the page for review, "
    "export reviewed.csv, and unlearn what it confirms.",
    how_many(audit),
  ]


def how_many(audit: Mapping[str, Any]) -> str:
  """How many labels are wrong, and how many of them can be named."""
  return (
    f"About {audit['wrong']:,.0f} of {audit['labels']:,} labels look wrong "
    f"(95% interval {audit['wrong_low']:,.0f} to {audit['wrong_high']:,.0f}: "
    "where classes are hard to tell apart it counts too many); "
    f"{audit['label_issues']:,} can be named with at most "
    f"{audit['false_discovery']:.0%} right ones among them."
  )


def _done(model, split, rows) -> str:
  train = split["split"] == "train"
  forget = int((split["set"] == "forget").sum())
  share = forget / max(int(train.sum()), 1)
  if "true_label" in split:
    start = (
      f"{model} learned {train.sum():,} galaxies, of which {forget:,} "
      f"({share:.1%}) had been given a wrong label on purpose"
    )
  else:
    start = (
      f"{model} learned {train.sum():,} galaxies with their labels as they "
      f"are, of which {forget:,} ({share:.1%}) are to be forgotten"
    )
  count = sum(row["role"] == "method" for row in rows)
  parts = [f"{count} method{'s' * (count != 1)} unlearned these"] * (count > 0)
  if any(row["role"] == "reference" for row in rows):
    parts.append("it was trained again without them")
  return f"{start}; {' and '.join(parts)}." if parts else f"{start}."


def _sure(rows, chosen, tested) -> str:
  by_name = {row["method"]: row for row in rows}
  original = next(row["method"] for row in rows if row["role"] == "original")
  words = f"On {tested:,} test galaxies, which decided nothing, {chosen} is "
  words += f"right for {_share(by_name[chosen])}"
  if chosen != original:
    words += f", the original for {_share(by_name[original])}; "
    words += (
      "the intervals overlap, so chance may explain the difference"
      if _overlap(by_name[chosen], by_name[original])
      else "the intervals do not overlap"
    )
  return (
    f"{words}. What another random seed would give is not in these intervals."
  )


def _share(row) -> str:
  low, high = row["intervals"]["test_accuracy"]
  return f"{row['test_accuracy']:.1%} (95% interval {low:.1%} to {high:.1%})"


def _overlap(one, other) -> bool:
  (low, high), (bottom, top) = (
    row["intervals"]["test_accuracy"] for row in (one, other)
  )
  return low <= top and bottom <= high
