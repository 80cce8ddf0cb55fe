"""Bad catalogues: one line that names the culprit and the mend."""

import numpy as np
import pandas as pd
import pytest

from gzjax.data.galaxy_catalog.catalog import Columns, read_catalog
from gzjax.errors import UserError
from tests.data.catalogs import CLASSES, write_catalog


def _message(path, columns=None, images=None):
  with pytest.raises(UserError) as caught:
    read_catalog(path, images or path.parent, columns or Columns(), CLASSES)
  message = str(caught.value)
  assert "\n" not in message
  assert len(message) < 700
  return message


def _edit(path, row, column, value):
  table = pd.read_csv(path, dtype=str)
  table.loc[row, column] = value
  table.to_csv(path, index=False)


def test_missing_catalogue(tmp_path):
  message = _message(tmp_path / "nowhere.csv")
  assert "nowhere.csv" in message
  assert "--config.data.catalog" in message


def test_a_catalogue_that_is_no_table(tmp_path):
  path = tmp_path / "c.parquet"
  path.write_bytes(b"not parquet")
  assert "c.parquet cannot be read" in _message(path)


@pytest.mark.parametrize("text", ["", "id_str,file_loc,label\n"])
def test_empty_catalogue(tmp_path, text):
  path = tmp_path / "c.csv"
  path.write_text(text)
  message = _message(path)
  assert "c.csv" in message
  assert "no rows" in message or "cannot be read" in message


@pytest.mark.parametrize(
  ("column", "flag"),
  [
    ("id_str", "id_column"),
    ("file_loc", "file_column"),
    ("label", "label_column"),
  ],
)
def test_missing_column(tmp_path, column, flag):
  path = write_catalog(tmp_path, 6)
  pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
  message = _message(path)
  assert f"no column {column!r}" in message
  assert f"--config.data.{flag}=" in message


def test_missing_image(tmp_path):
  path = write_catalog(tmp_path, 6)
  (tmp_path / "images" / "2.png").unlink()
  message = _message(path)
  assert "row 3 (id 1002)" in message
  assert "images/2.png" in message


def test_missing_image_folder(tmp_path):
  path = write_catalog(tmp_path, 6)
  message = _message(path, images=tmp_path / "elsewhere")
  assert "elsewhere" in message
  assert "--config.data.images" in message


def test_duplicate_ids(tmp_path):
  path = write_catalog(tmp_path, 6)
  _edit(path, 4, "id_str", "1001")
  assert "row 5 (id 1001) repeats the id of row 2" in _message(path)


def test_empty_id(tmp_path):
  path = write_catalog(tmp_path, 6)
  _edit(path, 4, "id_str", "")
  assert "row 5: column 'id_str' is empty" in _message(path)


def test_float_ids_in_parquet(tmp_path):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path)
  table["id_str"] = table["id_str"].astype(float)
  table.to_parquet(tmp_path / "c.parquet")
  assert "holds floats" in _message(tmp_path / "c.parquet")


def test_label_outside_the_classes(tmp_path):
  path = write_catalog(tmp_path, 6)
  _edit(path, 1, "label", "starfish")
  message = _message(path)
  assert "row 2 (id 1001): label 'starfish'" in message
  assert "--config.data.classes" in message


@pytest.mark.parametrize("value", [None, "nan", "NaN", " "])
def test_label_that_is_nan(tmp_path, value):
  path = write_catalog(tmp_path, 6)
  _edit(path, 1, "label", value)
  assert "row 2 (id 1001): column 'label' is empty" in _message(path)


@pytest.mark.parametrize("value", ["many", "-1", "nan", ""])
def test_votes_that_are_no_numbers(tmp_path, value):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path, dtype=str)
  for name in CLASSES:
    table[f"p_{name}"] = "3"
  table.loc[2, "p_featured"] = value
  table.to_csv(path, index=False)
  columns = Columns(votes=tuple(f"p_{name}" for name in CLASSES))
  message = _message(path, columns)
  assert "row 3 (id 1002): column 'p_featured'" in message


def test_as_many_vote_columns_as_classes(tmp_path):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path, dtype=str).assign(a="1", b="2")
  table.to_csv(path, index=False)
  message = _message(path, Columns(votes=("a", "b")))
  assert "2 columns for 3 classes" in message


def test_a_good_catalogue_is_read(tmp_path):
  path = write_catalog(tmp_path, 6)
  frame = read_catalog(path, path.parent, Columns(), CLASSES).frame
  np.testing.assert_array_equal(frame["label"], [0, 1, 2, 0, 1, 2])
