"""The scoreboard: columns as agreed, and what its numbers mean."""

import io

import numpy as np
import pytest
from rich.console import Console

from gzjax.evaluation import scoreboard
from gzjax.problem import Review
from gzjax.unlearning import METHODS

AGREED = [
  "method",
  "seed",
  "test_accuracy",
  "test_balanced_accuracy",
  "test_macro_f1",
  "retain_accuracy",
  "forget_accuracy",
  "corrected_accuracy",
  "attack_auc",
  "js_to_retrain",
  "gap_to_retrain",
  "wall_seconds",
  "cost_vs_retrain",
  "verdict",
]
MORE = [
  "renewed_forget_accuracy",
  "renewed_corrected_accuracy",
  "gradients",
  "compile_seconds",
  "probe_forget_accuracy",
]

TRUE = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
TRAIN = np.array([0, 1, 2, 0, 2, 0, 0, 1, 2, 0])  # rows 4 and 5 are wrong
GALAXIES = scoreboard.Galaxies(
  true_label=TRUE,
  train_label=TRAIN,
  test=np.array([6, 7, 8, 9]),
  retain=np.array([0, 1, 2, 3]),
  forget=np.array([4, 5]),
  known=np.array([4]),
  unseen=np.array([6, 7]),
  unseen_label=np.array([1, 2]),
)


def _certain(label):
  return 0.97 * np.eye(3)[label] + 0.01


def test_columns_are_the_agreed_ones():
  assert list(scoreboard.COLUMNS) == AGREED
  row = dict.fromkeys(AGREED, 0.5)
  assert list(scoreboard.to_frame([row]).columns) == [*AGREED, *MORE]


def test_a_network_that_memorised_its_labels():
  row = scoreboard.score_one(_certain(TRAIN), GALAXIES)
  assert row["test_accuracy"] == row["retain_accuracy"] == 1
  assert row["forget_accuracy"] == 1
  assert row["corrected_accuracy"] == 0
  assert row["attack_auc"] == 1


def test_a_network_that_knows_the_truth():
  row = scoreboard.score_one(_certain(TRUE), GALAXIES)
  assert row["forget_accuracy"] == 0
  assert row["corrected_accuracy"] == 1
  assert row["attack_auc"] == 0.5


def test_nan_predictions_are_right_about_nothing():
  row = scoreboard.score_one(np.full((10, 3), np.nan), GALAXIES)
  for name in scoreboard.COLUMNS[2:8]:
    assert row[name] == 0, name
  assert row["attack_auc"] == 0.5


def test_distances_to_retrain():
  one, two = _certain(TRUE), _certain(TRAIN)
  same = scoreboard.distance_to_retrain(one, one, GALAXIES)
  assert same["js_to_retrain"] == pytest.approx(0, abs=1e-12)
  other = scoreboard.distance_to_retrain(two, one, GALAXIES)
  assert other["js_to_retrain_test"] == pytest.approx(0, abs=1e-12)
  assert 0 < other["js_to_retrain_forget"] <= np.log(2)
  a, b = (scoreboard.score_one(p, GALAXIES) for p in (one, two))
  # forget accuracy differs by 1, the attack by 0.5, the other two by 0.
  assert scoreboard.gap_to_retrain(b, a) == pytest.approx(1.5 / 4)


def test_more_numbers_of_a_row():
  guess = np.where(np.arange(10) == 5, TRAIN, TRUE)  # row 4 is corrected
  row = scoreboard.score_one(_certain(guess), GALAXIES)
  assert row["corrected_accuracy"] == 0.5
  assert row["corrected_accuracy_known"] == 1
  assert row["corrected_accuracy_unknown"] == 0
  assert row["recalls"] == [1, 1, 1]
  assert len(row["intervals"]["recalls"]) == 3
  assert row["intervals"]["recalls"][1][1] == 1
  assert 0 < row["intervals"]["recalls"][1][0] < 1
  assert 0 <= row["attack_accuracy"] <= 1


def _seed(method, seed, accuracy, verdict="ok"):
  row = dict.fromkeys(scoreboard.COLUMNS, accuracy)
  return row | {"method": method, "seed": seed, "verdict": verdict}


def test_summary_is_the_mean_over_seeds_with_its_interval():
  rows = [_seed("a", s, x) for s, x in enumerate((0.8, 0.9, 1.0))]
  rows += [_seed("b", 0, 0.5), _seed("b", 1, 0.5, "weak")]
  one, two = scoreboard.summary(rows)
  assert (one["method"], one["seed"], one["verdict"]) == ("a", 3, "ok")
  mean, low, high = one["corrected_accuracy"]
  assert mean == pytest.approx(0.9)
  # t = 4.303 with two degrees of freedom, standard error 0.1 / sqrt(3).
  assert high - mean == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
  assert mean - low == pytest.approx(high - mean)
  assert two["verdict"] == "1 ok, 1 weak"
  cell = scoreboard.summary_cell
  assert cell("corrected_accuracy", (0.9, 0.8, 1.0)) == "0.900 ±0.100"
  assert cell("corrected_accuracy", (0.9, np.nan, np.nan)) == "0.900"
  assert cell("gap_to_retrain", None) == ""


