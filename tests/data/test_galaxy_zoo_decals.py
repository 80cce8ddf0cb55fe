"""Galaxy Zoo DECaLS: what the files say is what the records hold."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from gzjax.data.galaxy_zoo_decals import Builder, GalaxyZooDecalsConfig
from gzjax.errors import UserError
from gzjax.morphology import campaigns
from tests.data import zoo_files

CAMPAIGNS = {
  "volunteers_5": campaigns.GZD_5,
  "volunteers_1_and_2": campaigns.GZD_1_2,
}
COUNT = 10


@pytest.fixture
def manual(tmp_path):
  return tmp_path / "manual"


def _stem(campaign):
  return f"gz_decals_{campaign}"


def _write(manual, campaign="volunteers_5"):
  return zoo_files.write_decals(
    manual, CAMPAIGNS[campaign], _stem(campaign), COUNT
  )


def _config(campaign="volunteers_5", **options):
  return GalaxyZooDecalsConfig(
    **{"name": "test", "campaign": campaign, "verify": False, **options}
  )


def _build(manual, config=None, data_dir="tfds"):
  builder = Builder(
    config=config or _config(), data_dir=str(manual.parent / data_dir)
  )
  return zoo_files.prepare(builder, manual)


def _records(builder):
  skip = {"image": tfds.decode.SkipDecoding()}
  return list(builder.as_data_source("full", decoders=skip))


def _ids(builder):
  return [record["id_str"].decode() for record in _records(builder)]


def _message(manual, config=None):
  with pytest.raises(UserError) as caught:
    _build(manual, config)
  assert "\n" not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_round_trip(manual, campaign):
  tree = CAMPAIGNS[campaign]
  table = _write(manual, campaign)
  builder = _build(manual, _config(campaign))
  found = tfds.builder_from_directory(builder.data_dir)
  records = _records(found)
  assert [r["id_str"].decode() for r in records] == list(table["iauname"])
  for i, record in enumerate(records):
    row = table.loc[i]
    assert record["image"] == zoo_files.encoded(i, "PNG")
    np.testing.assert_array_equal(
      record["counts"], row[list(tree.answers)].to_numpy(np.float32)
    )
    np.testing.assert_array_equal(
      record["debiased"],
      row[[f"{a}_debiased" for a in tree.answers]].to_numpy(np.float32),
    )
    assert (record["ra"], record["dec"]) == (row["ra"], row["dec"])
  # The empty cells of the fixture.
  assert np.isnan(records[0]["debiased"][3:]).all()
  assert np.isfinite(records[0]["debiased"][:3]).all()
  assert found.info.metadata["tree"] == tree.name
  assert found.info.metadata["left_out"] == {}
  assert "Walmsley" in found.info.citation


def _underscores(manual):
  path = manual / "gz_decals_volunteers_5.csv"
  table = pd.read_csv(path)
  table.columns = [name.replace("-", "_") for name in table]
  table.to_csv(path, index=False)


def _parquet(manual):
  path = manual / "gz_decals_volunteers_5.csv"
  pd.read_csv(path).to_parquet(path.with_suffix(".parquet"))
  path.unlink()


def _unpacked_parts(manual):
  for part in (1, 3):
    (manual / f"gz_decals_dr5_png_part{part}.zip").unlink()
  for i in range(COUNT):
    path = manual / f"gz_decals_dr5_png_part{1 + i % 2}"
    path = path / zoo_files.decals_file(i)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zoo_files.encoded(i, "PNG"))


def _unpacked_here(manual):
  _unpacked_parts(manual)
  for part in (1, 2):
    folder = manual / f"gz_decals_dr5_png_part{part}"
    for inner in list(folder.iterdir()):
      inner.rename(manual / inner.name)
    folder.rmdir()


@pytest.mark.parametrize(
  "change", [_underscores, _parquet, _unpacked_parts, _unpacked_here]
)
def test_other_spellings_and_layouts_hold_the_same(manual, change):
  table = _write(manual)
  before = _records(_build(manual))
  change(manual)
  after = _records(_build(manual, data_dir="other"))
  assert len(before) == len(after) == len(table)
  for one, two in zip(before, after, strict=True):
    assert one.keys() == two.keys()
    for name in one:
      np.testing.assert_array_equal(one[name], two[name])


def test_some_of_the_parts_are_enough(manual):
  _write(manual)
  (manual / "gz_decals_dr5_png_part1.zip").unlink()
  builder = _build(manual)
  assert _ids(builder) == [zoo_files.decals_name(i) for i in range(1, COUNT, 2)]
  assert builder.info.metadata["left_out"] == {"no image": COUNT // 2}


def test_images_of_other_galaxies(manual):
  _write(manual)
  for part in (1, 3):
    (manual / f"gz_decals_dr5_png_part{part}.zip").unlink()
  message = _message(manual)
  assert "has no images" in message
  assert "gz_decals_dr5_png_part1.zip" in message
  zoo_files.write_zip(
    manual / "gz_decals_dr5_png_part2.zip", {"J999/J999.png": b""}
  )
  message = _message(manual)
  assert "not one image is of a galaxy of" in message
  assert "gz_decals_dr5_png_part2.zip" in message


def test_no_table(manual):
  _write(manual)
  (manual / "gz_decals_volunteers_5.csv").unlink()
  message = _message(manual)
  assert "gz_decals_volunteers_5.csv or gz_decals_volunteers_5.parquet" in (
    message
  )
  assert "zenodo.org/records/4573248" in message


def _edit(manual, row, column, value):
  path = manual / "gz_decals_volunteers_5.csv"
  table = pd.read_csv(path, dtype=str)
  table.loc[row, column] = value
  table.to_csv(path, index=False)


@pytest.mark.parametrize("value", ["-1", "x", "inf"])
def test_votes_that_are_no_numbers(manual, value):
  _write(manual)
  _edit(manual, 2, "bar_weak", value)
  assert f"row 3: column 'bar_weak' is '{value}'" in _message(manual)


def test_empty_cells(manual):
  _write(manual)
  _edit(manual, 2, "bar_weak", "")
  _edit(manual, 2, "dec", "")
  record = _records(_build(manual))[2]
  assert record["counts"][campaigns.GZD_5.index("bar_weak")] == 0
  assert np.isnan(record["dec"])
  assert np.isfinite(record["ra"])


def test_columns_that_are_not_there(manual):
  _write(manual)
  path = manual / "gz_decals_volunteers_5.csv"
  table = pd.read_csv(path)
  table.drop(columns=["ra", "bar_weak_debiased"]).to_csv(path, index=False)
  record = _records(_build(manual))[1]
  index = campaigns.GZD_5.index("bar_weak")
  assert np.isnan(record["ra"])
  assert np.flatnonzero(np.isnan(record["debiased"])) == [index]
  table.drop(columns="bar_weak").to_csv(path, index=False)
  config = _config(name="another")
  assert "no column 'bar_weak'" in _message(manual, config)


def test_repeated_rows_are_left_out(manual):
  table = _write(manual)
  pd.concat([table, table[:2]]).to_csv(
    manual / "gz_decals_volunteers_5.csv", index=False
  )
  builder = _build(manual)
  assert _ids(builder) == list(table["iauname"])
  assert builder.info.metadata["left_out"] == {"repeated id": 2}


def test_checksum(manual):
  _write(manual)
  assert "aa509fc286f6a68a" in _message(manual, "volunteers_5")
  path = manual / "gz_decals_volunteers_5.csv"
  right = hashlib.sha256(path.read_bytes()).hexdigest()
  config = _config(verify=True, sha256={path.name: right})
  assert len(_records(_build(manual, config))) == COUNT


def test_no_files_name_what_is_needed(manual):
  message = _message(manual)
  assert str(manual) in message
  assert "gz_decals_dr5_png_part" in message
  assert "manual_dir" in message


def test_an_unknown_campaign():
  with pytest.raises(UserError, match="no campaign 'volunteers_8'"):
    GalaxyZooDecalsConfig(name="x", campaign="volunteers_8")
