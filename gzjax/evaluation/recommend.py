"""Which network to use, and why: one sentence that a person can act on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from gzjax.evaluation import health, metrics
from gzjax.evaluation.intervals import resampled_interval
from gzjax.objectives.targets import Prediction
from gzjax.problem import Problem

# Differences that chance makes more often than this mean nothing.
_CHANCE = 0.05


class Recommendation(NamedTuple):
  """A network out of the scoreboard."""

  method: str
  sentence: str


def recommend(
  problem: Problem,
  rows: Sequence[Mapping[str, Any]],
  said: Mapping[str, Prediction],
) -> Recommendation:
  """Chooses by a stated rule; the test set is not looked at.

  A network qualifies if its verdict is `ok`, with stored and with renewed
  BatchNorm statistics, or if it was retrained, and if it is not worse on
  validation than the original, by McNemar's exact test (1947). Where the
  original had hardly learned the labels to forget, it must be better, and by so
  much that the luckiest of so many methods would not be (Bonferroni). Of the
  methods that qualify those are kept that chance cannot tell from the best in
  balanced accuracy on validation; of these those that it cannot tell from the
  best at the right labels of what was to be forgotten, where they are known; of
  these the one that took the fewest gradients, unless retraining is right about
  more of validation.

  Args:
    problem: the galaxies.
    rows: of the scoreboard, see `compare.score`.
    said: what the networks say of all galaxies, by name.
  """
  right = {
    name: metrics.predicted_class(found.probabilities) == problem.true
    for name, found in said.items()
  }
  hits = {name: x[problem.sets.validation] for name, x in right.items()}
  by_role = {row["role"]: row for row in rows}
  original, retrain = by_role["original"], by_role.get("reference")
  target = _target(problem, said[original["method"]], retrain)
  learned = original["forget_accuracy"] - target > health.LEAST_LEARNED
  able = _able(rows, hits, learned)
  alike = _alike(
    problem, [row for row in able if row["role"] == "method"], right
  )
  best = min(alike, key=lambda row: row["gradients"], default=None)
  if retrain and any(row is retrain for row in able):
    others = hits[best["method"]] if best else None
    if others is None or _is_better(hits[retrain["method"]], others):
      best, alike = retrain, [retrain]
  gives = (
    f"of the labels to forget the original gives "
    f"{original['forget_accuracy']:.0%}, "
    f"{'real retraining' if retrain else 'networks that never saw them'} "
    f"{target:.0%}"
  )
  if best is None:
    return Recommendation(original["method"], _stay(original, gives, learned))
  shares = [np.mean(hits[row["method"]]) for row in (best, original)]
  words = _use(best, gives, *shares, alike=len(alike))
  return Recommendation(best["method"], words)


def _able(
  rows: Sequence[Mapping[str, Any]],
  hits: Mapping[str, np.ndarray],
  learned: bool,
) -> list[Mapping[str, Any]]:
  """The rows of methods and of retraining that qualify, see `recommend`.

  By what they are right about on validation, bool[n]; `learned` says whether
  the original had learned what was to be forgotten.
  """
  (start,) = (hits[x["method"]] for x in rows if x["role"] == "original")
  tried = [row for row in rows if row["role"] in ("method", "reference")]

  def qualifies(row):
    ran = not (row["health"] or {}).get("not_run")
    if row["role"] == "method" and not (row["verdict"] == "ok" and ran):
      return False
    own = hits[row["method"]]
    if learned:
      return not _is_better(start, own)
    return _is_better(own, start, len(tried))

  return [row for row in tried if qualifies(row)]


def _alike(
  problem: Problem,
  able: Sequence[Mapping[str, Any]],
  right: Mapping[str, np.ndarray],
) -> list[Mapping[str, Any]]:
  """The rows as good as the best on validation, then at the mended labels.

  `right`, bool[N], says which galaxies a network is right about.
  """
  validation, review = problem.sets.validation, problem.review
  mended = review.corrected if review else problem.sets.forget
  for rows, label in (
    (validation, problem.true[validation]),
    (mended, np.zeros(len(mended), int)),  # accuracy: all of one class
  ):
    hits = {name: x[rows] for name, x in right.items()}
    able = _as_good(able, hits, label, problem.seed)
  return list(able)


def _as_good(
  rows: Sequence[Mapping[str, Any]],
  hits: Mapping[str, np.ndarray],
  label: np.ndarray,
  seed: int,
) -> list[Mapping[str, Any]]:
  """The rows that chance cannot tell from the best in balanced accuracy.

  Of galaxies of the classes i[n], where `hits`, bool[n], says which of them a
  network is right about: the 95% interval of the difference, resampled galaxy
  by galaxy, holds 0.
  """
  if len(rows) < 2 or not len(label):
    return list(rows)
  found = np.stack([hits[row["method"]] for row in rows])

  def balanced(chosen):
    return found[:, chosen] @ metrics.hit_weights(label[chosen])

  best = balanced(np.arange(len(label))).argmax()
  low, _ = resampled_interval(
    lambda chosen: (x := balanced(chosen))[best] - x, len(label), seed
  )
  # Up to rounding.
  return [row for row, x in zip(rows, low, strict=True) if x < 1e-9]


def _use(
  best: Mapping[str, Any],
  gives: str,
  right: float,
  right_before: float,
  *,
  alike: int,
) -> str:
  words = f"Use {best['method']}: {gives}"
  if best["role"] == "method":
    words += f", and it gives {best['forget_accuracy']:.0%}"
  words += (
    f"; on validation it is right for {right:.1%} (original {right_before:.1%})"
  )
  if best["role"] == "method" and "cost_vs_retrain" in best:
    cost = best["cost_vs_retrain"]
    words += f", for {cost:.0%} of the work of retraining"
  if alike > 1:
    words += f". Chance cannot tell {alike} methods apart: it is the cheapest"
  return f"{words}."


def _stay(original: Mapping[str, Any], gives: str, learned: bool) -> str:
  if learned:
    return (
      f"Use {original['method']} for now: {gives}, but no method forgot them "
      "and stayed as good on validation. Retrain, or try other methods."
    )
  return (
    f"Nothing was worth doing, use {original['method']}: {gives}, so it had "
    "hardly learned them, and no method was better on validation."
  )


def _target(
  problem: Problem, original: Prediction, retrain: Mapping[str, Any] | None
) -> float:
  """Forget accuracy of a network that never saw the labels."""
  if retrain:
    return retrain["forget_accuracy"]
  validation = original.probabilities[problem.sets.validation]
  return health.target_of(problem, validation)


def _is_better(hits: np.ndarray, others: np.ndarray, tried: int = 1) -> bool:
  """Whether bool[n] has more hits than chance explains, galaxy by galaxy.

  The chance of one that was `tried` among others.
  """
  gained, lost = int(np.sum(hits & ~others)), int(np.sum(others & ~hits))
  if gained <= lost:
    return False
  return scipy.stats.binomtest(gained, gained + lost).pvalue < _CHANCE / tried
