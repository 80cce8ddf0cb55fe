"""What a person said of the suspects: read back, checked, added up."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax.errors import UserError

WRONG, RIGHT, UNSURE = VERDICTS = ("wrong", "right", "unsure")
COLUMNS = ("id_str", "verdict", "corrected_label", "note")
# What a message shows.
_MOST_ROWS = 5
_MOST_CLASSES = 10
_LONGEST_CELL = 40  # characters


def read(
  table: pd.DataFrame,
  suspects: pd.DataFrame,
  classes: Sequence[str],
  name: str,
) -> pd.DataFrame:
  """Checks a reviewed table and takes out of it what has a verdict.

  Args:
    table: the suspects with verdicts, all of it text. With `id_str` as its only
      column it is a forget list: all of these labels are wrong.
    suspects: id_str and given_label of all that were audited.
    classes: what a label may be corrected to.
    name: of the table, for messages.

  Returns:
    id_str, verdict (wrong, right or unsure), corrected_label (of wrong ones
    only) and note, "" where empty; a row for each galaxy with a verdict.

  Raises:
    UserError: naming the table, the first bad row and the mend.
  """
  if list(table.columns) == ["id_str"]:
    table = table.assign(verdict=WRONG, corrected_label="")
  for column in COLUMNS[:3]:
    if column not in table.columns:
      raise UserError(
        f"{name} has no column {column!r}: give audit/suspects.csv with your "
        "verdicts in it, or a list with id_str as its only column."
      )
  rows = _Rows(name, _text(table))
  given = _check_ids(rows, suspects)
  _check_verdicts(rows)
  _check_corrections(rows, given, classes)
  found = rows.table.loc[rows.table["verdict"] != "", list(COLUMNS)]
  if found.empty:
    raise UserError(
      f"{name} has no verdict: write wrong, right or unsure into the column "
      "verdict of each row that you have looked at."
    )
  label = found["corrected_label"].where(found["verdict"] == WRONG, "")
  found = found.assign(corrected_label=label)
  _check_duplicates(rows, found)
  return found.drop_duplicates("id_str").reset_index(drop=True)


def merge(rounds: Sequence[pd.DataFrame]) -> pd.DataFrame:
  """All rounds of review together; a later verdict replaces an earlier one.

  Args:
    rounds: as `read` returns them, the first one first.

  Returns:
    The columns of `read` and `round`, counted from 1: the last one in which the
    galaxy had a verdict. A row for each galaxy.
  """
  numbered = [found.assign(round=i) for i, found in enumerate(rounds, 1)]
  if not numbered:
    return pd.DataFrame(columns=[*COLUMNS, "round"])
  found = pd.concat(numbered)
  return found.drop_duplicates("id_str", keep="last").reset_index(drop=True)


def forget_ids(state: pd.DataFrame) -> list[str]:
  """The ids with a wrong label, by what `read` or `merge` returned."""
  return state.loc[state["verdict"] == WRONG, "id_str"].tolist()


def corrected(state: pd.DataFrame) -> dict[str, str]:
  """What wrong labels should be, by id, where it is known."""
  known = state[state["corrected_label"] != ""]
  return dict(zip(known["id_str"], known["corrected_label"], strict=True))


class _Rows(NamedTuple):
  """A reviewed table whose rows can be named in a message."""

  name: str
  table: pd.DataFrame  # text, rows counted from 0

  def refuse(
    self, bad: pd.Series, what: Callable[[int], str], mend: str
  ) -> None:
    """Raises UserError if a row is `bad`, bool[N].

    `what` says what is wrong with a row, counted from 0, and `mend` what to do.
    """
    at = np.flatnonzero(bad)
    if not len(at):
      return
    first, *others = (str(i + 1) for i in at[:_MOST_ROWS])
    others += ["..."] if len(at) > _MOST_ROWS else []
    count = (
      f" ({len(at)} such rows, also {', '.join(others)})" if others else ""
    )
    raise UserError(
      f"{self.name}, row {first} (id {self.cell('id_str', at[0])}): "
      f"{what(at[0])}{count}: {mend}."
    )

  def cell(self, column: str, i: int) -> str:
    """The content of a cell for a message."""
    text = self.table[column].iloc[i]
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}..."


def _text(table: pd.DataFrame) -> pd.DataFrame:
  """The columns of a review without outer spaces, "" where empty."""
  names = [*COLUMNS, "given_label"]
  text = table.reindex(columns=names, fill_value="").reset_index(drop=True)
  text = text.astype(str).mask(text.isna(), "")
  for name in names:
    text[name] = text[name].str.strip()
  text["verdict"] = text["verdict"].str.lower()
  return text


def _check_ids(rows: _Rows, suspects: pd.DataFrame) -> pd.Series:
  """The given labels of the rows in this run."""
  given = suspects.set_index("id_str")["given_label"]
  ids = rows.table["id_str"]
  known = ids.isin(given.index)
  rows.refuse(
    ~known & ids.str.fullmatch(r"\d[.,]?\d*[eE]\+?\d+"),
    lambda i: "the id was rounded, as spreadsheets do with long numbers",
    "import the column id_str as text",
  )
  if len(ids) and not known.any():
    raise UserError(
      f"{rows.name} has no id of this run (its first is "
      f"{rows.cell('id_str', 0)}): give the table that was made of this run's "
      "audit/suspects.csv, not another run's."
    )
  rows.refuse(
    ~known,
    lambda i: "this run has audited no such id",
    "mend the id or take the row out",
  )
  given = given.loc[ids].reset_index(drop=True)
  said = rows.table["given_label"]
  rows.refuse(
    (said != "") & (said != given),
    lambda i: (
      f"given_label is {rows.cell('given_label', i)!r}, but {given[i]!r} in "
      "this run"
    ),
    "write corrections into corrected_label, and give this run's table",
  )
  return given


def _check_verdicts(rows: _Rows) -> None:
  rows.refuse(
    ~rows.table["verdict"].isin(["", *VERDICTS]),
    lambda i: f"verdict is {rows.cell('verdict', i)!r}",
    "write wrong, right or unsure, or nothing",
  )


def _check_corrections(
  rows: _Rows, given: pd.Series, classes: Sequence[str]
) -> None:
  label, verdict = rows.table["corrected_label"], rows.table["verdict"]
  names = ", ".join(classes[:_MOST_CLASSES])
  names += ", ..." if len(classes) > _MOST_CLASSES else ""
  rows.refuse(
    ~label.isin(["", *classes]),
    lambda i: f"corrected_label is {rows.cell('corrected_label', i)!r}",
    f"write one of the classes ({names}), or nothing",
  )
  confirmed = (verdict == RIGHT) & (label == given)
  rows.refuse(
    (label != "") & (verdict != WRONG) & ~confirmed,
    lambda i: f"corrected_label is {label[i]!r}, but verdict is {verdict[i]!r}",
    "write wrong into verdict, or nothing into corrected_label",
  )
  rows.refuse(
    (verdict == WRONG) & (label == given),
    lambda i: f"verdict is 'wrong', but {label[i]!r} is the given label",
    "correct it to another class or to nothing, or write right into verdict",
  )


def _check_duplicates(rows: _Rows, found: pd.DataFrame) -> None:
  """Refuses galaxies of which two rows say different things."""
  label = found["corrected_label"]
  said = found["verdict"] + (" -> " + label).where(label != "", "")
  row = pd.Series(found.index, found.index)
  first = row.groupby(found["id_str"]).transform("first")
  bad = pd.Series(said.to_numpy() != said[first].to_numpy(), found.index)
  rows.refuse(
    bad.reindex(rows.table.index, fill_value=False),
    lambda i: (
      f"it says {said[i]!r}, but row {first[i] + 1} says {said[first[i]]!r}"
    ),
    "leave one row for each galaxy",
  )
