"""How well wrong labels are found that were planted, and how many.

    python -m benchmarks.audit --folder=runs/audit --seeds=0,1,2 \
      --real=galaxies --out=audit.csv

Skies of random seeds, and real galaxies where their folder is given (with a
catalog.csv: file_loc and label), get wrong labels by each noise model. Networks
in folds that know nothing of that audit all labels. Printed are means over
seeds and half of the 95% interval of the mean: area under the ROC curve,
average precision and precision among as many as are wrong, of each score of
`gzjax.audit.ranking` and of cleanlab's on the same probabilities (where it is
installed); then the number of wrong labels beside `gzjax.audit.estimate`, in
which share of the trials its interval holds it, the share of right labels at
the cut of the audit, and how often its suggestion is right. Real galaxies had
wrong labels before, which count as right ones here; they have no votes, so that
the noise model ambiguity is left out.

What each network says is kept in --folder, so that a run that was killed goes
on. So are the numbers of a trial: to count again, delete its .csv there. With
--votes another benchmark runs, see benchmarks/audit_votes.py.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console

from benchmarks import audit_trials, audit_votes, report
from benchmarks.audit_trials import CLASSES, Galaxies, Heard, How
from gzjax.audit import how_many, ranking
from gzjax.audit.evidence import Evidence
from gzjax.files import write_table
from gzjax.morphology import noise
from gzjax.progress import say

# Of each true class, the labels that it is given by the noise model matrix.
MATRIX = ((0.92, 0.06, 0.02), (0.12, 0.86, 0.02), (0.05, 0.05, 0.9))
NOISE = ("uniform", "confusable", "ambiguity", "matrix")
KINDS = ("folds", "features")
FALSE_DISCOVERY = 0.2
_CLEANLAB = (
  "self_confidence",
  "normalized_margin",
  "confidence_weighted_entropy",
)


class Trial(NamedTuple):
  """Galaxies and how their labels go wrong."""

  data: str  # sky or real
  noise: str  # a name of `NOISE`
  seed: int  # of sky, noise, folds and networks

  @property
  def name(self) -> str:
    """In words, and as a folder."""
    return f"{self.data}-{self.noise}-{self.seed}"


def plant(galaxies: Galaxies, trial: Trial, fraction: float) -> np.ndarray:
  """The labels, i32[N], some of them wrong."""
  settings: dict[str, Any] = {"fraction": fraction}
  if trial.noise == "matrix":
    settings = {"matrix": MATRIX}
  model = noise.FlipModel(trial.noise, CLASSES, trial.seed, settings)
  known = noise.Evidence(galaxies.shares)
  return noise.flip_labels(model, galaxies.label, known).astype(np.int32)


def measure(
  heard: Heard, given: np.ndarray, true: np.ndarray, seed: int
) -> pd.DataFrame:
  """All numbers of a trial: `score`, `measure`, `value`.

  The score is "" for what is not of one.
  """
  found, wrong = heard.evidence, given != true
  rows = [
    (name, *row)
    for name, score in _scores(found, given)
    for row in audit_trials.of_ranking(wrong, score)
  ]
  rows += [("", *row) for row in _of_numbers(found, given, true, seed)]
  rows.append(("", "seconds", heard.seconds))
  return pd.DataFrame(rows, columns=["score", "measure", "value"])


def _scores(
  found: Evidence, given: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
  """Names and scores f64[N], low where a label looks wrong."""
  for name, score in ranking.OF_NETWORKS.items():
    yield name, score(found, given)
  if _has_cleanlab():
    from cleanlab import rank

    for method in _CLEANLAB:
      score = rank.get_label_quality_scores(
        given,
        found.probabilities,
        method=method,
      )
      yield f"cleanlab {method}", score


def _has_cleanlab() -> bool:
  return importlib.util.find_spec("cleanlab") is not None


def _of_numbers(
  found: Evidence, given: np.ndarray, true: np.ndarray, seed: int
) -> Iterator[tuple[str, float]]:
  wrong = given != true
  ranked = ranking.rank(found, given, score=ranking.DEFAULT)
  estimate = how_many.estimate(ranked.calibrated, given, seed)
  low, high = estimate.wrong_low, estimate.wrong_high
  yield "wrong", wrong.sum()
  yield "estimated", estimate.wrong
  yield "low", low
  yield "high", high
  yield "holds", float(low <= wrong.sum() <= high)
  yield "sum of probability_wrong", ranked.probability_wrong.sum()
  joint = how_many.confident_joint(ranked.calibrated, given)
  yield "confident joint", joint.sum() - joint.trace()
  if _has_cleanlab():
    from cleanlab import count

    yield "cleanlab", count.num_label_issues(given, found.probabilities)
  cut = how_many.cut(ranked.probability_wrong, FALSE_DISCOVERY)
  named = np.argsort(ranked.label_score, kind="stable")[:cut]
  yield "named", cut
  yield "false discovery", 1 - wrong[named].mean() if cut else np.nan
  yield "suggestion right", np.mean((ranked.suggested == true)[wrong])
  yield "network right", np.mean(found.probabilities.argmax(axis=1) == true)


def measured(trial: Trial, kind: str, options: Any) -> pd.DataFrame:
  """The numbers of a trial, kept or new; rows as those of `measure`."""
  path = options.folder / f"{trial.name}-{kind}.csv"
  if not path.exists():
    write_table(path, _measure_anew(trial, kind, options))
  found = pd.read_csv(path, keep_default_na=False, na_values={"value": [""]})
  return found.assign(kind=kind, **trial._asdict())


def _measure_anew(trial, kind, options):
  how = options.how
  if trial.data == "sky":
    galaxies = audit_trials.sky(options.galaxies, trial.seed, how.size)
  else:
    galaxies = audit_trials.real(options.real, how.size)
  given = plant(galaxies, trial, options.fraction)
  problem = audit_trials.make_problem(galaxies, given, how, trial.seed)
  if kind == "folds":
    place = options.folder / trial.name
    heard = audit_trials.by_folds(problem, {"label": given}, how, place)
  else:
    heard = audit_trials.by_features(problem, {"label": given}, how, trial.name)
  found = measure(heard, given, galaxies.label, trial.seed)
  return found.assign(**audit_trials.stamp())


def _trials(options: Any) -> Iterator[Trial]:
  for seed in options.seeds:
    for kind in options.noise:
      if options.galaxies:
        yield Trial("sky", kind, seed)
      if not options.real:
        continue
      if kind == "ambiguity":
        say("real galaxies have no votes here: ambiguity is left out")
      else:
        yield Trial("real", kind, seed)


def show(table: pd.DataFrame, console: Console) -> None:
  """Prints means over seeds of the numbers of `measured`."""
  for (data, kind), part in table.groupby(["data", "kind"], sort=False):
    title = f"{data}, {kind}"
    for model, ranks in part[part["score"] != ""].groupby("noise", sort=False):
      audit_trials.show(console, f"{title}: {model}", ranks, "score", "measure")
    audit_trials.show(
      console, title, part[part["score"] == ""], "measure", "noise"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(__doc__, "all numbers")

  def add(name, default, words, parse=str):
    parser.add_argument(f"--{name}", type=parse, default=default, help=words)

  add("folder", Path("runs/audit"), "keeps what networks say", Path)
  add("galaxies", 2000, "of each sky; 0: no sky", int)
  add("seeds", [0, 1, 2], "separated by commas", report.numbers)
  add("noise", NOISE, ", ".join(NOISE), partial(_names, NOISE))
  add("real", None, "folder of real galaxies", Path)
  add("fraction", 0.1, "of the labels is made wrong", float)
  add("kinds", ["folds"], ", ".join(KINDS), partial(_names, KINDS))
  ways = audit_votes.LEARNED
  words = f"with --votes: {', '.join(ways)}"
  add("learned", ways, words, partial(_names, ways))
  for name, default in How()._asdict().items():
    if name != "views":
      add(name, default, "of the networks", type(default))
  for name, words in (
    ("views", "train on turned and shifted views"),
    ("votes", "audit majorities of 5 votes instead"),
  ):
    parser.add_argument(f"--{name}", action="store_true", help=words)
  options = parser.parse_args(arguments)
  options.how = How(*(getattr(options, name) for name in How._fields))
  return options


def _names(choices: Sequence[str], text: str) -> list[str]:
  found = text.split(",")
  if not set(found) <= set(choices):
    raise argparse.ArgumentTypeError(f"choose out of {', '.join(choices)}")
  return found


def _measure_all(options: argparse.Namespace) -> pd.DataFrame:
  """All trials of one kind, or those of votes."""
  audit_trials.check_folder(
    options.folder,
    {
      "how": options.how._asdict(),
      "galaxies": options.galaxies,
      "fraction": options.fraction,
    },
  )
  if options.votes:
    return pd.concat(
      [audit_votes.measured(seed, options) for seed in options.seeds]
    )
  return pd.concat(
    [
      measured(trial, kind, options)
      for trial in _trials(options)
      for kind in options.kinds
    ]
  )


def main(arguments: Sequence[str] | None = None) -> None:
  """Trains, counts, prints and writes."""
  options = _options(arguments)
  console = Console()

  def show_all(table):
    (audit_votes.show if options.votes else show)(table, console)
    for _, made in table[["revision", "device"]].drop_duplicates().iterrows():
      console.print(f"revision {made['revision']}, device {made['device']}")

  report.end(partial(_measure_all, options), show_all, options.out)


if __name__ == "__main__":
  main()
