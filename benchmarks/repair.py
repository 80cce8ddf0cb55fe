"""The whole loop on your own table, judged by labels that gzjax never saw.

    python -m benchmarks.repair --plant=galaxies/catalog.csv --truth=truth.csv \
      --table=given.csv
    gzjax all given.csv --images=galaxies --workdir=runs/hidden
    gzjax unlearn --workdir=runs/hidden --forget=suspects --retrain
    python -m benchmarks.repair --truth=truth.csv --runs=runs/hidden

The first command makes labels of a table wrong (--noise, --fraction, --seed)
and keeps the right ones elsewhere; the last one tells how well the audit found
them, and how much of the accuracy that retraining wins back each method wins
back, on held-out galaxies by their right labels. Of several --runs the last
one has the retraining to compare with: one without all wrong labels is made by

    cp -r runs/hidden runs/all && rm -r runs/all/reviews
    gzjax unlearn --workdir=runs/all --forget=truth.txt \
      --config.unlearn.methods="('retrain',)"

--plant writes truth.txt, too: the ids of all wrong labels. Labels that were
wrong before count as right ones.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from benchmarks import audit_trials, report
from gzjax.data.galaxy_catalog import tables
from gzjax.errors import UserError
from gzjax.evaluation import intervals
from gzjax.evaluation import metrics as evaluation
from gzjax.files import read_json, read_text_table, write_table, write_whole
from gzjax.morphology import noise

_HELD_OUT = ("validation", "test")


def plant(
  table: pd.DataFrame, label: str, model: str, fraction: float, seed: int
) -> pd.DataFrame:
  """The table with some labels of a column made wrong."""
  right = table[label]
  classes = tuple(right.value_counts().index)
  number = pd.Index(classes).get_indexer(right).astype(np.int32)
  flips = noise.FlipModel(model, classes, seed, {"fraction": fraction})
  given = noise.flip_labels(flips, number, noise.Evidence())
  return table.assign(**{label: np.asarray(classes)[given]})


def write_planted(options: argparse.Namespace) -> None:
  """Writes the table, the right labels and the ids of the wrong ones."""
  table = tables.read_text(options.plant)
  tables.check_columns(
    options.plant, table, [options.id, options.label], "--id and --label"
  )
  given = plant(
    table, options.label, options.noise, options.fraction, options.seed
  )
  truth = pd.DataFrame(
    {
      "id_str": table[options.id],
      "right": table[options.label],
      "given": given[options.label],
    }
  )
  write_table(options.table, given)
  write_table(options.truth, truth)
  ids = truth["id_str"][truth["right"] != truth["given"]]
  text = "".join(f"{id_str}\n" for id_str in ids)
  write_whole(
    options.truth.with_suffix(".txt"), lambda part: part.write_text(text)
  )
  Console().print(f"{options.table}: {len(ids)} of {len(table)} labels wrong")


def of_audit(run: Path, truth: pd.DataFrame) -> pd.DataFrame:
  """How well wrong labels were found: by split, of all and of the cut."""
  suspects = read_text_table(run / "audit" / "suspects.csv")
  known = truth.loc[suspects["id_str"]]
  wrong = (known["right"] != known["given"]).to_numpy()
  score = suspects["label_score"].astype(float).to_numpy()
  split = suspects["split"].to_numpy()
  issue = (suspects["is_label_issue"] == "True").to_numpy()
  rows = []
  for name in ("all", *dict.fromkeys(split)):
    part = (split == name) | (name == "all")
    rows.append(
      {
        "labels": name,
        "wrong": int(wrong[part].sum()),
        **dict(audit_trials.of_ranking(wrong[part], score[part])),
        "named": int((issue & part).sum()),
        "named, wrong": int((issue & part & wrong).sum()),
      }
    )
  return pd.DataFrame(rows)


def of_methods(runs: Sequence[Path], truth: pd.DataFrame) -> pd.DataFrame:
  """What each network is worth on held-out galaxies, by right labels.

  Of a method: the share of what the retraining of the last run wins over the
  original that it wins, with its interval over the held-out galaxies.
  """
  split = pd.read_parquet(runs[0] / "split.parquet")
  held_out = split["split"].isin(_HELD_OUT).to_numpy()
  classes = pd.Index(truth["right"].unique())
  right = classes.get_indexer(truth.loc[split["id_str"], "right"])[held_out]
  said = {run: _said(run, classes, held_out) for run in runs}
  if "retrain" not in said[runs[-1]]:
    raise UserError(f"{runs[-1]} has no retraining: unlearn with --retrain.")
  original, retrained = said[runs[0]]["original"], said[runs[-1]]["retrain"]
  rows = []
  for run, networks in said.items():
    board = pd.read_csv(run / "scoreboard.csv").set_index("method")
    for method, own in networks.items():
      row = {"run": run.name, "method": method}
      for name, measure in _measures(len(classes)):
        row[name] = measure(right, own)
        row[f"{name} won back"] = _won_back(
          measure, right, original, own, retrained
        )
      row["cost"] = board["cost_vs_retrain"].get(method)
      row["verdict"] = board["verdict"].get(method)
      rows.append(row)
  return pd.DataFrame(rows)


def _said(
  run: Path, classes: pd.Index, rows: np.ndarray
) -> dict[str, np.ndarray]:
  """The predicted classes of some rows of split.parquet, by method."""
  files = sorted((run / "evaluate").glob("*.parquet"))
  if not files:
    raise UserError(f"{run} has no evaluate/: run gzjax unlearn in it first.")
  said = {x.stem: pd.read_parquet(x)["predicted"] for x in files}
  said.pop("constant", None)
  return {name: classes.get_indexer(x)[rows] for name, x in said.items()}


def _measures(
  classes: int,
) -> Iterator[tuple[str, Callable[[np.ndarray, np.ndarray], float]]]:
  yield "accuracy", evaluation.accuracy
  yield (
    "balanced accuracy",
    lambda right, own: evaluation.balanced_accuracy(right, own, classes),
  )


def _won_back(measure, right, original, own, retrained):
  """The share with its 95% interval, in words."""

  def share(rows):
    start, end, found = (
      measure(right[rows], x[rows]) for x in (original, retrained, own)
    )
    return (found - start) / (end - start) if end != start else np.nan

  low, high = intervals.resampled_interval(share, len(right), draws=500)
  return f"{share(slice(None)):.2f} ({low:.2f} to {high:.2f})"


def show(console: Console, title: str, table: pd.DataFrame) -> None:
  """Prints a table as it is."""
  shown = Table(*(Column(name) for name in table), title=title)
  for row in table.itertuples(index=False):
    shown.add_row(*map(_in_words, row))
  console.print(shown)


def _in_words(cell: object) -> str:
  return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def judge(options: argparse.Namespace) -> dict[str, Any]:
  """What the audit estimated and found, and what each method is worth."""
  truth = read_text_table(options.truth).set_index("id_str")
  run = options.runs[0]
  found: dict[str, Any] = {
    "estimated": read_json(run / "audit" / "summary.json"),
    "found": of_audit(run, truth),
  }
  if (run / "evaluate").exists():
    table = of_methods(options.runs, truth)
    found["held-out galaxies, right labels"] = table
  return found


def show_all(found: dict[str, Any]) -> None:
  """Prints what `judge` says."""
  console = Console()
  for title, table in found.items():
    if title == "estimated":
      console.print(
        f"estimated {table['wrong']:.0f} ({table['wrong_low']:.0f} to "
        f"{table['wrong_high']:.0f}) wrong labels"
      )
    else:
      show(console, title, table)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(__doc__, "both tables of --runs, .json")
  add = parser.add_argument
  add("--truth", type=Path, required=True, help="CSV file of right labels")
  add("--plant", type=Path, help="a table; make labels of it wrong")
  add("--table", type=Path, default=Path("given.csv"), help="with wrong labels")
  add("--id", default="id_str", help="column of ids")
  add("--label", default="label", help="column of labels")
  add("--noise", default="uniform", help="noise model")
  add("--fraction", type=float, default=0.1, help="of the labels")
  add("--seed", type=int, default=0, help="of the noise")
  add("--runs", type=_paths, default=[], help="workdirs, by commas")
  return parser.parse_args(arguments)


def _paths(text: str) -> list[Path]:
  return [Path(name) for name in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
  """Plants, or judges."""
  options = _options(arguments)

  def measure():
    if options.plant:
      write_planted(options)
    return judge(options) if options.runs else {}

  report.end(measure, show_all, options.out)


if __name__ == "__main__":
  main()
