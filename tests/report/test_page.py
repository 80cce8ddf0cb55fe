"""Missing cells of tables never reach the reader as "nan"."""

import numpy as np
import pandas as pd
import pytest

from gzjax.pipeline.workdir import Workdir
from gzjax.report import answer_section, cells, page, systems_page

MISSING = [None, np.nan, pd.NA]


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_cell_is_replaced_and_others_are_not(missing):
  assert cells.or_else(missing, "test") == "test"
  assert cells.or_else("", "test") == "test"
  assert cells.or_else("forget", "test") == "forget"
  assert cells.number(missing, "%.2f") == "not finite"
  assert cells.number(0.0, "%.2f") == "0.00"
  assert systems_page.cell("four_accuracy", missing) == ""


def _write_predictions(folder, **predicted):
  (folder / "evaluate").mkdir()
  for name, labels in predicted.items():
    pd.DataFrame({"predicted": labels}).to_parquet(
      folder / "evaluate" / f"{name}.parquet"
    )


def test_galaxies_that_changed_are_named_by_set_or_split(tmp_path):
  """A label is None where the network says no number; pandas makes it NaN."""
  split = pd.DataFrame(
    {
      "id_str": ["a", "b", "c", "d"],
      "split": ["test", "train", "test", "train"],
      "set": [None, "forget", None, "retain"],
      "flipped": [False, True, False, False],
      "true_label": ["x", "x", "y", "y"],
      "train_label": ["x", "y", "y", "y"],
    }
  )
  split.to_parquet(tmp_path / "split.parquet")
  _write_predictions(
    tmp_path, original=["x", "y", None, "y"], noisy=["y", "x", "x", None]
  )
  found = page._changed(
    Workdir(tmp_path),
    pd.read_parquet(tmp_path / "split.parquet"),
    np.zeros((4, 2, 2, 3), np.uint8),
    "noisy",
    4,
  )
  assert [(card.id_str, card.lines[0], card.lines[-1]) for card in found] == [
    ("b", "y → x", "forget"),
    ("a", "x → y", "test"),
    ("c", "not finite → x", "test"),
    ("d", "y → not finite", "retain"),
  ]


def test_a_class_that_no_galaxy_has_counts_none():
  split = pd.DataFrame(
    {
      "split": ["train", "train", "test"],
      "true_label": ["x", "y", "x"],
      "flipped": [True, False, False],
    }
  )
  counts = page._counts(split, ["x", "y", "z"])
  assert counts.loc["all"].tolist() == [2, 1, 0, 3, 1]
  assert counts.loc["validation"].tolist() == [0, 0, 0, 0, 0]


def test_tables_leave_missing_numbers_out():
  text = answer_section.plain_table(pd.DataFrame({"f1": [0.5, np.nan]}))
  assert "0.500" in text
  assert "nan" not in text.lower()


@pytest.mark.fault("A12")
def test_the_filter_of_the_templates_knows_nan():
  number = page.template("page.html.jinja").environment.filters["number"]
  assert number(np.nan, "%.3f") == "not finite"
