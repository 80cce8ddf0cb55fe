"""The scoreboard as a table of a paper: Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gzjax.evaluation import scoreboard

_WORDS = ("method", "verdict")  # columns that are no numbers


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
  """The scoreboard's `rows`, one line a method, and what the numbers are."""
  table = _texts(rows)
  rules = ["---" if name in _WORDS else "---:" for name in table]
  lines = [table.columns, rules, *table.to_numpy().tolist()]
  body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
  return f"{body}\n{_caption(rows)}\n"


def latex(rows: Sequence[Mapping[str, Any]]) -> str:
  r"""The same as a `table` of LaTeX, for \usepackage{booktabs}."""
  table = _texts(rows)
  text = table.to_latex(
    index=False,
    escape=True,
    column_format="".join("l" if name in _WORDS else "r" for name in table),
    caption=_caption(rows).replace("%", r"\%"),
    label="tab:scoreboard",
  )
  return text.replace("±", r"$\pm$")


def _texts(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
  """What people read, a method a row; without columns in which nothing is."""
  names = [x for x in scoreboard.columns(rows) if x != "seed"]
  table = pd.DataFrame(
    [
      [scoreboard.summary_cell(name, line[name]) for name in names]
      for line in scoreboard.summary(rows)
    ],
    columns=[name.replace("_", " ") for name in names],
  )
  return table.loc[:, (table != "").any()]


def _caption(rows: Sequence[Mapping[str, Any]]) -> str:
  seeds = len({row["seed"] for row in rows})
  if seeds == 1:
    return "One random seed: no interval."
  return (
    f"Mean over {seeds} random seeds ± half of the 95% interval of the mean "
    "(Student's t)."
  )
