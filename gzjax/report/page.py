"""Files of a workdir -> report.html, one file that needs no network."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from gzjax.evaluation import scoreboard
from gzjax.files import read_json, write_text
from gzjax.report import answer_section, cells, figures, vote_section

_MORE = (
  "activation_distance",
  "agreement",
  "tug_of_war",
  "attack_accuracy",
  "relearn_steps",
  "run_time_efficiency",
)


class Card(NamedTuple):
  """A galaxy of a gallery."""

  image: str  # data URI
  id_str: str
  lines: list[str]


def write(
  workdir: Path, image: Any, *, forget: np.ndarray, gallery: int
) -> None:
  """Writes `report.html`.

  Args:
    workdir: with the files of all earlier stages.
    image: u8[N,S,S,3], in the order of split.parquet.
    forget: rows i64[n] of it that the methods were told to forget.
    gallery: galaxies shown of each kind.
  """
  # Of a run that was only audited there are none yet.
  rows = read_json(workdir / "scoreboard.json") or []
  split = pd.read_parquet(workdir / "split.parquet")
  is_forget = np.isin(np.arange(len(split)), forget)
  retain = split["set"].where(split["set"].isna(), "retain")
  split["set"] = retain.mask(is_forget, "forget")
  config = read_json(workdir / "config.json")
  dataset = read_json(workdir / "stages" / "dataset.json")
  classes = dataset["classes"]
  render(
    workdir,
    "page.html.jinja",
    config=config,
    config_text=json.dumps(config["config"], indent=2),
    **(_scores(rows, classes) if rows else {}),
    is_benchmark="true_label" in split,
    choice=read_json(workdir / "evaluate" / "recommendation.json"),
    counts=_counts(split, classes),
    left_out={why: n for why, n in dataset["left_out"].items() if n},
    votes=vote_section.given(workdir, dataset["questions"]),
    learning=_learning(workdir),
    vote_model=vote_section.collect(workdir, dataset.get("tree")),
    answers=answer_section.collect(workdir),
    uncertain=answer_section.uncertain(workdir, classes),
    said=_said(workdir, split, image),
    unlearning=_unlearning(workdir, rows),
    audit=read_json(workdir / "audit" / "summary.json"),
    suspects=_suspects(workdir, split, image, gallery),
    changed={
      row["method"]: _changed(workdir, split, image, row["method"], gallery)
      for row in rows
      if row["role"] in ("reference", "method")
    },
    sweeps=_sweeps(workdir),
  )


def _scores(rows: list[dict[str, Any]], classes: list[str]) -> dict[str, Any]:
  """What the page shows of the scoreboard."""
  matrices = {
    row["method"]: np.asarray(row["confusion"])
    for row in rows
    if row["role"] != "baseline"
  }
  return {
    "rows": rows,
    "footer": scoreboard.footer(rows),
    "table": _cells(rows),
    "columns": scoreboard.columns(rows),
    "classes": classes,
    "recalls": [(row["method"], _recalls(row)) for row in rows],
    "more_columns": _MORE,
    "more": [(r["method"], [_more(r, name) for name in _MORE]) for r in rows],
    "health": {row["method"]: row["health"] for row in rows if row["health"]},
    "confusion": figures.confusion_matrices(matrices, classes),
  }


def _recalls(row: dict[str, Any]) -> list[str]:
  """Of each class, with its interval."""
  return [
    cells.number(value, "%.2f", "none") + f" ({low:.2f} to {high:.2f})"
    for value, (low, high) in zip(
      row["recalls"], row["intervals"]["recalls"], strict=True
    )
  ]


def _more(row: dict[str, Any], name: str) -> str:
  value = row.get(name)
  if pd.isna(value):
    return ""
  if name == "relearn_steps":
    return str(value) if row["relearned"] else f"> {value}"
  return f"{value:.3g}"


def write_seeds(workdir: Path, folders: list[Path]) -> None:
  """Writes the `report.html` of several seeds, with links to each one's own."""
  rows = read_json(workdir / "scoreboard.json")
  render(
    workdir,
    "seeds.html.jinja",
    config=read_json(workdir / "config.json"),
    columns=scoreboard.columns(rows),
    summary=_cells(scoreboard.summary(rows), scoreboard.summary_cell),
    table=_cells(rows),
    figure=figures.methods_over_seeds(rows),
    causes={
      f"{row['method']}, seed {row['seed']}": row["health"]["cause"]
      for row in rows
      if row["health"] and row["health"]["cause"]
    },
    folders=[folder.name for folder in folders],
  )


