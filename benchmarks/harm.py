"""What the methods do at their defaults, where nobody tuned them.

    python -m benchmarks.harm --folder=runs/harm --real=galaxies \
      --recipes=sky_resnet18,sky_cnn,real_resnet18 --out=harm.csv

Networks, trainings and wrong labels that no default was chosen on: for each
recipe of `RECIPES`, noise model and share of wrong labels a run of its own in
--folder, all methods at their defaults (or --methods), and the balanced
accuracy on test rows beside that of the original. Real galaxies come from a
folder with a catalog.csv. Printed are for each method the mean and the largest
loss over the runs, and how often it was not run since there was nothing to
unlearn. A run that was killed goes on.
"""

import argparse
from collections.abc import Sequence
from functools import partial
import itertools
from pathlib import Path

from gzjax.configs import catalog, demo
import ml_collections
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks import report
from gzjax.errors import UserError
from gzjax.files import read_json
from gzjax.pipeline import stages
from gzjax.progress import say

# By name: the network, its width and the epochs; the data set comes first.
RECIPES = {
  "sky_resnet18": ("resnet18", 16, 20),
  "sky_cnn": ("cnn", 64, 20),
  "real_resnet18": ("resnet18", 16, 20),
  "real_resnet34_12": ("resnet34", 64, 12),
  "real_resnet34_20": ("resnet34", 64, 20),
}

# Of the scoreboard.
_MEASURES = (
  "test_accuracy",
  "test_balanced_accuracy",
  "renewed_test_balanced_accuracy",
  "forget_accuracy",
  "renewed_forget_accuracy",
  "corrected_accuracy",
  "cost_vs_retrain",
)


def config_of(
  recipe: str, kind: str, fraction: float, seed: int, options
) -> ml_collections.ConfigDict:
  """The config of a run."""
  if recipe.startswith("sky"):
    config = demo.get_config()
  else:
    config = catalog.get_config()
    config.data.catalog = str(options.real / "catalog.csv")
    config.data.crop = 212
    config.data.split_by = "label"
    config.unlearn.methods = demo.get_config().unlearn.methods
  config.model.name, config.model.width, config.train.epochs = RECIPES[recipe]
  config.seed = seed
  config.flips.kind, config.flips.fraction = kind, fraction
  config.audit.kind = "features"  # which nothing here asks for
  config.evaluate.relearn_epochs = 0
  if options.methods:
    config.unlearn.methods = options.methods
  return config


def measure(options: argparse.Namespace) -> pd.DataFrame:
  """A row for each run and network.

  Raises:
    UserError: for a recipe that there is not, or that lacks its galaxies.
  """
  unknown = set(options.recipes) - set(RECIPES)
  if unknown:
    raise UserError(
      f"--recipes has {', '.join(unknown)}: choose from {', '.join(RECIPES)}."
    )
  if not options.real and any(x.startswith("real") for x in options.recipes):
    raise UserError("--recipes has real galaxies: say where, with --real.")
  tables = []
  for recipe, kind, fraction, seed in itertools.product(
    options.recipes, options.noise, options.fractions, options.seeds
  ):
    name = f"{recipe}-{kind}-{fraction:g}-{seed}"
    say(name)
    folder = options.folder / name
    config = config_of(recipe, kind, fraction, seed, options)
    stages.run(config, folder, "evaluate", with_needed=True)
    found = read_json(folder / "scoreboard.json")
    table = pd.DataFrame(
      {
        "recipe": recipe,
        "noise": kind,
        "fraction": fraction,
        "not_run": bool((row["health"] or {}).get("not_run")),
        **{key: row[key] for key in ("method", "role", "seed", "verdict")},
        **{key: row.get(key) for key in _MEASURES},
      }
      for row in found
    )
    before = table.loc[table["role"] == "original"].iloc[0]
    lost = before["test_balanced_accuracy"] - table["test_balanced_accuracy"]
    tables.append(table.assign(lost=lost))
  return pd.concat(tables, ignore_index=True)


def show(table: pd.DataFrame, console: Console) -> None:
  """Prints the losses of balanced accuracy, by method."""
  found = Table(
    "method",
    *("runs", "not run", "mean loss", "largest", "in"),
    title="Balanced accuracy on test rows lost against the original",
  )
  for method, runs in table.groupby("method", sort=False):
    ran = runs[~runs["not_run"]]
    worst = ran.loc[ran["lost"].idxmax()] if len(ran) else None
    found.add_row(
      str(method),
      str(len(runs)),
      str(int(runs["not_run"].sum())),
      f"{ran['lost'].mean():.3f}",
      "" if worst is None else f"{worst['lost']:.3f}",
      ""
      if worst is None
      else f"{worst['recipe']} {worst['noise']} {worst['fraction']:g}",
    )
  console.print(found)


def _names(text: str) -> tuple[str, ...]:
  return tuple(text.split(","))


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs what is asked for, prints it and writes --out."""
  parser = report.parser(__doc__, "a row for each run and network")
  parser.add_argument("--folder", type=Path, required=True)
  parser.add_argument("--real", type=Path)
  parser.add_argument("--recipes", type=_names, default=tuple(RECIPES))
  parser.add_argument("--noise", type=_names, default=("uniform", "confusable"))
  parser.add_argument(
    "--fractions",
    type=lambda text: tuple(map(float, text.split(","))),
    default=(0.1, 0.02),
  )
  parser.add_argument(
    "--seeds", type=lambda text: tuple(map(int, text.split(","))), default=(0,)
  )
  parser.add_argument("--methods", type=_names)
  options = parser.parse_args(arguments)
  report.end(
    partial(measure, options), partial(show, console=Console()), options.out
  )


if __name__ == "__main__":
  main()
