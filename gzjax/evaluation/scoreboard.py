"""One row for each method and seed: how good, how forgetful, how dear."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gzjax.evaluation import attacks, health, metrics
from gzjax.evaluation.intervals import mean_interval, wilson_interval
from gzjax.problem import Review

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

# More columns, of the files alone.
MORE_COLUMNS = (
  "renewed_forget_accuracy",
  "renewed_corrected_accuracy",
  "gradients",
  "compile_seconds",
  "probe_forget_accuracy",
)

# More columns, of networks that learned votes: root mean squared errors of
# cumulative fractions, on the flipped galaxies against their wrong votes
# (forget) and their true ones (corrected).
VOTE_COLUMNS = ("test_rmse", "retain_rmse", "forget_rmse", "corrected_rmse")

# Which need the right labels of galaxies with wrong ones.
_OF_TRUTH = (
  "corrected_accuracy",
  "corrected_accuracy_known",
  "corrected_accuracy_unknown",
  "corrected_rmse",
  "renewed_corrected_accuracy",
)
# More columns, where only a person's review tells what is right: agreement with
# the labels that the review gave the forget set, and accuracy on those galaxies
# of validation and test that it looked at.
REVIEW_COLUMNS = ("reviewed_accuracy", "confirmed_accuracy")

# What 80 characters hold; of each line the first that the rows have.
_OF_A_TERMINAL = (
  ("method",),
  ("test_rmse", "test_balanced_accuracy"),
  ("forget_rmse", "forget_accuracy"),
  ("reviewed_accuracy", "corrected_rmse", "corrected_accuracy"),
  ("cost_vs_retrain",),
  ("verdict",),
)
_COLOURS = {
  "ok": "green",
  "weak": "yellow",
  "collapsed": "red",
  "non-finite": "red",
}

# The numbers whose mean distance to retraining's is the gap (the average gap
# of Fan et al. 2023).
_GAP = ("test_accuracy", "retain_accuracy", "forget_accuracy", "attack_auc")


class Galaxies(NamedTuple):
  """The galaxies on which all methods are compared."""

  true_label: np.ndarray  # i64[N]
  train_label: np.ndarray  # i64[N], wrong where flipped
  test: np.ndarray  # rows i64[T]
  retain: np.ndarray  # rows of training galaxies with right labels
  forget: np.ndarray  # rows of those with wrong ones
  known: np.ndarray  # rows of `forget` that the methods were told of
  unseen: np.ndarray  # rows of galaxies for the attack that nothing learned
  unseen_label: np.ndarray  # wrong labels of those
  review: Review | None = None  # then the true labels are mostly the given ones


def score_one(probabilities: np.ndarray, galaxies: Galaxies) -> dict[str, Any]:
  """The numbers of one method that need no other method.

  Of probabilities f64[N,K]; rows of NaN count as wrong.

  Returns:
    The accuracies and the attack of `COLUMNS`; `attack_accuracy`, the same
    attack as a cross-validated classifier; corrected accuracy of the wrong
    labels that were known and of those that were not, or, where only a review
    knows, `REVIEW_COLUMNS`; of the test set's classes
    `recalls` and the `confusion` matrix; `intervals` (Wilson, 95%) of
    accuracies and recalls.
  """
  predicted = metrics.predicted_class(probabilities)
  true, wrong = galaxies.true_label, galaxies.train_label
  test, forget, known = galaxies.test, galaxies.forget, galaxies.known

  def right(label, rows):
    return label[rows] == predicted[rows]

  hits = {
    "test_accuracy": right(true, test),
    "retain_accuracy": right(true, galaxies.retain),
    "forget_accuracy": right(wrong, forget),
    "corrected_accuracy": right(true, forget),
    "corrected_accuracy_known": right(true, known),
    "corrected_accuracy_unknown": right(true, np.setdiff1d(forget, known)),
  }
  if galaxies.review:
    hits = {name: x for name, x in hits.items() if name not in _OF_TRUTH}
    hits["reviewed_accuracy"] = right(true, galaxies.review.corrected)
    hits["confirmed_accuracy"] = right(true, galaxies.review.confirmed)
  of_test = true[test], predicted[test], probabilities.shape[1]
  member_loss = metrics.cross_entropy(probabilities[forget], wrong[forget])
  other_loss = metrics.cross_entropy(
    probabilities[galaxies.unseen], galaxies.unseen_label
  )
  confusion = metrics.confusion_matrix(*of_test)
  return {
    **{name: metrics.mean_or_nan(x) for name, x in hits.items()},
    "test_balanced_accuracy": metrics.balanced_accuracy(*of_test),
    "test_macro_f1": metrics.macro_f1(*of_test),
    "attack_auc": attacks.attack_auc(member_loss, other_loss),
    "attack_accuracy": attacks.attack_accuracy(member_loss, other_loss),
    "recalls": metrics.recalls(*of_test).tolist(),
    "confusion": confusion.tolist(),
    "intervals": {
      **{name: wilson_interval(x.sum(), len(x)) for name, x in hits.items()},
      "recalls": [
        wilson_interval(confusion[k, k], np.sum(true[test] == k))
        for k in range(len(confusion))
      ],
    },
  }


def distance_to_retrain(
  probabilities: np.ndarray, retrained: np.ndarray, galaxies: Galaxies
) -> dict[str, float]:
  """Distances to the retrained network, on the test and the forget set.

  `js_to_retrain` (Jensen-Shannon divergence, nats), `activation_distance` and
  `agreement` are the means of the two sets' means, so that the few galaxies
  that were forgotten weigh as much as the many of the test set; each set's own
  stands beside it.
  """
  measures = {
    "js_to_retrain": lambda p, q: np.mean(metrics.jensen_shannon(p, q)),
    "activation_distance": metrics.activation_distance,
    "agreement": metrics.agreement,
  }
  row = {}
  for name, measure in measures.items():
    parts = {
      f"{name}_{where}": float(measure(probabilities[rows], retrained[rows]))
      for where, rows in (("test", galaxies.test), ("forget", galaxies.forget))
    }
    row |= {name: float(np.mean(list(parts.values()))), **parts}
  return row


def gap_to_retrain(
  row: Mapping[str, float], retrain: Mapping[str, float]
) -> float:
  """Mean absolute difference in `_GAP` (shares, 0 to 1).

  Without the attack where there are no galaxies to compare the members with.
  """
  gaps = np.array([abs(row[name] - retrain[name]) for name in _GAP])
  return metrics.mean_or_nan(gaps[~np.isnan(gaps)])


def to_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
  """The table of `all_columns`; what a row lacks (no retraining) is empty."""
  return pd.DataFrame(rows).reindex(columns=list(all_columns(rows)))


def columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
  """What a page shows: `all_columns` without `MORE_COLUMNS`."""
  return tuple(x for x in all_columns(rows) if x not in MORE_COLUMNS)


def terminal_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
  """How good, what is forgotten, what is mended, how dear: six columns."""
  there = all_columns(rows)
  return tuple(
    next(name for name in names if name in there) for names in _OF_A_TERMINAL
  )


def all_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
  """Those of the file: those of votes and of a review only where there are any.

  What needs the right labels is not there where nobody knows them.
  """
  names = COLUMNS + MORE_COLUMNS + VOTE_COLUMNS * ("test_rmse" in rows[0])
  if "reviewed_accuracy" not in rows[0]:
    return names
  return tuple(x for x in names if x not in _OF_TRUTH) + REVIEW_COLUMNS


def footer(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """What the numbers mean for this run, in words."""
  found = {row["role"]: row for row in rows}
  original, retrain = found["original"], found.get("reference")
  low, high = original["intervals"]["test_accuracy"]
  lines = [
    f"Test accuracy of the original: {original['test_accuracy']:.3f}, 95% "
    f"interval {low:.3f} to {high:.3f}; differences inside it mean nothing."
  ]
  if retrain is None:
    return [*lines, "No retraining was run: nothing to compare with."]
  kept, reference = original["forget_accuracy"], retrain["forget_accuracy"]
  is_like = kept - reference < health.LEAST_LEARNED
  learned = "it learned its wrong labels."
  if is_like or kept <= health.WELL_LEARNED:
    how = "never" if is_like else "hardly"
    learned = (
      f"the original {how} learned its wrong labels, so there is nothing to "
      "unlearn. More epochs or less augmentation would make it memorise them."
    )
  return [
    *lines,
    f"The original still gives {kept:.0%} of the wrong labels, real retraining "
    f"{reference:.0%}, which is the target: {learned}",
  ]


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """One row a method: (mean, low, high) of each column over its seeds.

  The 95% interval is Student's t over seeds; with one seed low and high are
  NaN. `verdict` counts the verdicts, `seed` the seeds.
  """
  result = []
  for method, runs in to_frame(rows).groupby("method", sort=False):
    verdicts = Counter(runs["verdict"])
    line: dict[str, Any] = {"method": method, "seed": len(runs)}
    for name in runs.columns[2:].drop("verdict"):
      values = runs[name].dropna().tolist()
      line[name] = mean_interval(values) if values else None
    line["verdict"] = ", ".join(
      verdict if n == len(runs) else f"{n} {verdict}"
      for verdict, n in verdicts.most_common()
    )
    result.append(line)
  return result


def summary_cell(name: str, value: Any) -> str:
  """A number of the summary as people read it: mean ± half the interval."""
  if not isinstance(value, tuple):
    return cell(name, value)
  mean, low, high = value
  half = (high - low) / 2
  text = cell(name, mean)
  return text if math.isnan(half) else f"{text} ±{cell(name, half)}"


def show_summary(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
  """Prints the mean over seeds with its 95% interval."""
  title = "Scoreboard: mean over seeds, 95% interval of the mean"
  names = terminal_columns(rows)
  console.print(table(title, names, summary(rows), summary_cell))


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
  """Prints the table and its footer."""
  console.print(table("Scoreboard", terminal_columns(rows), rows))
  for line in footer(rows):
    console.print(line)


# Of numbers that are no shares.
_FORMATS = {
  "seed": ".0f",
  "galaxies": ".0f",
  "wall_seconds": ".1f",
  "train_seconds": ",.0f",
  "parameters": ",.0f",
}


def cell(name: str, value: Any) -> str:
  """A number of a table as people read it."""
  if isinstance(value, str):
    return value
  return "" if pd.isna(value) else format(value, _FORMATS.get(name, ".3f"))


def table(
  title: str,
  names: Sequence[str],
  rows: Sequence[Mapping[Any, Any]],
  to_text: Callable[[str, Any], str] = cell,
) -> Table:
  """Some columns of rows, as a terminal shows them."""
  found = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, padding=0)
  for name in names:
    is_text = name in ("system", "method", "verdict")
    found.add_column(
      name.replace("_", "\n"),
      justify="left" if is_text else "right",
      no_wrap=is_text,
    )
  for row in rows:
    found.add_row(
      *(_coloured(name, to_text(name, row.get(name))) for name in names)
    )
  return found


def _coloured(name: str, text: str) -> Text:
  """A verdict in its colour; where seeds differ, in none."""
  return Text(text, _COLOURS.get(text, "") if name == "verdict" else "")
