"""The part of the report about how the networks learned and what they say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gzjax.evaluation import metrics
from gzjax.report import cells, figures, score_figures


def collect(
  workdir: Path,
  rows: Sequence[Mapping[str, Any]],
  split: pd.DataFrame,
  classes: list[str],
  chosen: str | None,
) -> dict[str, Any]:
  """What network.html.jinja shows; of a run that was only audited the curves.

  The original network, retraining and the chosen one are shown, or, where that
  is one of the two, the method nearest to retraining; of all others what is the
  same in several of them once.
  """
  found: dict[str, Any] = {"learning": _learning(workdir)}
  if not rows:
    return found
  asked = [row for row in rows if row["role"] != "baseline"]
  shown = _shown(asked, chosen)
  others = [row for row in asked if row not in shown]
  recalls = pd.DataFrame([_recalls(row, classes) for row in rows])
  return {
    **found,
    "confusion": score_figures.confusion_matrices(_matrices(shown), classes),
    "others": score_figures.confusion_matrices(
      _alike(_matrices(others)), classes
    ),
    "recalls": score_figures.recalls(shown, classes),
    "recalls_table": cells.plain_table(recalls),
    "calibration": _calibration(workdir, shown, split, classes),
  }


def _shown(rows, chosen) -> list[Mapping[str, Any]]:
  held = [row for row in rows if row["role"] in ("original", "reference")]
  methods = [row for row in rows if row["role"] == "method"]

  def far(row):
    gap = row.get("gap_to_retrain")
    return row["method"] != chosen, np.inf if pd.isna(gap) else gap

  return held + sorted(methods, key=far)[:1]


def metrics_of(
  workdir: Path, folders: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
  """By their names those logs that have lines: a damaged one was emptied."""
  logs = {
    name: workdir / folder / "metrics.jsonl" for name, folder in folders.items()
  }
  return {
    name: pd.read_json(path, lines=True)
    for name, path in logs.items()
    if path.exists() and path.stat().st_size
  }


def _learning(workdir: Path) -> str:
  runs = metrics_of(workdir, {name: name for name in ("train", "retrain")})
  return figures.learning_curves(runs) if runs else ""


def _matrices(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  return {row["method"]: np.asarray(row["confusion"]) for row in rows}


def _alike(matrices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Each matrix once, by the names of all that have it."""
  names: dict[bytes, list[str]] = {}
  for name, matrix in matrices.items():
    names.setdefault(matrix.tobytes(), []).append(name)
  return {",\n".join(group): matrices[group[0]] for group in names.values()}


def _recalls(row: Mapping[str, Any], classes: list[str]) -> dict[str, str]:
  """Of each class, with its interval."""
  found = zip(classes, row["recalls"], row["intervals"]["recalls"], strict=True)
  return {"method": row["method"]} | {
    name: cells.number(value, "%.2f", "none") + f" ({low:.2f} to {high:.2f})"
    for name, value, (low, high) in found
  }


def _calibration(workdir, rows, split, classes) -> dict[str, Any] | None:
  """Whether a network is right as often as it says, on the test set."""
  label = split["true_label" if "true_label" in split else "train_label"]
  places = pd.Index(classes).get_indexer(label)
  test = np.flatnonzero((split["split"] == "test") & (places >= 0))
  found = {}
  for row in rows:
    path = workdir / "evaluate" / f"{row['method']}.parquet"
    table = pd.read_parquet(path, columns=[f"p_{x}" for x in classes])
    table = metrics.confidence_bins(table.to_numpy(float)[test], places[test])
    if len(table["count"]):
      found[row["method"]] = table
  return found and {
    "figure": score_figures.calibration(found),
    "off": {
      name: np.average(abs(x["right"] - x["said"]), weights=x["count"])
      for name, x in found.items()
    },
  }
