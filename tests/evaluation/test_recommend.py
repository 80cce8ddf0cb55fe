"""Which network is recommended, by validation alone, and in which words."""

from types import SimpleNamespace

import numpy as np
import pytest

from gzjax.evaluation.recommend import _as_good, _is_better, recommend
from gzjax.problem import Review

N = 60  # galaxies of validation, of two classes
M = 20  # galaxies to forget, behind them
TOLD = np.arange(N, N + M)  # what is right of those
NOBODY = np.arange(0)


def _problem(target=0.05):
  return SimpleNamespace(
    sets=SimpleNamespace(validation=np.arange(N), forget=np.arange(N, N + M)),
    true=np.arange(N + M) % 2,
    seed=0,
    target=SimpleNamespace(classes=("a", "b")),
    review=None if target is None else Review(target=target, corrected=TOLD),
  )


def _said(missed):
  """What a network says that is wrong about some galaxies."""
  predicted = np.arange(N + M) % 2
  predicted[missed] = 1 - predicted[missed]
  return SimpleNamespace(probabilities=0.8 * np.eye(2)[predicted] + 0.1)


def _row(
  method, role="method", forget=0.1, verdict="ok", cost=0.5, health=None
):
  return {
    "method": method, "role": role, "forget_accuracy": forget,
    "verdict": verdict, "cost_vs_retrain": cost, "gradients": 1000 * cost,
    "health": health,
  }  # fmt: skip


def _choose(missed, *rows, before=1.0, target=0.05):
  """The choice among rows; `missed`: galaxies by network."""
  said = {name: _said(rows_) for name, rows_ in missed.items()}
  said |= {"constant": _said(np.arange(0, N, 2))}
  first = [
    _row("constant", "baseline", 0.5, "collapsed"),
    _row("original", "original", before),
  ]
  return recommend(_problem(target), [*first, *rows], said)


def _exact(gained, lost):
  """McNemar's exact test: a fair coin, both sides."""
  from math import comb

  n = gained + lost
  tail = sum(comb(n, k) for k in range(max(gained, lost), n + 1))
  return min(2 * tail / 2**n, 1)


@pytest.mark.parametrize(
  ("gained", "lost", "better"),
  [
    (5, 0, False),  # 2/32 = .0625
    (6, 0, True),  # 2/64 = .031
    (8, 2, False),  # 112/1024 = .109
    (9, 1, True),  # 22/1024 = .021
    (0, 6, False),
    (3, 3, False),
    (0, 0, False),
  ],
)
def test_better_is_what_chance_does_not_explain(gained, lost, better):
  hits, others = np.ones(N, bool), np.ones(N, bool)
  others[:gained] = False
  hits[gained : gained + lost] = False
  assert _is_better(hits, others) == better
  if gained > lost:
    assert (_exact(gained, lost) < 0.05) == better


def test_a_method_that_was_not_run_is_none_to_use():
  idle = {"not_run": "there is nothing to unlearn"}
  found = _choose(
    {"original": range(4), "idle": range(4)},
    _row("idle", forget=1.0, cost=0.0, health=idle),
  )
  assert found.method == "original"


def test_the_best_on_validation_of_those_that_forgot():
  found = _choose(
    {"original": range(16), "bad": range(14), "best": range(4), "weak": NOBODY},
    _row("bad", forget=0.02, cost=0.1),
    _row("best", forget=0.12, cost=0.25),
    _row("weak", verdict="weak"),
  )
  assert found.method == "best"
  assert found.sentence == (
    "Use best: of the labels to forget the original gives 100%, networks that "
    "never saw them 5%, and it gives 12%; on validation it is right for 93.3% "
    "(original 73.3%), for 25% of the work of retraining."
  )


def test_the_cheapest_of_those_that_chance_cannot_tell_apart():
  missed = {"original": range(16), "dear": range(4), "cheap": range(1, 6)}
  found = _choose(missed, _row("dear", cost=0.8), _row("cheap", cost=0.2))
  assert found.method == "cheap"
  assert found.sentence.endswith(
    "for 20% of the work of retraining. Chance cannot tell 2 methods apart: it "
    "is the cheapest."
  )
  # Unless one of them is right about what was mended and the other is not.
  missed["cheap"] = [*range(1, 6), *TOLD[:10]]
  found = _choose(missed, _row("dear", cost=0.8), _row("cheap", cost=0.2))
  assert found.method == "dear"
  assert found.sentence.endswith("for 80% of the work of retraining.")


