"""Reviewed tables are read back, added up, or refused in one clear line."""

import pandas as pd
import pytest

from gzjax.audit import review
from gzjax.errors import UserError

IDS = ("587722981742084144", "587722981742084145", "b", "c", "d", "e", "7")
CLASSES = ("smooth", "spiral", "NA")
SUSPECTS = pd.DataFrame(
  {"id_str": IDS, "given_label": ["smooth"] * 4 + ["spiral"] * 3}
)


def table(*rows, given=None):
  """A reviewed table of (id, verdict, correction, note), as read from disk."""
  columns = ["id_str", "verdict", "corrected_label", "note"]
  found = pd.DataFrame(
    [(*row, *[""] * (4 - len(row))) for row in rows], columns=columns, dtype=str
  )
  return found if given is None else found.assign(given_label=given)


def read(rows, classes=CLASSES):
  return review.read(rows, SUSPECTS, classes, "mine/reviewed.csv")


def test_only_rows_with_a_verdict_are_kept():
  found = read(
    table(
      (IDS[0], "wrong", "NA", "an arm"),
      (IDS[1], "", "", "looked at"),
      ("b", " Right ", "smooth"),
      (" c", "UNSURE", "", " a merger? "),
      ("d", "wrong"),
      given=["smooth"] * 4 + ["spiral "],
    )
  )
  assert found.to_numpy().tolist() == [
    [IDS[0], "wrong", "NA", "an arm"],
    ["b", "right", "", ""],
    ["c", "unsure", "", "a merger?"],
    ["d", "wrong", "", ""],
  ]
  assert list(found.columns) == list(review.COLUMNS)
  assert review.forget_ids(found) == [IDS[0], "d"]
  assert review.corrected(found) == {IDS[0]: "NA"}


def test_a_table_of_ids_alone_is_a_forget_list():
  found = read(pd.DataFrame({"id_str": ["b", IDS[0], "b"]}))
  assert found.to_numpy().tolist() == [
    ["b", "wrong", "", ""],
    [IDS[0], "wrong", "", ""],
  ]


def test_cells_need_not_be_text():
  rows = pd.DataFrame(
    {
      "id_str": [7, 587722981742084144],
      "verdict": ["wrong", None],
      "corrected_label": [float("nan")] * 2,
    }
  )
  assert read(rows).to_numpy().tolist() == [["7", "wrong", "", ""]]
  with_note = rows.assign(note=[None, "x"], rank=[1, 2])
  assert read(with_note).equals(read(rows))


def test_rows_that_say_the_same_twice_count_once():
  twice = table(
    ("b", "wrong", "spiral", "one"),
    ("b", "Wrong", "spiral", "two"),
    ("b", ""),
    ("c", "right", "smooth"),
    ("c", "right", ""),
  )
  found = read(twice)
  assert found["id_str"].tolist() == ["b", "c"]
  assert found["note"].tolist() == ["one", ""]


ROUNDED = "5.87722981742084E+17"

