"""audit: every label of the catalogue, by networks that did not learn it."""

from collections.abc import Callable, Iterator
from pathlib import Path
import shutil
from typing import Any

import numpy as np
import pandas as pd

from gzjax.audit import evidence as evidences
from gzjax.audit import how_many, ranking, review, suspicion
from gzjax.audit.evidence import Evidence, Fold, Means
from gzjax.data.galaxy_catalog import tables
from gzjax.errors import UserError, naming
from gzjax.evaluation import attacks
from gzjax.files import (
  read_json,
  to_json,
  write_json,
  write_table,
  write_whole,
)
from gzjax.pipeline import audit_page, audit_votes, origin
from gzjax.pipeline.audit_votes import ClassVotes
from gzjax.pipeline.checkpoint import FolderStore
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say

_MOST_PAIRS = 6  # that are printed
_KEYS = ["id_str", "given_label"]
_OF_A_PERSON = [*review.COLUMNS[1:]]


def run(experiment: Experiment) -> None:
  """Writes scores.parquet, suspects.csv, summary.json and review.html."""
  config, folder = experiment.config.audit, experiment.workdir / "audit"
  path = folder / "suspects.csv"
  before = experiment.workdir.replaced.find("audit/suspects.csv")
  said = _verdicts(before, experiment.split) if before else None
  votes = audit_votes.class_votes(experiment)
  judges = votes.counts if votes and votes.may_judge else None
  with naming("audit"):
    ranking.check_score(config.score, judges)
    found = KINDS[config.kind](experiment)._replace(counts=judges)
  label = experiment.problem.given
  audit_votes.write(experiment, found, votes)
  ranked = ranking.rank(found, label, score=config.score)
  scores = _scores(experiment, found, ranked)
  write_table(folder / "scores.parquet", scores)
  suspects = _suspects(experiment, scores, votes)
  if said is not None:
    written = suspects[_KEYS].merge(said, "left", _KEYS)[_OF_A_PERSON]
    suspects[_OF_A_PERSON] = written.fillna("")
  write_table(path, suspects)
  estimate = how_many.estimate(ranked.calibrated, label, experiment.config.seed)
  summary = _summary(experiment, suspects, estimate)
  write_json(folder / "summary.json", summary)
  audit_page.write(experiment, found, suspects, summary)
  for line in _in_words(summary):
    say(line)


def _by_folds(experiment: Experiment) -> Evidence:
  """Networks that are trained in turn, each without a part of the labels."""
  problem, config = experiment.problem, experiment.config.audit
  entries, recipe = problem.columns.given, experiment.recipe("audit")
  fold = evidences.folds(
    entries["label"], config.folds, problem.seed, experiment.classes
  )
  names = ("folds", "train", "neighbours")
  settings = to_json({name: config.to_dict()[name] for name in names})
  everything = np.arange(problem.size)
  settings["kept"] = list(Fold._fields)
  settings["galaxies"] = origin.galaxies(experiment, everything, entries)
  found = []
  places = experiment.workdir / "audit" / "folds"
  _forget_folds(places, config.folds)
  for number in range(config.folds):
    place = places / str(number)
    held_out = np.flatnonzero(fold == number)
    words = f"audit: network {number + 1} of {config.folds}"

    def ask(held_out=held_out, words=words, place=place):
      store = FolderStore(place)
      with store, naming("train"):
        return evidences.ask_fold(
          problem,
          held_out,
          recipe=recipe,
          entries=entries,
          name=words,
          store=store,
          neighbours=config.neighbours,
        )

    found.append(_kept(place, settings, ask))
  return evidences.of_folds(found, problem.target.tree)


def _forget_folds(places: Path, number: int) -> None:
  """Deletes what is there from this fold on: once there were more."""
  while (place := places / str(number)).exists():
    shutil.rmtree(place)
    number += 1