def test_summary_table_shows_every_method():
  console = Console(file=io.StringIO(), width=180)
  scoreboard.show_summary([_seed("mine", 0, 0.5)], console)
  assert "mine" in console.file.getvalue()


def _rows(kept, reference=None):
  row = scoreboard.score_one(_certain(TRUE), GALAXIES)
  rows = [{"method": "original", "role": "original", **row}]
  rows[0]["forget_accuracy"] = kept
  if reference is not None:
    rows.append({"method": "retrain", "role": "reference"})
    rows[1]["forget_accuracy"] = reference
  return rows


@pytest.mark.parametrize(
  ("rows", "words"),
  [
    (_rows(0.9, 0.04), "90% of the wrong labels, real retraining 4%"),
    (_rows(0.06, 0.04), "never learned its wrong labels"),
    (_rows(0.3, 0.04), "hardly learned"),
    (_rows(0.9), "No retraining"),
  ],
)
def test_footer_says_whether_there_was_something_to_unlearn(rows, words):
  assert words in " ".join(scoreboard.footer(rows))


def test_table_shows_every_row_and_leaves_gaps_empty():
  (row,) = _rows(0.9)
  console = Console(file=io.StringIO(), width=160)
  scoreboard.show([row], console)
  text = console.file.getvalue()
  assert "original" in text
  assert "nan" not in text
  assert "No retraining" in text


@pytest.mark.parametrize("width", [80, 120])
def test_six_columns_are_whole_on_a_terminal(width):
  longest = max(METHODS, key=len)
  (row,) = _rows(0.9)
  rows = [
    {**row, "method": longest, "verdict": "non-finite", "cost_vs_retrain": 0.1},
    {**row, "method": "original", "verdict": "ok", "cost_vs_retrain": 1.0},
  ]
  console = Console(file=io.StringIO(), width=width, force_terminal=True)
  scoreboard.show(rows, console)
  text = console.file.getvalue()
  assert "…" not in text
  for word in (longest, "non-finite", "balanced", "corrected", "0.900"):
    assert word in text
  assert "\x1b[31mnon-finite" in text
  assert "\x1b[32mok" in text
  assert scoreboard.terminal_columns(rows) == (
    "method",
    "test_balanced_accuracy",
    "forget_accuracy",
    "corrected_accuracy",
    "cost_vs_retrain",
    "verdict",
  )


def test_a_terminal_shows_what_votes_and_a_review_tell():
  (row,) = _rows(0.9)
  row |= {"test_rmse": 0.1, "forget_rmse": 0.2}
  assert "corrected_rmse" in scoreboard.terminal_columns([row])
  row["reviewed_accuracy"] = 0.5
  names = scoreboard.terminal_columns([row])
  assert names[1:4] == ("test_rmse", "forget_rmse", "reviewed_accuracy")


def test_of_a_review_there_is_only_what_it_knows():
  review = Review(corrected=np.array([4]), confirmed=np.array([7, 9]))
  row = scoreboard.score_one(
    _certain(TRAIN), GALAXIES._replace(true_label=TRAIN, review=review)
  )
  assert not [name for name in row if name.startswith("corrected")]
  assert row["forget_accuracy"] == 1
  assert row["reviewed_accuracy"] == row["confirmed_accuracy"] == 1
  other = scoreboard.score_one(
    _certain(TRUE), GALAXIES._replace(true_label=TRUE, review=review)
  )
  assert other["reviewed_accuracy"] == 1
  wrong = scoreboard.score_one(
    _certain(TRAIN), GALAXIES._replace(true_label=TRUE, review=review)
  )
  assert wrong["reviewed_accuracy"] == 0
  rows = [{"method": "m", "seed": 0, **row}]
  names = scoreboard.to_frame(rows).columns
  assert names[-2:].tolist() == ["reviewed_accuracy", "confirmed_accuracy"]
  assert "corrected_accuracy" not in names
  nothing = GALAXIES._replace(review=Review())
  row = scoreboard.score_one(_certain(TRAIN), nothing)
  assert np.isnan(row["confirmed_accuracy"])


def test_a_gap_without_an_attack_is_that_of_the_others():
  row = dict.fromkeys(scoreboard._GAP, 0.5)
  retrain = {**dict.fromkeys(scoreboard._GAP, 0.7), "forget_accuracy": 0.1}
  found = scoreboard.gap_to_retrain(row, retrain)
  assert found == pytest.approx((0.2 * 3 + 0.4) / 4)
  row["attack_auc"] = float("nan")
  found = scoreboard.gap_to_retrain(row, retrain)
  assert found == pytest.approx((0.2 * 2 + 0.4) / 3)
