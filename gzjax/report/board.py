"""The scoreboard as a table that a reader sorts, unfolds and asks back."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gzjax.evaluation import scoreboard
from gzjax.report import cells

# Of a column whether more or less of it is better, or what is nearest to the
# retrained network ("" where that makes no sense); and what it says.
_MEANINGS = {
  "method": ("", "The network; the first rows are what methods are held to."),
  "seed": ("", "Random seed of the run."),
  "test_accuracy": ("high", "Share of the test set that is called right."),
  "test_balanced_accuracy": (
    "high",
    "Mean of the classes' recalls on the test set: each class weighs the same.",
  ),
  "test_macro_f1": ("high", "Mean of the classes' F1 on the test set."),
  "retain_accuracy": (
    "high",
    "Share of the training labels to keep that the network gives.",
  ),
  "forget_accuracy": (
    "retrain",
    "Share of the labels to forget that are still given; the aim is what "
    "retraining gives, not 0.",
  ),
  "corrected_accuracy": (
    "high",
    "Share of the galaxies to forget that are given their true label.",
  ),
  "attack_auc": (
    "retrain",
    "How well the loss tells memorised wrong labels from unseen ones; 0.5: "
    "not at all.",
  ),
  "js_to_retrain": (
    "low",
    "Jensen-Shannon divergence to the retrained network, in nats (0 to 0.693).",
  ),
  "gap_to_retrain": (
    "low",
    "Mean distance to retraining in test, retain and forget accuracy and "
    "attack AUC.",
  ),
  "wall_seconds": ("low", "Seconds, without compilation."),
  "cost_vs_retrain": (
    "low",
    "Work in example-gradients, as a share of retraining's.",
  ),
  "verdict": ("", "ok, weak, collapsed or non-finite; taken on validation."),
  "test_rmse": ("low", "Root mean squared error of the votes, test set."),
  "retain_rmse": ("low", "The same on the training galaxies to keep."),
  "forget_rmse": (
    "retrain",
    "The same against the wrong votes that were to be forgotten.",
  ),
  "corrected_rmse": ("low", "The same against the true votes of those."),
  "reviewed_accuracy": (
    "high",
    "Of what was to be forgotten, agreement with the labels that the review "
    "gave.",
  ),
  "confirmed_accuracy": (
    "high",
    "On the galaxies of validation and test that the review looked at.",
  ),
  "renewed_forget_accuracy": (
    "retrain",
    "Forget accuracy once BatchNorm statistics are renewed on what is kept.",
  ),
  "renewed_corrected_accuracy": (
    "high",
    "Corrected accuracy once these are renewed.",
  ),
  "gradients": ("low", "Work, in gradients of single galaxies."),
  "compile_seconds": ("low", "Seconds of compilation."),
  "probe_forget_accuracy": (
    "retrain",
    "Labels to forget that a linear classifier finds in the features.",
  ),
  "activation_distance": (
    "low",
    "Mean L1 distance of the probabilities to retraining's (0 to 2).",
  ),
  "agreement": ("high", "Share of galaxies called as retraining calls them."),
  "tug_of_war": (
    "high",
    "Product of 1 - |accuracy - retraining's| over forget, retain and test "
    "set; 1 is best.",
  ),
  "attack_accuracy": (
    "retrain",
    "Cross-validated membership attack; 0.5: it cannot tell.",
  ),
  "relearn_steps": (
    "retrain",
    "Steps until the wrong labels are learned again.",
  ),
  "run_time_efficiency": ("high", "Seconds of retraining over the method's."),
}
# Beside those of the scoreboard, where a row has them.
_MORE = (
  "activation_distance",
  "agreement",
  "tug_of_war",
  "attack_accuracy",
  "relearn_steps",
  "run_time_efficiency",
)
_APART = ("baseline", "original", "reference")


class Column(NamedTuple):
  """A column: what is good in it, what it says, who asks for it sees it."""

  name: str
  better: str
  meaning: str
  is_more: bool


class Cell(NamedTuple):
  """A cell: what is read, by what it is sorted, and what it is."""

  text: str
  value: Any
  css: str = ""
  title: str = ""


class Board(NamedTuple):
  """A table: the rows apart are what the others are held to."""

  columns: list[Column]
  apart: list[list[Cell]]
  rows: list[list[Cell]]


def make(rows: Sequence[Mapping[str, Any]]) -> Board:
  """The table of one run."""
  return _make(rows, _roles(rows), _text, _names(rows))


def of_seeds(rows: Sequence[Mapping[str, Any]]) -> tuple[Board, Board]:
  """The means over seeds, and every seed, in which no best is marked."""
  roles, names = _roles(rows), _names(rows)
  means = scoreboard.summary(rows)
  known = [x for x in names if x in means[0]]
  each = dict.fromkeys(("method", "seed", *names))
  return (
    _make(means, roles, _mean, known),
    _make(rows, roles, _text, list(each), marks=False),
  )


def _roles(rows) -> dict[str, str]:
  return {row["method"]: row["role"] for row in rows}


def _names(rows) -> list[str]:
  """The six of a terminal, then all others in which something is."""
  first = scoreboard.terminal_columns(rows)
  others = (*scoreboard.all_columns(rows), *_MORE)
  known = [
    x for x in others if any(_value(row.get(x)) is not None for row in rows)
  ]
  return list(dict.fromkeys((*first, *known)))


def _make(rows, roles, to_text, names, *, marks=True) -> Board:
  shown = ("seed",) * (not marks) + scoreboard.terminal_columns(rows)
  columns = [Column(x, *_MEANINGS[x], x not in shown) for x in names]
  best = {x.name: _best(x, rows, roles, to_text) for x in columns if marks}
  groups: dict[bool, list[list[Cell]]] = {True: [], False: []}
  for i, row in enumerate(rows):
    line = [_cell(x, row, to_text, i in best.get(x, ())) for x in names]
    groups[roles[row["method"]] in _APART].append(line)
  return Board(columns, groups[True], groups[False])


def _cell(name, row, to_text, is_best) -> Cell:
  text, value = to_text(name, row), _value(row.get(name))
  if name == "verdict":
    return Cell(text, value, text.replace(", ", " "), row.get("reason", ""))
  return Cell(text, value, "best" * is_best)


def _best(column, rows, roles, to_text) -> set[int]:
  """The places of the best methods in a column, of those that are `ok`."""
  values = [_value(row.get(column.name)) for row in rows]
  goal = next(
    (
      value
      for row, value in zip(rows, values, strict=True)
      if roles[row["method"]] == "reference"
    ),
    None,
  )
  far = {
    "low": lambda i: values[i],
    "high": lambda i: -values[i],
    "retrain": None if goal is None else lambda i: abs(values[i] - goal),
  }.get(column.better)
  able = [
    i
    for i, row in enumerate(rows)
    if roles[row["method"]] == "method"
    and row["verdict"] == "ok"
    and values[i] is not None
  ]
  if far is None or len(able) < 2:
    return set()
  best = to_text(column.name, rows[min(able, key=far)])
  return {i for i in able if to_text(column.name, rows[i]) == best}


def _mean(name: str, row: Mapping[str, Any]) -> str:
  return scoreboard.summary_cell(name, row.get(name))


def _text(name: str, row: Mapping[str, Any]) -> str:
  value = row.get(name)
  if name == "relearn_steps" and _value(value) is not None:
    return str(value) if row["relearned"] else f"> {value}"
  return scoreboard.cell(name, value)


def _value(value: Any) -> Any:
  """By what a cell is sorted: of a mean with its interval the mean."""
  return cells.or_else(value[0] if isinstance(value, tuple) else value, None)
