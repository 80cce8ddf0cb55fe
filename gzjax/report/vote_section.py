"""The parts of the report about votes and networks that predict them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gzjax.evaluation import vote_tables
from gzjax.evaluation.dirichlet import ALL
from gzjax.evaluation.flags import FLAGGED_FROM
from gzjax.morphology import trees
from gzjax.morphology.trees import Tree
from gzjax.report import vote_figures
from gzjax.report.answer_section import by_question
from gzjax.report.cells import plain_table, to_html

_SHOWN = "original"  # the network of the figures
_DOTS = 1000


def collect(
  workdir: Path, tree: dict[str, Any] | None
) -> dict[str, Any] | None:
  """What vote_section.html.jinja shows; None if no fractions are predicted.

  Of `vote_tables.vote_tables`, in evaluate/votes/, and the tree of the network,
  see `trees.to_json`.
  """
  folder = workdir / "evaluate" / "votes"
  if not tree or not folder.exists():
    return None
  tables = {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}
  shown = {
    name: table[table["method"] == _SHOWN].drop(columns="method")
    for name, table in tables.items()
  }
  answers, reliability = shown["answers"], shown["reliability"]
  found: dict[str, Any] = {
    "baselines": tables["baselines"].to_dict("records"),
    "answers": plain_table(answers, "answers"),
    "whole": answers.iloc[-1].to_dict(),
    "zeros": _costliest_zeros(answers),
    "scatter": _scatter(workdir, trees.from_json(tree)),
  }
  if "flag" in shown:
    found["flag"] = shown["flag"].set_index("meant").to_dict("index")
    found["flagged_from"] = FLAGGED_FROM
    curve = shown["precision_recall"]
    found["precision_recall"] = vote_figures.precision_recall(
      curve[curve["meant"] == "fraction"], FLAGGED_FROM
    )
  if len(reliability):  # the network's predictions are finite
    found["reliability"] = vote_figures.reliability(reliability)
    found["miscalibration"] = _miscalibration(reliability)
  if "coverage" in tables:
    coverage = shown["coverage"]
    whole = coverage[coverage["question"] == ALL]
    found["coverage"] = vote_figures.coverage(coverage)
    found["at_90"] = whole[np.isclose(whole["level"], 0.9)].iloc[0].to_dict()
    found["likelihood"] = by_question(tables["likelihood"], "method", "nll")
  return found


def given(workdir: Path, places: dict[str, list[int]]) -> dict[str, Any] | None:
  """Figures and a table of what volunteers say; None if there are no votes."""
  if not places:
    return None
  questions = {name: slice(*place) for name, place in places.items()}
  table = pd.read_csv(workdir / "data" / "correlations.csv", index_col=0)
  splits = pd.read_csv(workdir / "data" / "splits.csv")
  p = splits.melt(
    "answer", ["p_validation", "p_test"], var_name="split", value_name="p"
  )
  worst = p.loc[p["p"].idxmin()]
  return {
    "correlations": vote_figures.correlations(table, questions),
    "by_question": vote_figures.correlations_by_question(table, questions),
    "splits": vote_figures.splits(splits),
    "splits_table": to_html(splits, "{:.3g}", index=False),
    "worst": {**worst, "split": worst["split"].removeprefix("p_")},
    "comparisons": len(p),
  }


def _costliest_zeros(answers: pd.DataFrame) -> dict[Any, Any]:
  """The answer whose zero labels have the largest squared error of all."""
  single = answers.iloc[:-1]
  cost = single["zero_share"] * single["rmse_where_zero"].fillna(0) ** 2
  return single.loc[cost.idxmax()].to_dict()


def _miscalibration(table: pd.DataFrame) -> float:
  """Mean |observed - predicted| over all bins, weighted as the bins are."""
  off = (table["observed"] - table["predicted"]).abs()
  return float(np.average(off, weights=table["weight"]))


def _scatter(workdir: Path, tree: Tree) -> str:
  split = pd.read_parquet(workdir / "split.parquet", columns=["split"])
  rows = np.flatnonzero(split["split"] == "validation")
  if len(rows) > _DOTS:
    rows = np.random.default_rng(0).choice(rows, _DOTS, replace=False)
  votes = pd.read_parquet(workdir / "data" / "votes.parquet")
  predictions = pd.read_parquet(workdir / "evaluate" / f"{_SHOWN}.parquet")
  return vote_figures.predicted_against_true(
    tree,
    vote_tables.votes_of(tree, votes.iloc[rows]).cumulative,
    vote_tables.predictions_of(tree, predictions.iloc[rows]).cumulative,
  )
