"""Predictions in parts: killed and taken up again, they are those of one go."""

import numpy as np
import pandas as pd
import pytest

from gzjax.data import unlabelled
from gzjax.data.galaxy_catalog import catalog as catalogs
from gzjax.errors import UserError
from gzjax.pipeline import predicted_parts
from tests.data.catalogs import write_catalog

COUNT, SIZE = 150, 8


@pytest.fixture
def catalog(tmp_path, monkeypatch):
  monkeypatch.setattr(predicted_parts, "_PART_GALAXIES", 64)
  path = write_catalog(tmp_path, COUNT)
  columns = catalogs.Columns()
  return catalogs.unlabelled(
    catalogs.read_rows(path, columns), path.parent, columns
  )


class Ask:
  """Means of the pixels; a power cut after so many parts."""

  def __init__(self, parts=10**9):
    self.left, self.asked = parts, []

  def __call__(self, ids, image):
    if not self.left:
      raise KeyboardInterrupt
    self.left -= 1
    self.asked += list(ids)
    assert image.dtype == np.uint8
    assert image.shape == (len(ids), SIZE, SIZE, 3)
    brightness = image.mean((1, 2, 3)).astype(np.float32)
    table = pd.DataFrame({"id_str": ids, "brightness": brightness})
    return {"one": table, "two": table.assign(brightness=-brightness)}


def _make(folder, catalog, ask, **made_from):
  return predicted_parts.make(
    folder,
    unlabelled.of_catalog(catalog),
    ("one", "two"),
    ask,
    size=SIZE,
    crop=0,
    made_from=made_from,
  )


def _joined(tmp_path, parts, name="one"):
  tables = []
  for ending in ("parquet", "csv"):
    path = tmp_path / f"joined.{ending}"
    predicted_parts.join(parts, name, path)
    read = pd.read_parquet if ending == "parquet" else pd.read_csv
    tables.append(read(path))
  tables[1]["id_str"] = tables[1]["id_str"].astype(str)
  pd.testing.assert_frame_equal(*tables, check_dtype=False, rtol=1e-6)
  return tables[0]


def test_killed_twice_is_as_unbroken_and_nothing_is_asked_twice(
  tmp_path, catalog
):
  whole = _joined(tmp_path, _make(tmp_path / "whole", catalog, Ask()))
  assert list(whole["id_str"]) == list(catalog.frame["id_str"])
  asked = []
  for ask in (Ask(1), Ask(1)):
    with pytest.raises(KeyboardInterrupt):
      _make(tmp_path / "parts", catalog, ask)
    asked += ask.asked
  last = Ask()
  parts = _make(tmp_path / "parts", catalog, last)
  assert len(parts.starts) == 3  # of 64, 64 and 22
  assert asked + last.asked == list(whole["id_str"])
  again = _joined(tmp_path, parts)
  pd.testing.assert_frame_equal(again, whole)
  two = _joined(tmp_path, parts, "two")
  np.testing.assert_array_equal(two["brightness"], -whole["brightness"])


def test_parts_of_something_else_are_not_taken(tmp_path, catalog):
  _make(tmp_path / "parts", catalog, Ask(), network="a")
  same = Ask()
  _make(tmp_path / "parts", catalog, same, network="a")
  assert not same.asked
  other = Ask()
  _make(tmp_path / "parts", catalog, other, network="b")
  assert len(other.asked) == COUNT


def test_all_bad_images_are_named_and_what_was_done_stays(tmp_path, catalog):
  good = Ask()
  for row in (100, 140):
    (tmp_path / "images" / f"{row}.png").write_bytes(b"no image")
  with pytest.raises(UserError, match="2 of 150 images cannot be used") as bad:
    _make(tmp_path / "parts", catalog, good)
  assert "row 101 (id 1100)" in str(bad.value)
  assert len(good.asked) == 64
