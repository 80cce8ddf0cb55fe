"""The page that sets several systems side by side."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from gzjax.evaluation.scoreboard import cell
from gzjax.files import read_json
from gzjax.report import answer_section
from gzjax.report.cells import plain_table
from gzjax.report.templates import render


def write(
  workdir: Path,
  *,
  confusions: dict[str, Any],
  cards: list[dict[str, Any]],
  classes: list[str],
) -> None:
  """Writes `report.html` of a comparison.

  Args:
    workdir: with systems.csv and systems.json, see `pipeline.systems`.
    confusions: system -> study of `uncertain.compare_confusion`, of those of
      the four classes.
    cards: galaxies: `id_str`, `image` (data URI) and `lines` by system.
    classes: the four.
  """
  found = read_json(workdir / "systems.json")
  table = pd.read_csv(workdir / "systems.csv")
  rows = found["rows"]
  render(
    workdir,
    "systems.html.jinja",
    **{name: found[name] for name in ("galaxies", "confident", "differences")},
    config=found["config"],
    systems=list(dict.fromkeys(table["system"])),
    columns=list(table),
    table=_cells(table, rows, found["published"]["systems"]),
    questions=_questions(rows, found["published"]["questions"]),
    labels=_labels(rows),
    confusions=answer_section.confusions(confusions, classes),
    cards=cards,
  )


def _cells(table, rows, published) -> list[dict[str, str]]:
  """The lines of the table, each system's published numbers below its own."""
  lines = []
  pairs = zip(table.to_dict("records"), rows, strict=True)
  for system, group in itertools.groupby(pairs, lambda x: x[0]["system"]):
    for record, row in group:
      line = {name: cell(name, value) for name, value in record.items()}
      low, high = row["four"]["interval"]
      line["four_accuracy"] += f" ({low:.3f} to {high:.3f})"
      lines.append(line)
    if system in published:
      numbers = {name: cell(name, x) for name, x in published[system].items()}
      lines.append({"system": system, "method": "published", **numbers})
  return lines


def _questions(rows, published) -> str:
  tables = [
    pd.DataFrame(row["questions"]).assign(system=row["system"])
    for row in rows
    if row["method"] == "retrain" and row["questions"]
  ]
  slides = pd.DataFrame(
    [(name, *numbers) for name, numbers in published.items()],
    columns=["question", "accuracy", "confident_accuracy"],
  )
  tables.append(slides.assign(system="published"))
  return answer_section.questions_table(pd.concat(tables), "system")


def _labels(rows) -> str:
  lines = [
    {"system": row["system"], **scores}
    for row in rows
    if row["method"] == "retrain" and row["labels"]
    for scores in row["labels"]
  ]
  return plain_table(pd.DataFrame(lines))
