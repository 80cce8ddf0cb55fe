"""Several seeds: a whole run each, then one scoreboard and one report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
import pandas as pd

from gzjax import report
from gzjax.errors import UserError
from gzjax.evaluation import attacks, scoreboard
from gzjax.files import read_json, write_json
from gzjax.pipeline import evaluate
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say


def check_layout(place: Workdir, seeds: Sequence[int]) -> None:
  """Raises UserError where a workdir of one seed meets several, or reverse."""
  if seeds and (place / "stages" / "prepare.json").exists():
    raise UserError(
      f"{place.root} holds a run of one seed: choose another --workdir for "
      "--config.seeds."
    )
  if not seeds and any(place.root.glob("seed_*/stages")):
    raise UserError(
      f"{place.root} holds a run of several seeds: name them with "
      "--config.seeds, or choose another --workdir."
    )


def run(
  config: ml_collections.ConfigDict,
  place: Workdir,
  run_one: Callable[[ml_collections.ConfigDict, Workdir], None],
) -> None:
  """Runs every seed in `seed_<n>/`, then joins the scoreboards."""
  folders = {}
  for seed in config.seeds:
    one = config.copy_and_resolve_references()
    one.seed, one.seeds = int(seed), ()
    say(f"seed {seed}")
    folders[seed] = Workdir(place / f"seed_{seed}")
    run_one(one, folders[seed])
    # Each seed compiles its own programs; a process may map only so many.
    jax.clear_caches()
  boards = [read_json(x / "scoreboard.json") for x in folders.values()]
  if not all(boards):
    return
  rows = [row for board in boards for row in board]
  order = list(dict.fromkeys(row["method"] for row in rows))
  u_lira = _shadow_attacks(folders, rows)
  for row in rows:
    row |= u_lira.get((row["method"], row["seed"]), {})
  # By method first, so that its seeds stand together.
  rows.sort(key=lambda row: order.index(row["method"]))
  evaluate.write_scoreboard(place.root, rows)
  first = read_json(folders[config.seeds[0]] / "config.json")
  write_json(place / "config.json", {**first, "config": config.to_dict()})
  report.page.write_seeds(place.root, [x.root for x in folders.values()])
  evaluate.show(place, scoreboard.show_summary)


def _shadow_attacks(
  folders: Mapping[int, Workdir], rows: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, int], dict[str, float]]:
  """U-LiRA by (method, seed), see `attacks.shadow_attacks`.

  Empty with fewer than three seeds, with other flips in each (they share them
  by `data.seed`), or without retraining.
  """
  places = list(folders.values())
  splits = [pd.read_parquet(place / "split.parquet") for place in places]
  same = all(splits[0].equals(split) for split in splits[1:])
  roles = {row["method"]: row["role"] for row in rows}
  reference = [name for name, role in roles.items() if role == "reference"]
  if len(places) < 3 or not same or not reference:
    return {}
  flipped = (splits[0]["set"] == "forget").to_numpy()
  classes = read_json(places[0] / "stages" / "dataset.json")["classes"]
  given = pd.Index(splits[0]["train_label"][flipped])
  wrong = pd.Index(classes).get_indexer(given)
  columns = [f"p_{k}" for k in classes]

  def said(name):
    files = [place / "evaluate" / f"{name}.parquet" for place in places]
    tables = [pd.read_parquet(file)[columns] for file in files]
    return np.stack([x[flipped].to_numpy(np.float64) for x in tables])

  retrained = said(reference[0])
  return {
    (name, seed): {"u_lira_accuracy": float(accuracy)}
    for name, role in roles.items()
    if role in ("original", "method")
    for seed, accuracy in zip(
      folders, attacks.shadow_attacks(said(name), retrained, wrong), strict=True
    )
  }
