"""All networks of a problem on the same galaxies: rows of the scoreboard."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gzjax.evaluation import health, metrics, scoreboard
from gzjax.evaluation.scoreboard import Galaxies
from gzjax.evaluation.votes import rmse
from gzjax.objectives.targets import Prediction
from gzjax.problem import Network, Problem, ask

# What a network that says nothing has nevertheless.
_COSTS = ("wall_seconds", "compile_seconds", "cost_vs_retrain")
_TUG_OF_WAR = ("forget_accuracy", "retain_accuracy", "test_accuracy")


def score(
  problem: Problem,
  networks: Sequence[Network],
  *,
  said: Mapping[str, Prediction] | None = None,
) -> list[dict[str, Any]]:
  """A row for each network, compared with the original and with retraining.

  Args:
    problem: the galaxies; the test set is looked at here and nowhere else.
    networks: the original among them; where one has the role "reference",
      the others are compared with it.
    said: by name, what the networks say of all galaxies; None: they are asked.

  Returns:
    Rows, see `scoreboard.COLUMNS`, with more than the columns in each. What is
    measured is NaN of a network that is not finite.

  Raises:
    ValueError: if there is no original network.
  """
  original = next((x.name for x in networks if x.role == "original"), None)
  if original is None:
    raise ValueError("networks hold no original: give the one that was trained")
  said = said or ask_all(problem, networks)
  galaxies = Galaxies(
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
  rows = [
    _row(problem, network, said[network.name], said[original], galaxies)
    for network in networks
  ]
  _compare_with_reference(rows, said, galaxies)
  return [_without_numbers(x) if _is_nothing(x) else x for x in rows]


def _is_nothing(row: Mapping[str, Any]) -> bool:
  return row["verdict"] == "non-finite"


def _without_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
  """NaN for what is measured: being wrong and saying nothing are not alike."""
  return {
    key: np.nan if isinstance(value, float) and key not in _COSTS else value
    for key, value in row.items()
  }


def ask_all(
  problem: Problem, networks: Sequence[Network], views: int = 1
) -> dict[str, Prediction]:
  """What networks say of all galaxies, by name."""
  everything = np.arange(problem.size)
  return {x.name: ask(problem, x, everything, views) for x in networks}


def _row(problem, network, said, original, galaxies) -> dict[str, Any]:
  p = said.probabilities
  judged = network.report or _diagnose(problem, p, original.probabilities)
  return {
    "method": network.name,
    "role": network.role,
    "seed": problem.seed,
    **scoreboard.score_one(p, galaxies),
    **_score_votes(problem, said.votes.cumulative, galaxies),
    "verdict": judged["verdict"],
    "reason": judged["reason"],
    "wall_seconds": network.wall_seconds,
    "compile_seconds": network.compile_seconds,
    "health": network.report,
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


def _diagnose(problem, said, original) -> dict[str, str]:
  """`verdict` and `reason` of a network that no method judged itself."""
  sets = problem.sets
  after, before = (
    health.read(problem, None, p[sets.validation], p[sets.forget])
    for p in (said, original)
  )
  target = health.target_of(problem, original[sets.validation])
  judged = health.diagnose(after, before, target, problem.target.classes)
  return judged._asdict()


def _compare_with_reference(rows, said, galaxies) -> None:
  """Adds the columns that compare with retraining, if there was one."""
  reference = next((r for r in rows if r["role"] == "reference"), None)
  if reference is None:
    return
  best = said[reference["method"]].probabilities
  for row in rows:
    row |= scoreboard.distance_to_retrain(
      said[row["method"]].probabilities, best, galaxies
    )
    row["tug_of_war"] = metrics.tug_of_war(
      *([x[name] for name in _TUG_OF_WAR] for x in (row, reference))
    )
    row["gap_to_retrain"] = scoreboard.gap_to_retrain(row, reference)
    row["cost_vs_retrain"] = row["wall_seconds"] / max(
      reference["wall_seconds"], 1e-9
    )
    if row["wall_seconds"]:
      row["run_time_efficiency"] = 1 / row["cost_vs_retrain"]
