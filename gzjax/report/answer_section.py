"""The part of the report about answers, labels and what is uncertain."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gzjax.evaluation.dirichlet import ALL
from gzjax.files import read_json
from gzjax.report import cells, score_figures


def collect(workdir: Path) -> dict[str, Any] | None:
  """What answer_section.html.jinja shows; None if there are no such tables.

  Those are `vote_tables.question_tables`, in evaluate/labels/.
  """
  folder = workdir / "evaluate" / "labels"
  if not folder.exists():
    return None
  tables = {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}
  found = {"questions": questions_table(tables["questions"], "method")}
  if "scores" in tables:
    each = tables["per_label"]
    shown = each[each["method"] == "original"].drop(columns="method")
    found["scores"] = cells.plain_table(tables["scores"])
    found["per_label"] = cells.plain_table(shown)
  return found


def uncertain(workdir: Path, classes: list[str]) -> dict[str, Any] | None:
  """Figures and numbers of evaluate/uncertain.json; None if there is none."""
  found = read_json(workdir / "evaluate" / "uncertain.json")
  if not found:
    return None
  return {**found, "figure": confusions(found["methods"], classes)}


def confusions(studies: dict[str, Any], classes: list[str]) -> str:
  """The matrices of `uncertain.compare_confusion` as a figure.

  Of studies by their names; the classes are those without uncertain.
  """
  matrices = {}
  for name, study in studies.items():
    balanced = np.asarray(study["balanced"])
    # A last row, for those that have no class, has nothing to balance.
    matrices[f"{name}, balanced"] = np.vstack(
      [balanced, np.full(balanced.shape[1], np.nan)]
    )
    matrices[f"{name}, all"] = np.asarray(study["common"])
  return score_figures.confusion_matrices(matrices, [*classes, "uncertain"])


def questions_table(table: pd.DataFrame, by: str) -> str:
  """Accuracy of each question, on all and on confident galaxies, as HTML.

  Of rows of `questions.question_accuracy`; `by` has what the columns are.
  """
  pairs = table[["accuracy", "confident_accuracy"]].to_numpy(float)
  return by_question(
    table.assign(cell=[_pair(*pair) for pair in pairs]), by, "cell"
  )


def by_question(table: pd.DataFrame, columns: str, values: str) -> str:
  """A row for each question, all of them together last, as HTML."""
  wide = table.pivot(index="question", columns=columns, values=values)
  # ALL last, also where other tables have more questions.
  order = sorted(table["question"].unique(), key=lambda name: name == ALL)
  wide = wide.loc[order, table[columns].unique()]
  return cells.to_html(wide.rename_axis(index=None, columns=None))


def _pair(accuracy: float, confident: float) -> str:
  if np.isnan(accuracy):
    return ""
  sure = "none" if np.isnan(confident) else f"{confident:.3f}"
  return f"{accuracy:.3f} / {sure}"
