"""The table of the report: what it shows first, what it marks."""

from gzjax.report import board
from tests.report import runs


def _rows(**changes):
  return [runs.row(name, **changes.get(name, {})) for name in runs.NAMES]


def _column(table, name):
  place = [x.name for x in table.columns].index(name)
  return {line[0].text: line[place] for line in (*table.apart, *table.rows)}


def test_six_columns_are_shown_and_all_others_on_demand():
  table = board.make(_rows())
  shown = [x.name for x in table.columns if not x.is_more]
  assert shown == [
    *("method", "test_balanced_accuracy", "forget_accuracy"),
    *("corrected_accuracy", "cost_vs_retrain", "verdict"),
  ]
  assert [x.name for x in table.columns[:6]] == shown
  more = [x.name for x in table.columns if x.is_more]
  assert {"gap_to_retrain", "relearn_steps", "gradients"} <= {*more}
  # Of which nothing is known.
  assert "tug_of_war" not in more
  assert all(x.meaning for x in table.columns)


def test_what_methods_are_held_to_stands_apart():
  table = board.make(_rows())
  assert [line[0].text for line in table.apart] == [
    *("constant", "original", "retrain")
  ]
  assert [line[0].text for line in table.rows] == list(runs.METHODS)


def test_the_best_of_the_methods_that_are_ok_is_marked():
  table = board.make(_rows(npo={"corrected_accuracy": 0.99}))
  found = {
    name: [who for who, x in _column(table, name).items() if x.css == "best"]
    for name in ("corrected_accuracy", "cost_vs_retrain", "forget_accuracy")
  }
  # npo is weak and noisy collapsed, better though they are in parts.
  assert found == {
    "corrected_accuracy": ["scrub"],
    "cost_vs_retrain": ["scrub"],
    "forget_accuracy": ["scrub"],
  }


def test_what_should_be_as_retraining_has_it_is_best_where_it_is_nearest():
  rows = _rows(
    retrain={"forget_accuracy": 0.1},
    scrub={"forget_accuracy": 0.0},
    finetune={"forget_accuracy": 0.12},
  )
  cells = _column(board.make(rows), "forget_accuracy")
  assert cells["finetune"].css == "best"
  assert cells["scrub"].css == ""


def test_nothing_is_marked_where_there_is_nothing_to_choose():
  rows = [row for row in _rows() if row["method"] != "finetune"]
  table = board.make(rows)
  assert not [x for line in table.rows for x in line if x.css == "best"]


def test_cells_sort_by_their_number_and_say_their_reason():
  cells = _column(board.make(_rows()), "relearn_steps")
  assert (cells["scrub"].text, cells["scrub"].value) == ("12", 12)
  assert (cells["npo"].text, cells["npo"].value) == ("> 40", 40)
  verdict = _column(board.make(_rows()), "verdict")["npo"]
  assert (verdict.css, verdict.title) == ("weak", "npo <does> so")


def test_seeds_have_their_means_and_each_of_them():
  rows = [
    row
    for name in runs.NAMES
    for row in (
      runs.row(name),
      runs.row(name, seed=1, corrected_accuracy=0.5, verdict="weak"),
    )
  ]
  means, each = board.of_seeds(rows)
  cell = _column(means, "corrected_accuracy")["scrub"]
  assert "±" in cell.text
  assert cell.value == (0.97 + 0.5) / 2
  assert _column(means, "verdict")["scrub"].text == "1 ok, 1 weak"
  assert len(each.rows) == 2 * len(runs.METHODS)
  assert [x.name for x in each.columns[:2]] == ["method", "seed"]
  assert not each.columns[1].is_more
  assert not [x for line in each.rows for x in line if x.css == "best"]
