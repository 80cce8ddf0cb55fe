"""Files of a workdir -> report.html, one file that needs no network."""

from collections.abc import Callable, Mapping, Sequence
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from gzjax.evaluation import scoreboard
from gzjax.files import read_json
from gzjax.report import (
  answer_section,
  board,
  cells,
  figures,
  network_section,
  score_figures,
  vote_section,
  words,
)
from gzjax.report.galleries import Galleries
from gzjax.report.templates import render

_LOST = ("collapsed", "non-finite")


def write(
  workdir: Path,
  picture: Callable[[str], bytes],
  *,
  forget: np.ndarray,
  gallery: int,
) -> None:
  """Writes `report.html`.

  Args:
    workdir: with the files of all earlier stages.
    picture: id_str -> JPEG or PNG as it was recorded.
    forget: rows i64[n] of split.parquet that the methods were told to forget.
    gallery: galaxies shown of each kind.
  """
  # Of a run that was only audited there are none yet.
  rows = read_json(workdir / "scoreboard.json") or []
  split = _split(workdir, forget)
  config = read_json(workdir / "config.json")
  dataset = read_json(workdir / "stages" / "dataset.json")
  audit = read_json(workdir / "audit" / "summary.json")
  classes, model = dataset["classes"], config["config"]["model"]["name"]
  choice = read_json(workdir / "evaluate" / "recommendation.json")
  chosen = choice["method"] if rows else None
  galleries = Galleries(workdir, split, picture)
  render(
    workdir,
    "page.html.jinja",
    config=config,
    config_text=json.dumps(config["config"], indent=2),
    is_benchmark="true_label" in split,
    sentences=(
      words.of_run(model, split, rows, choice)
      if rows
      else words.of_audit(audit)
    ),
    audit=audit,
    how_many=words.how_many(audit),
    chosen=chosen,
    suspects=galleries.suspects(gallery, chosen),
    changed=galleries.changed(gallery, chosen) if chosen else [],
    said=galleries.described(),
    **_scores(rows, chosen),
    unlearning=_unlearning(workdir, rows),
    sweeps=_sweeps(workdir),
    network=network_section.collect(workdir, rows, split, classes, chosen),
    vote_model=vote_section.collect(workdir, dataset.get("tree")),
    answers=answer_section.collect(workdir),
    uncertain=answer_section.uncertain(workdir, classes),
    counts=cells.to_html(_counts(split, classes)),
    left_out={why: n for why, n in dataset["left_out"].items() if n},
    votes=vote_section.given(workdir, dataset["questions"]),
    costs=_costs(workdir, rows),
  )


def write_seeds(workdir: Path, folders: list[Path]) -> None:
  """Writes the `report.html` of several seeds, with links to each one's own."""
  rows = read_json(workdir / "scoreboard.json")
  means, each = board.of_seeds(rows)
  render(
    workdir,
    "seeds.html.jinja",
    config=read_json(workdir / "config.json"),
    means=means,
    each=each,
    figure_of_seeds=score_figures.methods_over_seeds(rows),
    causes={
      f"{row['method']}, seed {row['seed']}": row["health"]["cause"]
      for row in rows
      if row["health"] and row["health"]["cause"]
    },
    choices={
      folder.name: read_json(folder / "evaluate" / "recommendation.json")
      for folder in folders
    },
  )


def picture(image: np.ndarray) -> str:
  """An image u8[H,W,3] as the data URI of a PNG file."""
  buffer = io.BytesIO()
  Image.fromarray(np.asarray(image)).save(buffer, "PNG")
  return figures.data_uri(buffer.getvalue())


def _split(workdir: Path, forget: np.ndarray) -> pd.DataFrame:
  """split.parquet, whose `set` says what this run was told to forget."""
  split = pd.read_parquet(workdir / "split.parquet")
  is_forget = np.isin(np.arange(len(split)), forget)
  retain = split["set"].where(split["set"].isna(), "retain")
  split["set"] = retain.mask(is_forget, "forget")
  return split