def test_balanced_accuracy_counts_the_rare_class():
  """Both miss ten of validation, one of them all of the rare class."""
  label = np.r_[np.zeros(50, int), np.ones(10, int)]
  hits = {"rare": np.r_[np.ones(50, bool), np.zeros(10, bool)]}
  hits["common"] = np.r_[np.zeros(10, bool), np.ones(50, bool)]
  rows = _row("rare"), _row("common")
  found = _as_good(rows, hits, label, seed=0)
  assert [row["method"] for row in found] == ["common"]


def test_a_method_that_was_hurt_is_none():
  found = _choose({"original": range(4), "hurt": range(20)}, _row("hurt"))
  assert found.method == "original"
  assert found.sentence == (
    "Use original for now: of the labels to forget the original gives 100%, "
    "networks that never saw them 5%, but no method forgot them and stayed as "
    "good on validation. Retrain, or try other methods."
  )


def test_no_method_forgot_them():
  found = _choose(
    {"original": range(4), "weak": range(2)}, _row("weak", verdict="weak")
  )
  assert found.method == "original"
  assert found.sentence.startswith("Use original for now")
  assert _choose({"original": range(4)}).method == "original"


def test_of_labels_that_were_hardly_learned_there_is_nothing_to_forget():
  missed = {"original": range(9), "same": range(7), "better": NOBODY}
  row = _row("same", forget=0.1)
  found = _choose(missed, row, before=0.14)
  assert found.method == "original"
  assert found.sentence == (
    "Nothing was worth doing, use original: of the labels to forget the "
    "original gives 14%, networks that never saw them 5%, so it had hardly "
    "learned them, and no method was better on validation."
  )
  # Unless it helps.
  found = _choose(missed, row, _row("better"), before=0.14)
  assert found.method == "better"
  # Of many methods one is the luckiest.
  missed["original"] = range(6)
  assert _choose(missed, _row("better"), before=0.14).method == "better"
  found = _choose(missed, row, _row("better"), before=0.14)
  assert found.method == "original"


def test_retraining_is_worth_it_where_it_is_better_still():
  missed = {"original": range(12), "cheap": range(8), "retrain": NOBODY}
  rows = _row("retrain", "reference", 0.2, "weak"), _row("cheap")
  found = _choose(missed, *rows)
  assert found.method == "retrain"
  assert found.sentence == (
    "Use retrain: of the labels to forget the original gives 100%, real "
    "retraining 20%; on validation it is right for 100.0% (original 80.0%)."
  )
  # What is as good for less is chosen.
  assert _choose({**missed, "cheap": range(4)}, *rows).method == "cheap"
  # Without a method that forgot, retraining it is.
  assert _choose(missed, rows[0]).method == "retrain"


def test_retraining_that_was_hurt_is_not_recommended():
  missed = {"original": range(4), "retrain": range(20)}
  row = _row("retrain", "reference", 0.05, "collapsed")
  assert _choose(missed, row).method == "original"


def test_retraining_sets_the_target():
  """Labels that retraining gives as often were not learned by heart."""
  missed = {"original": range(4), "cheap": range(4), "retrain": range(4)}
  rows = _row("retrain", "reference", 0.55), _row("cheap", forget=0.5)
  found = _choose(missed, *rows, before=0.6)
  assert found.sentence.startswith("Nothing was worth doing, use original")
  assert "real retraining 55%" in found.sentence


def test_without_a_review_the_target_is_that_of_the_accuracy():
  found = _choose({"original": range(6)}, target=None)
  assert "networks that never saw them 10%" in found.sentence


def test_a_network_that_says_no_number_is_right_about_nothing():
  broken = SimpleNamespace(probabilities=np.full((N + M, 2), np.nan))
  said = {"original": _said(range(4)), "broken": broken}
  rows = [_row("original", "original", 1.0), _row("broken")]
  assert recommend(_problem(), rows, said).method == "original"