def render(workdir: Path, name: str, **values: Any) -> None:
  """Writes the `report.html` that one of our templates makes of the values."""
  text = template(name).render(**values)
  write_text(workdir / "report.html", text)


def template(name: str) -> jinja2.Template:
  """One of our templates."""
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("gzjax.report", ""), autoescape=True
  )
  environment.filters["number"] = cells.number
  return environment.get_template(name)


def _sweeps(workdir: Path) -> dict[str, str]:
  """The figures of the sweeps that were run, as SVG."""
  return {
    name: (workdir / name / "figure.svg").read_text()
    for name in ("stabiliser", "discovery", "plane")
    if (workdir / name / "figure.svg").exists()
  }


def _cells(rows, to_text=scoreboard.cell) -> list[dict[str, str]]:
  names = scoreboard.columns(rows)
  return [
    {name: to_text(name, row.get(name)) for name in names} for row in rows
  ]


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


def _metrics(workdir: Path, folders: dict[str, str]) -> dict[str, pd.DataFrame]:
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
  runs = _metrics(workdir, {name: name for name in ("train", "retrain")})
  return figures.learning_curves(runs) if runs else ""


def _unlearning(workdir: Path, rows: list[dict[str, Any]]) -> str:
  judged = {row["method"]: row["health"] for row in rows if row["health"]}
  if not judged:
    return ""
  start = pd.DataFrame([next(iter(judged.values()))["original"]])
  runs = {"original": start}
  found = _metrics(workdir, {name: f"unlearn/{name}" for name in judged})
  for name, lines in found.items():
    kept = lines[(lines["split"] == "validation") & (lines["rewound"] != 1)]
    runs[name] = pd.concat([start, kept])
  # Where real retraining ended: the goal.
  goals = {
    row["method"]: row["forget_accuracy"]
    for row in rows
    if row["role"] == "reference"
  }
  for name, lines in _metrics(workdir, {name: name for name in goals}).items():
    goal = lines[lines["split"] == "validation"].tail(1)
    runs[name] = goal.assign(forget_accuracy=goals[name])
  return figures.unlearning_curves(runs)


def _card(split, image, row: int, *lines: str) -> Card:
  return Card(picture(image[row]), split["id_str"].iloc[row], list(lines))


def _said(workdir, split, image) -> list[Card]:
  """What the original network says about some galaxies of validation."""
  said = read_json(workdir / "evaluate" / "cards.json") or []
  return [_card(split, image, card["row"], *card["lines"]) for card in said]


def _suspects(workdir, split, image, count) -> list[Card]:
  shown = ("given_label", "suggested_label", "probability_wrong", "split")
  table = pd.read_parquet(
    workdir / "audit" / "scores.parquet", columns=["label_score", *shown]
  )
  table = table.sort_values("label_score", kind="stable").head(count)
  cards = []
  for row, suspect in zip(table.index, table.itertuples(), strict=True):
    lines = [
      f"given {suspect.given_label}, looks like {suspect.suggested_label}",
      f"wrong with {suspect.probability_wrong:.0%}, {suspect.split}",
    ]
    if "flipped" in split:
      flipped = split["flipped"].iloc[row]
      lines.append("was flipped" if flipped else "not flipped")
    cards.append(_card(split, image, row, *lines))
  return cards


def _changed(workdir, split, image, method, count) -> list[Card]:
  """Galaxies whose class the method changed; the forget set comes first."""
  before, after = (
    pd.read_parquet(
      workdir / "evaluate" / f"{name}.parquet", columns=["predicted"]
    )["predicted"]
    for name in ("original", method)
  )
  rows = np.flatnonzero(before.fillna("") != after.fillna(""))
  rows = rows[np.argsort(split["set"].iloc[rows] != "forget", kind="stable")]
  cards = []
  for row in rows[:count]:
    galaxy = split.iloc[row]
    said = (cells.or_else(x.iloc[row], "not finite") for x in (before, after))
    where = cells.or_else(galaxy["set"], galaxy["split"])
    label = _labels_of(galaxy)
    cards.append(_card(split, image, row, " → ".join(said), label, where))
  return cards


def _labels_of(galaxy: pd.Series) -> str:
  if "true_label" not in galaxy:
    return f"given {galaxy['train_label']}"
  words = f"true {galaxy['true_label']}"
  if galaxy["flipped"]:
    words += f", labelled {galaxy['train_label']}"
  return words


def picture(image: np.ndarray) -> str:
  """An image u8[H,W,3] as the data URI of a PNG file."""
  buffer = io.BytesIO()
  Image.fromarray(np.asarray(image)).save(buffer, "PNG")
  return figures.data_uri(buffer.getvalue())