def _scores(
  rows: Sequence[Mapping[str, Any]], chosen: str | None
) -> dict[str, Any]:
  """What the page shows of the scoreboard."""
  if not rows:
    return {"rows": rows}
  return {
    "rows": rows,
    "footer": scoreboard.footer(rows),
    "board_of_run": board.make(rows),
    "cost": _cost(rows, chosen),
    "aside": [row for row in rows if _is_aside(row)],
    "health": {row["method"]: row["health"] for row in rows if row["health"]},
  }


def _cost(rows, chosen) -> str:
  """Figure of the methods that can be compared with retraining."""
  idle = next(row for row in rows if row["role"] == "original")
  shown = [
    row
    for row in rows
    if row["role"] == "method" and not _is_aside(row) and _has_place(row)
  ]
  if not shown or not _has_place(idle):
    return ""
  return score_figures.cost_against_gap(shown, chosen, idle["gap_to_retrain"])


def _is_aside(row: Mapping[str, Any]) -> bool:
  """Whether a method gave nothing that could be compared."""
  not_run = (row["health"] or {}).get("not_run")
  return row["role"] == "method" and bool(row["verdict"] in _LOST or not_run)


def _has_place(row: Mapping[str, Any]) -> bool:
  """Whether a logarithm of its cost and a gap are there."""
  cost, gap = (row.get(x) for x in ("cost_vs_retrain", "gap_to_retrain"))
  return not (pd.isna(cost) or pd.isna(gap)) and cost > 0


def _sweeps(workdir: Path) -> dict[str, str]:
  """The figures of the sweeps that were run, as SVG."""
  return {
    name: (workdir / name / "figure.svg").read_text()
    for name in ("stabiliser", "discovery", "plane")
    if (workdir / name / "figure.svg").exists()
  }


def _counts(split: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
  """Galaxies of each split and class, and how many labels were flipped."""
  is_benchmark = "true_label" in split
  label = split["true_label" if is_benchmark else "train_label"]
  counts = pd.crosstab(split["split"], label)
  counts = counts.reindex(
    index=["train", "validation", "test"], columns=classes, fill_value=0
  )
  counts["all"] = counts.sum(axis=1)
  if is_benchmark:
    flips = split[split["flipped"]].groupby("split").size()
    counts["labels flipped"] = flips.reindex(counts.index, fill_value=0)
  counts.loc["all"] = counts.sum()
  return counts.rename_axis(index=None, columns=None)


def _unlearning(workdir: Path, rows: Sequence[Mapping[str, Any]]) -> str:
  judged = {row["method"]: row["health"] for row in rows if row["health"]}
  if not judged:
    return ""
  start = pd.DataFrame([next(iter(judged.values()))["original"]])
  runs = {"original": start}
  found = network_section.metrics_of(
    workdir, {name: f"unlearn/{name}" for name in judged}
  )
  for name, lines in found.items():
    kept = lines[(lines["split"] == "validation") & (lines["rewound"] != 1)]
    runs[name] = pd.concat([start, kept])
  # Where real retraining ended: the goal.
  goals = {
    row["method"]: row["forget_accuracy"]
    for row in rows
    if row["role"] == "reference"
  }
  logs = network_section.metrics_of(workdir, {name: name for name in goals})
  for name, lines in logs.items():
    goal = lines[lines["split"] == "validation"].tail(1)
    runs[name] = goal.assign(forget_accuracy=goals[name])
  return figures.unlearning_curves(runs)


def _costs(workdir: Path, rows: Sequence[Mapping[str, Any]]) -> str:
  """Seconds and work of each network, as HTML."""
  names = ["method", "wall_seconds", "compile_seconds", "gradients"]
  table = pd.DataFrame([x for x in rows if x["role"] != "baseline"])
  if not rows:
    cost = read_json(workdir / "train" / "cost.json") or {}
    table = pd.DataFrame([{"method": "original", **cost}])
  table = table.reindex(columns=names).rename(columns=cells.words)
  return cells.to_html(table, "{:,.1f}", index=False)