# What is wrong, the table, and all that the message must name.
REFUSED = {
  "no verdict": (table(("b", ""), ("c", "")), "no verdict: write wrong, right"),
  "no rows": (table(), "has no verdict"),
  "no rows in a list": (pd.DataFrame({"id_str": []}), "has no verdict"),
  "no id column": (
    table().rename(columns={"id_str": "id"}),
    "has no column 'id_str': give audit/suspects.csv",
  ),
  "no verdict column": (
    table(("b", "wrong")).drop(columns="verdict"),
    "has no column 'verdict'",
  ),
  "no column of corrections": (
    table(("b", "wrong")).drop(columns="corrected_label"),
    "has no column 'corrected_label'",
  ),
  "another run's": (
    table(("x", "wrong"), ("y", "")),
    "has no id of this run (its first is x): give the table that was made of "
    "this run's audit/suspects.csv, not another run's",
  ),
  "unknown ids": (
    table(("b", "wrong"), ("x", "wrong"), ("y", "")),
    "row 2 (id x): this run has audited no such id (2 such rows, also 3)",
  ),
  "ids of a spreadsheet": (
    table((ROUNDED, "wrong"), (ROUNDED, "right")),
    f"row 1 (id {ROUNDED}): the id was rounded, as spreadsheets do with long "
    "numbers (2 such rows, also 2): import the column id_str as text",
  ),
  "given labels of another run": (
    table(("b", "wrong"), ("d", "wrong"), given=["smooth", "smooth"]),
    "row 2 (id d): given_label is 'smooth', but 'spiral' in this run",
  ),
  "an unknown verdict": (
    table(*((i, "yes") for i in IDS)),
    f"row 1 (id {IDS[0]}): verdict is 'yes' (7 such rows, also 2, 3, 4, 5, "
    "...): write wrong, right or unsure, or nothing",
  ),
  "an unknown label": (
    table(("b", "right"), ("c", "wrong", "Spiral")),
    "row 2 (id c): corrected_label is 'Spiral': write one of the classes "
    "(smooth, spiral, NA), or nothing",
  ),
  "an essay for a label": (
    table(("b", "wrong", "s" * 99)),
    f"corrected_label is '{'s' * 40}...'",
  ),
  "a correction without a verdict": (
    table(("b", "", "spiral")),
    "row 1 (id b): corrected_label is 'spiral', but verdict is '': write wrong "
    "into verdict, or nothing into corrected_label",
  ),
  "a correction of what is right": (
    table(("b", "right", "spiral")),
    "corrected_label is 'spiral', but verdict is 'right'",
  ),
  "a correction of what is unsure": (
    table(("b", "unsure", "spiral")),
    "corrected_label is 'spiral', but verdict is 'unsure'",
  ),
  "corrected to what it is": (
    table(("b", "wrong", "smooth")),
    "row 1 (id b): verdict is 'wrong', but 'smooth' is the given label: "
    "correct it to another class or to nothing, or write right into verdict",
  ),
  "contradicting verdicts": (
    table(("b", "right"), ("c", ""), ("b", "unsure")),
    "row 3 (id b): it says 'unsure', but row 1 says 'right': leave one row",
  ),
  "contradicting corrections": (
    table(("b", "wrong", "spiral"), ("b", "wrong", "NA"), ("b", "wrong")),
    "row 2 (id b): it says 'wrong -> NA', but row 1 says 'wrong -> spiral' "
    "(2 such rows, also 3)",
  ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_table_is_refused_in_one_line(kind):
  rows, message = REFUSED[kind]
  with pytest.raises(UserError) as error:
    read(rows)
  text = str(error.value)
  assert text.startswith("mine/reviewed.csv")
  assert message in text
  assert text.endswith(".") and "\n" not in text


def test_a_message_names_few_of_many_classes():
  classes = [f"c{i}" for i in range(40)]
  with pytest.raises(UserError, match=r"\(c0, .*c9, \.\.\.\), or nothing"):
    read(table(("b", "wrong", "x")), classes)


def test_what_was_given_is_left_as_it_is():
  rows = table(("b", " Right ", "smooth"))
  before = rows.copy()
  read(rows)
  pd.testing.assert_frame_equal(rows, before)


def test_a_later_round_replaces_an_earlier_one():
  rounds = [
    read(table(("b", "wrong", "spiral"), ("c", "unsure"), ("d", "wrong"))),
    read(table(("c", "wrong", "NA", "now clear"), ("e", "right"))),
    read(table(("b", "right"))),
  ]
  state = review.merge(rounds)
  assert list(state.columns) == [*review.COLUMNS, "round"]
  assert dict(zip(state["id_str"], state["round"], strict=True)) == {
    "b": 3, "c": 2, "d": 1, "e": 2,
  }  # fmt: skip
  assert sorted(review.forget_ids(state)) == ["c", "d"]
  assert review.corrected(state) == {"c": "NA"}
  assert state.set_index("id_str")["verdict"]["b"] == "right"
  # As far as one had come before the last round.
  assert review.corrected(review.merge(rounds[:1])) == {"b": "spiral"}


def test_before_the_first_round_nothing_is_wrong():
  state = review.merge([])
  assert list(state.columns) == [*review.COLUMNS, "round"]
  assert review.forget_ids(state) == []
  assert review.corrected(state) == {}
