"""Tables as people have them: their separators, encodings and mistakes."""

import gzip
import os

from astropy.table import Table
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from gzjax.data.galaxy_catalog import tables
from gzjax.errors import UserError

TABLE = pd.DataFrame(
  {
    "id_str": ["007", "587722981741363294", "NA"],
    "label": ["bläuliche Scheibe", "smooth, round", "a;b|c"],
    "note": ["", "é", "'"],
  }
)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_as_it_was_written(tmp_path, name, separator, encoding):
  path = tmp_path / name
  text = TABLE.to_csv(index=False, sep=separator)
  data = text.encode(encoding)
  path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
  pd.testing.assert_frame_equal(tables.read_table(path), TABLE)


_ECSV = """\
# %ECSV 1.0
# ---
{delimiter}# datatype:
# - {{name: id_str, datatype: int64}}
# - {{name: label, datatype: string}}
# - {{name: ra, unit: deg, datatype: float64}}
# meta: !!omap
# - {{made: 'by hand, at night'}}
# schema: astropy-2.0
"""


@pytest.mark.parametrize(
  ("before", "separator"),
  [
    (_ECSV.format(delimiter=""), " "),
    (_ECSV.format(delimiter="# delimiter: ','\n"), ","),
    ("#Table1\n", ","),
    ("# made by me\n# on Monday, at night\n\n", ";"),
    ("#", ","),
    ("# of 2021\n# ", "\t"),
    ("\n\n", ","),
  ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["t.csv", "t.ecsv", "t.csv.gz"])
def test_lines_before_the_names(tmp_path, name, encoding, before, separator):
  rows = [
    ["id_str", "label", "ra"],
    ["007", '"smooth, round"', "1.5"],
    ["587722981741363294", '""', "2"],
  ]
  text = before + "".join(separator.join(row) + "\n" for row in rows)
  data, path = text.encode(encoding), tmp_path / name
  path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
  found = tables.read_table(path)
  assert [*found] == rows[0]
  assert found.to_numpy().tolist() == [
    ["007", "smooth, round", "1.5"],
    ["587722981741363294", "", "2"],
  ]


def test_ecsv_as_astropy_writes_it(tmp_path):
  path = tmp_path / "t.ecsv"
  known = {"id_str": np.array([587722981741363294, 7]), "label": ["a b", "c"]}
  Table(known, meta={"by": "me, today"}).write(path)
  assert tables.is_table(path)
  found = tables.read_table(path)
  assert found["id_str"].tolist() == ["587722981741363294", "7"]
  assert found["label"].tolist() == ["a b", "c"]


@pytest.mark.parametrize(
  "text",
  [
    "# id_str label ra\n17   'a'  1.5\n587722981741363294 smooth 2\n",
    "id_str   label ra \n  17 'a' 1.5\n587722981741363294\t smooth  2 \n",
    "# made by me\n\nid_str label ra\n17 'a' 1.5\n587722981741363294 smooth 2",
    '#id_str "label" ra\n17 "\'a\'" 1.5\n587722981741363294 smooth 2\n',
  ],
)
def test_columns_with_blanks_between_them(tmp_path, text):
  found = tables.read_table(_csv(tmp_path / "t.dat", text))
  assert [*found] == ["id_str", "label", "ra"]
  assert found.to_numpy().tolist() == [
    ["17", "'a'", "1.5"],
    ["587722981741363294", "smooth", "2"],
  ]


def test_one_column_may_have_blanks_in_its_name(tmp_path):
  found = tables.read_table(_csv(tmp_path / "t.csv", "my id\n17\n18\n"))
  assert found.to_dict("list") == {"my id": ["17", "18"]}


def test_blanks_around_names_and_cells(tmp_path):
  text = 'object id , "my label", ra \n 17 , "smooth, round" , 1.5 \n'
  path = _csv(tmp_path / "t", text)
  found = tables.read_table(path)
  assert [*found] == ["object id", "my label", "ra"]
  rows = tables.TableRows(path, found, tables.ids_of(path, found, "object id"))
  assert rows.ids.tolist() == ["17"]
  assert rows.text("my label").tolist() == ["smooth, round"]
  assert rows.numbers("ra").tolist() == [1.5]


def _csv(path, text):
  path = path.with_suffix(".csv")
  path.write_text(text)
  return path


def _parquet(path, names, rows=3):
  columns = [pa.array(np.zeros(rows))] * len(names)
  path = path.with_suffix(".parquet")
  pyarrow.parquet.write_table(pa.Table.from_arrays(columns, names), path)
  return path


@pytest.mark.parametrize(
  "write",
  [
    lambda path: _csv(path, "id,label,label\n1,a,b\n"),
    lambda path: _csv(path, "id;label; label\n1;a;b\n"),
    lambda path: _parquet(path, ["id", "label", "label"]),
  ],
)
@pytest.mark.fault("C")
def test_two_columns_of_one_name_are_refused(tmp_path, write):
  with pytest.raises(UserError, match="two columns 'label'"):
    tables.read_table(write(tmp_path / "t"))


@pytest.mark.parametrize(
  "text", ["", "\n", "id,label\n", "id,label\n1,a,b,c\n", "\0\0\0"]
)
def test_what_is_no_table_is_one_line(tmp_path, text):
  path = _csv(tmp_path / "t", text)
  with pytest.raises(UserError, match=f"^{path}"):
    tables.read_table(path)


def test_unpacked_a_table_must_fit_into_the_memory(tmp_path, monkeypatch):
  few = _parquet(tmp_path / "few", ["id"])
  # A million equal numbers: some kilobytes in the file.
  many = _parquet(tmp_path / "many", ["id"], rows=10**6)
  text = tmp_path / "many.csv.gz"
  text.write_bytes(gzip.compress(b"id\n" + b"1\n" * 4 * 10**6))
  assert many.stat().st_size < 10**5
  monkeypatch.setattr(
    os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1024}.get(name, 8 * 1024)
  )
  tables.read_table(few)
  for path in (many, text):
    with pytest.raises(UserError, match="more than half of the memory"):
      tables.read_table(path)


@pytest.mark.parametrize(
  "rounded", ["5.877229817361e+17", "5.9E17", "587722981736120347.0"]
)
@pytest.mark.fault("C")
def test_ids_that_were_floats_are_refused(tmp_path, rounded):
  table = TABLE.assign(id_str=["1e5", rounded, "1.5"])
  with pytest.raises(UserError, match=r"row 2: the id is .* which lose digits"):
    tables.ids_of(tmp_path, table, "id_str")


def test_text_that_is_none_is_one_line(tmp_path):
  """In the formats whose readers take any bytes."""
  fits, parquet = tmp_path / "odd.fits", tmp_path / "odd.parquet"
  Table({"id_str": np.array([b"a", b"\xff"])}).write(fits)
  odd = pa.array([b"a", b"\xff"]).view(pa.string())
  pa.parquet.write_table(pa.table({"id_str": odd}), parquet)
  for path in (fits, parquet):
    with pytest.raises(UserError, match=rf"{path.name} cannot be read as a"):
      tables.read_table(path)