def _kept(
  place: Path, settings: dict[str, Any], ask: Callable[[], Fold]
) -> Fold:
  """What a fold has found before, or finds now: its training is not kept."""
  path, record = place / "found.npz", place / "settings.json"
  if read_json(record) != settings:
    shutil.rmtree(place, ignore_errors=True)
    write_json(record, settings)
  if not path.exists():
    found = ask()

    def write(part):
      with part.open("wb") as file:
        np.savez(file, **found._asdict())

    write_whole(path, write)
  shutil.rmtree(place / "checkpoints", ignore_errors=True)
  with np.load(path) as kept:
    return Fold(**kept)


def _by_features(experiment: Experiment) -> Evidence:
  """The one network that there is, with its head fitted again."""
  problem, config = experiment.problem, experiment.config.audit
  table = pd.read_parquet(experiment.workdir / "train" / "dynamics.parquet")
  learned = experiment.sets.train
  if experiment.config.flips.after_training:
    # It has learned other labels than these: its training says nothing of them.
    table, learned = table[:0], learned[:0]
  said = table[[f"p_{name}" for name in experiment.classes]].to_numpy()
  return evidences.of_features(
    problem,
    experiment.network("original"),
    entries=problem.columns.given,
    learned=learned,
    means=Means(
      table["mean_loss"].to_numpy(), table["margin"].to_numpy(), said
    ),
    count=config.folds,
    neighbours=config.neighbours,
    features=experiment.embeddings,
  )


# How labels are audited by what did not learn them.
KINDS: dict[str, Callable[[Experiment], Evidence]] = {
  "folds": _by_folds,
  "features": _by_features,
}


def _scores(
  experiment: Experiment, found: Evidence, ranked: ranking.Ranked
) -> pd.DataFrame:
  """Every score of every label, in the order of split.parquet."""
  label, classes = experiment.problem.given, np.asarray(experiment.classes)
  said = suspicion.scores(found.probabilities, label)
  names = [f"p_{name}" for name in classes]
  return pd.DataFrame(
    {
      "id_str": experiment.split["id_str"],
      "split": experiment.split["split"],
      "given_label": classes[label],
      "fold": found.fold,
      "predicted": classes[found.probabilities.argmax(axis=1)],
      "suggested_label": classes[ranked.suggested],
      **dict(zip(names, found.probabilities.T, strict=True)),
      "self_confidence": said.self_confidence,
      "normalised_margin": said.normalised_margin,
      "adjusted_self_confidence": said.adjusted_self_confidence,
      "mean_loss": found.held_out.loss,
      "mean_margin": found.held_out.margin,
      "training_mean_loss": found.in_sample.loss,
      "area_under_margin": found.in_sample.margin,
      "neighbours": found.disagreement,
      "oddity": found.oddity,
      "self_influence": found.influence,
      "label_score": ranked.label_score,
      "probability_wrong": ranked.probability_wrong,
      "is_label_issue": _is_cut(experiment, ranked),
    }
  )


def _is_cut(experiment: Experiment, ranked: ranking.Ranked) -> np.ndarray:
  """Which labels are to be called wrong, bool[N]."""
  cut = how_many.cut(
    ranked.probability_wrong, experiment.config.audit.false_discovery
  )
  found = np.zeros(len(ranked.label_score), bool)
  found[np.argsort(ranked.label_score, kind="stable")[:cut]] = True
  return found


def _suspects(
  experiment: Experiment, scores: pd.DataFrame, votes: ClassVotes | None
) -> pd.DataFrame:
  """The table that goes round: every label, the worst first."""
  data = experiment.dataset.table
  counts = {}
  if votes is not None:
    names = (f"votes_{name}" for name in experiment.classes)
    counts = dict(zip(names, votes.counts.T.astype(int), strict=True))
  table = pd.DataFrame(
    {
      "id_str": scores["id_str"],
      "file": data.get("file", ""),
      "split": scores["split"],
      "given_label": scores["given_label"],
      "suggested_label": scores["suggested_label"],
      "probability_wrong": scores["probability_wrong"],
      "label_score": scores["label_score"],
      "is_label_issue": scores["is_label_issue"],
      "mean_loss": scores["mean_loss"],
      "margin": scores["normalised_margin"],
      "neighbours": scores["neighbours"],
      **counts,
      **dict.fromkeys(_OF_A_PERSON, ""),
    }
  )
  return table.sort_values("label_score", kind="stable", ignore_index=True)


