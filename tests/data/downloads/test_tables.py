"""Reading columns: exact ids, named rows, and files that are damaged."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from gzjax.data.downloads import tables
from gzjax.errors import UserError

VOTES = tables.Numbers(("bar-yes", "bar-no"))
COUNT = 12


def _csv(**columns):
  table = {
    "name": [f"g{i}" for i in range(COUNT)],
    "bar_YES": [str(i) for i in range(COUNT)],
    "bar_no": [f"{i}e-1" for i in range(COUNT)],
    "other": ["x"] * COUNT,
  }
  return pd.DataFrame({**table, **columns}).to_csv(index=False).encode()


def _read(data, name="t.csv", votes=VOTES):
  return tables.read_table(io.BytesIO(data), name, ["name"], {"votes": votes})


def _message(data, name="t.csv", votes=VOTES):
  with pytest.raises(UserError) as caught:
    _read(data, name, votes)
  assert "\n" not in str(caught.value)
  assert str(caught.value).startswith(name)
  return str(caught.value)


@pytest.fixture(autouse=True, params=[5, 1000])
def pieces(request, monkeypatch):
  """Tables of several pieces, and of one."""
  monkeypatch.setattr(tables, "_ROWS_AT_ONCE", request.param)


def test_columns_in_any_spelling_and_order():
  for data in (
    _csv(),
    b"\xef\xbb\xbf" + _csv(name=[f" g{i} " for i in range(12)]),
  ):
    found = _read(data)
    assert list(found["name"]) == [f"g{i}" for i in range(COUNT)]
    assert found["votes"].dtype == np.float32
    np.testing.assert_allclose(
      found["votes"], np.outer(np.arange(COUNT), [1, 0.1]), rtol=1e-6
    )


def test_parquet_is_read_like_csv(tmp_path):
  frame = pd.read_csv(io.BytesIO(_csv()))
  frame["name"] = 587722981741363294 + np.arange(COUNT)
  frame.to_parquet(tmp_path / "t.parquet")
  found = _read((tmp_path / "t.parquet").read_bytes(), "t.parquet")
  assert found["name"][1] == "587722981741363295"
  np.testing.assert_array_equal(found["votes"], _read(_csv())["votes"])
  frame["name"] = frame["name"].astype(float)
  frame.to_parquet(tmp_path / "t.parquet")
  data = (tmp_path / "t.parquet").read_bytes()
  assert "holds floats" in _message(data, "t.parquet")
  assert "cannot be read" in _message(data[:-100], "t.parquet")


@pytest.mark.parametrize("value", ["", "NaN", "-1", "x", "inf", "1 2"])
def test_rows_are_numbered_through_the_whole_table(value):
  cells = [str(i) for i in range(COUNT)]
  cells[7] = value
  message = _message(_csv(bar_YES=cells))
  assert f"row 8: column 'bar_YES' is {value!r}" in message
  assert "(1 such rows)" in message


@pytest.mark.parametrize("value", ["", "nan", " NaN "])
def test_cells_that_may_be_empty(value):
  cells = [str(i) for i in range(COUNT)]
  cells[7] = value
  for empty in (0.0, np.nan):
    votes = _read(_csv(bar_YES=cells), votes=VOTES._replace(empty=empty))
    wanted = [empty if i == 7 else i for i in range(COUNT)]
    np.testing.assert_array_equal(votes["votes"][:, 0], wanted)
  cells[8] = "x"
  message = _message(_csv(bar_YES=cells), votes=VOTES._replace(empty=0.0))
  assert "row 9" in message


def test_columns_that_may_be_missing():
  votes = tables.Numbers(("bar-yes", "none"), empty=np.nan, optional=True)
  found = _read(_csv(), votes=votes)["votes"]
  np.testing.assert_array_equal(found[:, 0], np.arange(COUNT))
  assert np.isnan(found[:, 1]).all()
  message = _message(_csv(), votes=votes._replace(optional=False))
  assert "no column 'none' (1 of 3 columns" in message


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"\xff\xfe\x00hello,\xff\n",
    b"name,bar_yes,bar_no\n" + b"a,1,2\n" * 7 + b'"a,1,2\n',
  ],
)
def test_what_is_no_table(data):
  message = _message(data)
  assert "cannot be read as a table" in message or "no column" in message


def test_a_header_alone():
  assert "no rows" in _message(b"name,bar_yes,bar_no\n")


def test_a_truncated_gzip():
  data = gzip.compress(_csv() + b"g,1,2,x\n" * 10_000)
  with (
    gzip.open(io.BytesIO(data[:-50])) as file,
    pytest.raises(UserError, match="cannot be read as a table"),
  ):
    tables.read_table(file, "t.csv.gz", ["name"], {})


@pytest.mark.parametrize("bad", ["100008.0", "5.877e+17", "-1", "a", "1 2"])
def test_ids_that_are_not_whole_numbers(bad):
  ids = np.asarray(["587722981741363294", bad, bad], object)
  tables.check_ids("t.csv", ids[:1])
  with pytest.raises(UserError) as caught:
    tables.check_ids("t.csv", ids)
  assert f"t.csv, row 2: the id is {bad!r}" in str(caught.value)
  assert "2 such rows" in str(caught.value)
