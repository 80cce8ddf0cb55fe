"""All networks of a problem on the same galaxies: rows of the scoreboard."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gzjax.evaluation import (
  attacks,
  batch_stats,
  health,
  metrics,
  probe,
  scoreboard,
)
from gzjax.evaluation.scoreboard import Galaxies
from gzjax.evaluation.votes import rmse
from gzjax.objectives.targets import Prediction
from gzjax.problem import Network, Problem, ask
from gzjax.types import Cost

# What a network that says nothing has nevertheless.
_COSTS = (*Cost._fields, "cost_vs_retrain", "run_time_efficiency")
# Of the probe above that of retraining: then features still know wrong labels.
_FEATURES_KNOW = 0.05
# Roles of the networks with which all others are compared.
COMPARED_WITH = ("original", "reference")
_TUG_OF_WAR = ("forget_accuracy", "retain_accuracy", "test_accuracy")


def score(
  problem: Problem, networks: Sequence[Network], *, views: int = 1
) -> list[dict[str, Any]]:
  """A row for each network, compared with the original and with retraining.

  Args:
    problem: the galaxies; the test set is looked at here and nowhere else.
    networks: the original among them; where one has the role "reference",
      the others are compared with it.
    views: of each galaxy, see `problem.predict`.

  Returns:
    Rows, see `scoreboard.COLUMNS`, with more than the columns in each. What is
    measured is NaN of a network that is not finite.

  Raises:
    ValueError: if there is no original network.
  """
  held = {x.role: x for x in reversed(networks) if x.role in COMPARED_WITH}
  if "original" not in held:
    raise ValueError("networks hold no original: give the one that was trained")

  def said_by(network):
    return ask(problem, network, np.arange(problem.size), views)

  said = {role: said_by(network) for role, network in held.items()}
  scorer = Scorer(problem, said, views=views)
  return finished(
    [
      scorer.row(
        network,
        said[network.role]
        if network is held.get(network.role)
        else said_by(network),
      )
      for network in networks
    ]
  )


class Scorer:
  """Scores networks one after another, and keeps nothing of them.

  Memory holds what the original and retraining say, however many networks are
  compared with them.
  """

  def __init__(
    self, problem: Problem, said: Mapping[str, Prediction], *, views: int = 1
  ):
    """Takes what the two, by their roles, say of all galaxies.

    KeyError if there is no original; there may be no reference.
    """
    self._problem, self._views = problem, views
    self._original = said["original"].probabilities
    reference = said.get("reference")
    self._reference = reference.probabilities if reference else None
    self._galaxies = Galaxies(
      true_label=problem.true,
      train_label=problem.given,
      test=problem.sets.test,
      retain=problem.right,
      forget=problem.wrong,
      known=problem.sets.forget,
      unseen=problem.unseen.rows,
      unseen_label=problem.unseen.label,
      review=problem.review,
    )

  def row(self, network: Network, said: Prediction) -> dict[str, Any]:
    """The row of a network that says this of all galaxies, for `finished`."""
    problem, galaxies, p = self._problem, self._galaxies, said.probabilities
    renewed = _with_renewed(problem, network, p, self._views)
    before = self._original
    judged = (
      network.report
      or health.worse(
        _diagnose(problem, p, before), _diagnose(problem, renewed, before)
      )._asdict()
    )
    return {
      "method": network.name,
      "role": network.role,
      "seed": problem.seed,
      **scoreboard.score_one(p, galaxies),
      **_renewed_columns(renewed, galaxies),
      "probe_forget_accuracy": probe.forget_accuracy(problem, network),
      **_score_votes(problem, said.votes.cumulative, galaxies),
      "verdict": judged["verdict"],
      "reason": judged["reason"],
      **network.cost._asdict(),
      "health": network.report,
      **self._distances(p),
    }

  def _distances(self, p: np.ndarray) -> dict[str, float]:
    """Of probabilities f64[N,C] to those of retraining, if there was one."""
    if self._reference is None:
      return {}
    galaxies = self._galaxies
    wrong, label = galaxies.forget, galaxies.train_label[galaxies.forget]
    of_wrong = (x[wrong, label] for x in (p, self._reference, self._original))
    return {
      **scoreboard.distance_to_retrain(p, self._reference, galaxies),
      "iam": attacks.iam(*of_wrong),
    }


def finished(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """The rows of `Scorer`, with what compares them with that of retraining."""
  _compare_with_reference(rows)
  return [_without_numbers(x) if _is_nothing(x) else x for x in rows]


def _is_nothing(row: Mapping[str, Any]) -> bool:
  return row["verdict"] == "non-finite"


def _without_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
  """NaN for what is measured: being wrong and saying nothing are not alike."""
  return {
    key: np.nan if isinstance(value, float) and key not in _COSTS else value
    for key, value in row.items()
  }


def _score_votes(problem, predicted, galaxies) -> dict[str, float]:
  """`VOTE_COLUMNS` of cumulative fractions f64[N,A]; of classes alone none."""
  if not problem.target.expects_fractions:
    return {}
  true, given = problem.columns.fractions, problem.columns.given_fractions
  parts = {
    "test_rmse": (galaxies.test, true),
    "retain_rmse": (galaxies.retain, true),
    "forget_rmse": (galaxies.forget, given),
    **({} if galaxies.review else {"corrected_rmse": (galaxies.forget, true)}),
  }
  return {
    name: rmse(truth[rows], predicted[rows])
    for name, (rows, truth) in parts.items()
  }


def _with_renewed(problem, network, said, views) -> np.ndarray:
  """What a network says with renewed BatchNorm statistics, f64[N,C].

  Of the galaxies that it is judged by; of the others as it says without.
  """
  renewed = batch_stats.renewed(problem, network)
  if renewed is network:
    return said
  sets = problem.sets
  rows = np.concatenate([sets.validation, sets.test, problem.wrong])
  found = said.copy()
  found[rows] = ask(problem, renewed, rows, views).probabilities
  return found


def _hidden(row, reference) -> str:
  """What a verdict must add where features know what outputs do not say."""
  name = "probe_forget_accuracy"
  if row["verdict"] != "ok" or not row[name] > reference[name] + _FEATURES_KNOW:
    return ""
  return (
    f"; but of its features a fresh head gives {row[name]:.0%} of them "
    f"(retraining: {reference[name]:.0%})"
  )


def _renewed_columns(said, galaxies) -> dict[str, float]:
  """Of what a network says with renewed BatchNorm statistics, f64[N,C]."""
  found = {"renewed_forget_accuracy": galaxies.train_label}
  if not galaxies.review:
    found["renewed_corrected_accuracy"] = galaxies.true_label
  predicted, rows = metrics.predicted_class(said), galaxies.forget
  true, test = galaxies.true_label, galaxies.test
  return {
    **{
      name: metrics.accuracy(label[rows], predicted[rows])
      for name, label in found.items()
    },
    "renewed_test_balanced_accuracy": metrics.balanced_accuracy(
      true[test], predicted[test], said.shape[1]
    ),
  }


def _diagnose(problem, said, original) -> health.Diagnosis:
  """The verdict of a network that no method judged itself."""
  sets = problem.sets
  after, before = (
    health.read(problem, None, p[sets.validation], p[sets.forget])
    for p in (said, original)
  )
  target = health.target_of(problem, original[sets.validation])
  return health.diagnose(after, before, target, problem.target.classes)


def _compare_with_reference(rows: Sequence[dict[str, Any]]) -> None:
  """Adds the columns that compare with retraining, if there was one."""
  reference = next((r for r in rows if r["role"] == "reference"), None)
  if reference is None:
    return
  for row in rows:
    row["reason"] += _hidden(row, reference)
    row["tug_of_war"] = metrics.tug_of_war(
      *([x[name] for name in _TUG_OF_WAR] for x in (row, reference))
    )
    row["gap_to_retrain"] = scoreboard.gap_to_retrain(row, reference)
    if reference["gradients"]:
      row["cost_vs_retrain"] = row["gradients"] / reference["gradients"]
    if row["wall_seconds"]:
      row["run_time_efficiency"] = (
        reference["wall_seconds"] / row["wall_seconds"]
      )