def _verdicts(path: Path, split: pd.DataFrame) -> pd.DataFrame:
  """What a person has written into the table of an audit before.

  Raises:
    UserError: if it cannot be told of which galaxies that is.
  """
  table = tables.read_text(path)
  said = table.reindex(columns=[*_KEYS, *_OF_A_PERSON], fill_value="")
  said = said[(said[_OF_A_PERSON] != "").any(axis=1)]
  lost = said["id_str"][~said["id_str"].isin(split["id_str"])]
  if len(lost):
    raise UserError(
      f"{path} has verdicts or notes of ids that this run does not have (the "
      f"first is {lost.iloc[0]!r}), perhaps as a spreadsheet rounds them: mend "
      "them, or move the file away; an audit that is done again keeps the rest."
    )
  return said.drop_duplicates(_KEYS)


def _summary(
  experiment: Experiment, suspects: pd.DataFrame, estimate: how_many.Estimate
) -> dict[str, Any]:
  """How many labels are wrong, in all and between which classes."""
  classes = experiment.classes
  pairs = [
    {
      "given_label": classes[i],
      "suggested_label": classes[j],
      "wrong": estimate.joint[i, j],
      "low": estimate.low[i, j],
      "high": estimate.high[i, j],
    }
    for i in range(len(classes))
    for j in range(len(classes))
    if i != j
  ]
  found = {
    "labels": len(suspects),
    "wrong": estimate.wrong,
    "wrong_low": estimate.wrong_low,
    "wrong_high": estimate.wrong_high,
    "label_issues": int(suspects["is_label_issue"].sum()),
    "false_discovery": experiment.config.audit.false_discovery,
    "pairs": sorted(pairs, key=lambda pair: -pair["wrong"]),
  }
  if not experiment.is_repair:
    found["benchmark"] = _quality(experiment, suspects)
  return found


def _quality(experiment: Experiment, suspects: pd.DataFrame) -> dict[str, Any]:
  """How good the ranking is, by the labels that were flipped on purpose.

  Of training galaxies: only there labels are flipped.
  """
  truth = experiment.split.set_index("id_str").loc[suspects["id_str"]]
  train = (truth["split"] == "train").to_numpy()
  flipped = truth["flipped"].to_numpy()[train]
  score = suspects["label_score"].to_numpy()[train]
  right = suspects["suggested_label"].to_numpy() == truth["true_label"]
  count = int(flipped.sum())
  return {
    "flipped": count,
    "auc": attacks.auc(-score[flipped], -score[~flipped]),
    "precision_at_flipped": float(np.mean(flipped[:count])),
    "suggestion_accuracy": float(np.mean(right.to_numpy()[train][flipped])),
  }


def _in_words(summary: dict[str, Any]) -> Iterator[str]:
  yield (
    f"of {summary['labels']:,} labels about {summary['wrong']:,.0f} look wrong "
    f"(95% interval {summary['wrong_low']:,.0f} to "
    f"{summary['wrong_high']:,.0f}); {summary['label_issues']:,} can be named "
    f"with at most {summary['false_discovery']:.0%} right ones among them"
  )
  for pair in summary["pairs"][:_MOST_PAIRS]:
    yield (
      f"  {pair['given_label']} that look like {pair['suggested_label']}: "
      f"about {pair['wrong']:,.0f} ({pair['low']:,.0f} to {pair['high']:,.0f})"
    )
  if "benchmark" in summary:
    found = summary["benchmark"]
    yield (
      f"benchmark: of the {found['flipped']:,} labels flipped on purpose "
      f"{found['precision_at_flipped']:.0%} are among as many worst training "
      f"labels (AUC {found['auc']:.3f})"
    )
