"""Several seeds: a whole run each, then one scoreboard and one report."""

from collections.abc import Callable, Sequence

import ml_collections
import numpy as np
import pandas as pd
from rich.console import Console

from gzjax import metrics, report, scoreboard
from gzjax.errors import UserError
from gzjax.progress import say
from gzjax.stages import evaluate
from gzjax.workdir import Workdir, read_json, write_json


def check_layout(place: Workdir, seeds: Sequence[int]) -> None:
  """Raises UserError where a workdir of one seed meets several, or reverse."""
  if len(set(seeds)) != len(seeds):
    raise UserError(f"seeds is {tuple(seeds)}: name each seed once.")
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
  boards = {s: read_json(f / "scoreboard.json") for s, f in folders.items()}
  if not all(boards.values()):
    return
  rows = [row for board in boards.values() for row in board]
  attacks = _shadow_attacks(folders)
  for row in rows:
    row.update(attacks.get((row["method"], row["seed"]), {}))
  # By method first, so that its seeds stand together.
  order = list(dict.fromkeys(row["method"] for row in rows))
  rows.sort(key=lambda row: order.index(row["method"]))
  evaluate.write_scoreboard(place, rows)
  write_json(place / "config.json", _config(folders, config))
  report.write_seeds(place, list(folders.values()))
  console = Console()
  if not console.is_terminal:
    console = Console(width=180)
  scoreboard.show_summary(rows, console)
  console.print(f"Report: {place / 'report.html'}")


def _config(folders, config):
  first = read_json(next(iter(folders.values())) / "config.json")
  return {**first, "config": config.to_dict()}


def _shadow_attacks(
  folders: dict[int, Workdir],
) -> dict[tuple[str, int], dict[str, float]]:
  """U-LiRA, where the seeds share their flips (`flips.seed`).

  Each seed's networks are attacked with those of all others as shadows: the
  balanced accuracy of telling a method's network from a retrained one.
  """
  splits = [pd.read_parquet(f / "split.parquet") for f in folders.values()]
  if len(folders) < 3 or not all(splits[0].equals(s) for s in splits[1:]):
    return {}
  split = splits[0]
  forget = np.flatnonzero(split["set"] == "forget")
  classes = read_json(next(iter(folders.values())) / "config.json")["config"][
    "data"
  ]["classes"]
  wrong = pd.Index(classes).get_indexer(pd.Index(split["train_label"]))[forget]

  def confidences(name):
    found = []
    for folder in folders.values():
      table = pd.read_parquet(folder / "evaluate" / f"{name}.parquet")
      p = table[[f"p_{k}" for k in classes]].to_numpy(np.float64)[forget]
      found.append(metrics.scaled_confidence(p, wrong))
    return np.stack(found)

  names = [
    path.stem for path in (next(iter(folders.values())) / "evaluate").iterdir()
  ]
  if "retrain" not in names:
    return {}
  retrained = confidences("retrain")
  attacks = {}
  for name in set(names) - {"constant", "retrain"}:
    unlearned = confidences(name)
    for i, seed in enumerate(folders):
      others = np.arange(len(folders)) != i
      hits = [
        np.mean(
          (metrics.u_lira(x[i], unlearned[others], retrained[others]) > 0)
          == is_member
        )
        for x, is_member in ((unlearned, True), (retrained, False))
      ]
      attacks[name, seed] = {"u_lira_accuracy": float(np.mean(hits))}
  return attacks
