"""One row for each method and seed: how good, how forgetful, how dear."""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from gzjax import metrics

COLUMNS = (
  "method",
  "seed",
  "test_accuracy",
  "test_balanced_accuracy",
  "test_macro_f1",
  "retain_accuracy",
  "forget_accuracy",
  "corrected_accuracy",
  "attack_auc",
  "js_to_retrain",
  "gap_to_retrain",
  "wall_seconds",
  "cost_vs_retrain",
  "verdict",
)

# The numbers whose mean distance to retraining's is the gap (the average gap
# of Fan et al. 2023).
_GAP = ("test_accuracy", "retain_accuracy", "forget_accuracy", "attack_auc")


class Galaxies(NamedTuple):
  """The galaxies on which all methods are compared."""

  true_label: np.ndarray  # i64[N]
  train_label: np.ndarray  # i64[N], wrong where flipped
  test: np.ndarray  # rows i64[T]
  retain: np.ndarray  # rows
  forget: np.ndarray  # rows
  unseen: np.ndarray  # rows of test galaxies for the attack
  unseen_label: np.ndarray  # wrong labels of those


def score(probabilities: np.ndarray, galaxies: Galaxies) -> dict[str, Any]:
  """The numbers of one method that need no other method.

  Args:
    probabilities: f64[N,K]; NaN rows count as wrong.
    galaxies: see `Galaxies`.

  Returns:
    The accuracies and the attack of `COLUMNS`, and `intervals` (Wilson, 95%).
  """
  k = probabilities.shape[1]
  predicted = metrics.predicted_class(probabilities)

  def on(label, rows):
    return label[rows], predicted[rows]

  true, wrong = galaxies.true_label, galaxies.train_label
  row: dict[str, Any] = {
    "test_accuracy": metrics.accuracy(*on(true, galaxies.test)),
    "test_balanced_accuracy": metrics.balanced_accuracy(
      *on(true, galaxies.test), k
    ),
    "test_macro_f1": metrics.macro_f1(*on(true, galaxies.test), k),
    "retain_accuracy": metrics.accuracy(*on(true, galaxies.retain)),
    "forget_accuracy": metrics.accuracy(*on(wrong, galaxies.forget)),
    "corrected_accuracy": metrics.accuracy(*on(true, galaxies.forget)),
    "attack_auc": metrics.attack_auc(
      probabilities[galaxies.forget],
      wrong[galaxies.forget],
      probabilities[galaxies.unseen],
      galaxies.unseen_label,
    ),
  }
  sizes = {
    "test_accuracy": len(galaxies.test),
    "retain_accuracy": len(galaxies.retain),
    "forget_accuracy": len(galaxies.forget),
    "corrected_accuracy": len(galaxies.forget),
  }
  row["intervals"] = {
    name: metrics.wilson_interval(row[name] * n, n) for name, n in sizes.items()
  }
  return row


def distance_to_retrain(
  probabilities: np.ndarray, retrained: np.ndarray, galaxies: Galaxies
) -> dict[str, float]:
  """Jensen-Shannon divergence to the retrained network, nats.

  `js_to_retrain` is the mean of the two sets' means, so that the few galaxies
  that were forgotten weigh as much as the many of the test set.
  """
  row = {}
  for name in ("test", "forget"):
    rows = getattr(galaxies, name)
    row[f"js_to_retrain_{name}"] = float(
      np.mean(metrics.jensen_shannon(probabilities[rows], retrained[rows]))
    )
  row["js_to_retrain"] = (
    row["js_to_retrain_test"] + row["js_to_retrain_forget"]
  ) / 2
  return row


def gap_to_retrain(
  row: Mapping[str, float], retrain: Mapping[str, float]
) -> float:
  """Mean absolute difference in `_GAP` (shares, 0 to 1)."""
  return float(np.mean([abs(row[name] - retrain[name]) for name in _GAP]))


def to_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
  """The table of `COLUMNS`; what a row lacks (no retraining) is empty."""
  return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def footer(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """What the numbers mean for this run, in words."""
  found = {row["method"]: row for row in rows}
  original, retrain = found["original"], found.get("retrain")
  low, high = original["intervals"]["test_accuracy"]
  lines = [
    f"Test accuracy of the original: {original['test_accuracy']:.3f}, 95% "
    f"interval {low:.3f} to {high:.3f}; differences inside it mean nothing."
  ]
  if retrain is None:
    return [*lines, "No retraining was run: nothing to compare with."]
  kept, reference = original["forget_accuracy"], retrain["forget_accuracy"]
  start = (
    f"The original still gives {kept:.0%} of the wrong labels, real "
    f"retraining {reference:.0%} (the target, not 0%)"
  )
  if kept - reference < 0.1:
    lines.append(
      f"{start}: the original never learned its wrong labels, so there is "
      "nothing to unlearn. More epochs or less augmentation would make it "
      "memorise them."
    )
  elif kept < 0.5:
    lines.append(f"{start}: it learned some of its wrong labels.")
  else:
    lines.append(f"{start}: it learned its wrong labels.")
  return lines


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
  """Prints the table and its footer."""
  table = Table(title="Scoreboard")
  for name in COLUMNS:
    text = name in ("method", "verdict")
    table.add_column(
      name.replace("_", "\n"),
      justify="left" if text else "right",
      no_wrap=True,
    )
  for row in rows:
    table.add_row(*(cell(name, row.get(name)) for name in COLUMNS))
  console.print(table)
  for line in footer(rows):
    console.print(line)


def cell(name: str, value: Any) -> str:
  """A number of the scoreboard as people read it."""
  if isinstance(value, str):
    return value
  if value is None or math.isnan(value):
    return ""
  if name == "seed":
    return str(int(value))
  return f"{value:.1f}" if name == "wall_seconds" else f"{value:.3f}"
