"""Galaxy Zoo 2: what the files say is what the records hold."""

import hashlib
import importlib.util
from pathlib import Path
import unittest

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from gzjax.data.galaxy_zoo2 import Builder, GalaxyZoo2Config
from gzjax.errors import UserError
from gzjax.morphology import campaigns, trees
from tests.data import zoo_files
from tests.real_data import KAGGLE, needs_real

COUNT = 12


@pytest.fixture
def manual(tmp_path):
  folder = tmp_path / "manual"
  folder.mkdir()
  return folder


def _build(manual, config="kaggle"):
  builder = Builder(config=config, data_dir=str(manual.parent / "tfds"))
  return zoo_files.prepare(builder, manual)


def _records(builder):
  skip = {"image": tfds.decode.SkipDecoding()}
  return list(builder.as_data_source("full", decoders=skip))


def _ids(builder):
  return [record["id_str"].decode() for record in _records(builder)]


def _message(manual, config="kaggle"):
  with pytest.raises(UserError) as caught:
    _build(manual, config)
  message = str(caught.value)
  assert "\n" not in message
  assert not list((manual.parent / "tfds").glob("*/*/1.0.0"))
  return message


def _hart16(manual, name="test", **options):
  """A config that expects the checksums of the files as they are."""
  names = ("images_gz2.zip", "gz2_filename_mapping.csv")
  md5 = {
    name: hashlib.md5((manual / name).read_bytes()).hexdigest()
    for name in names
  }
  return GalaxyZoo2Config(
    name=name, release="hart16", **{"md5": md5, **options}
  )


def test_kaggle_round_trip(manual):
  table = zoo_files.write_kaggle(manual, COUNT)
  builder = _build(manual)
  records = _records(builder)
  assert len(records) == COUNT
  for i, record in enumerate(records):
    assert record["id_str"].decode() == table["GalaxyID"][i]
    np.testing.assert_array_equal(
      record["fractions"], table.iloc[i, 1:].astype(np.float32)
    )
    assert record["image"] == zoo_files.encoded(i, "JPEG")
  folder = Path(builder.data_dir)
  again = tfds.builder_from_directory(folder)
  assert again.info.metadata["tree"] == "gz2_kaggle"
  assert again.info.metadata["left_out"] == {}
  tree = campaigns.TREES[again.info.metadata["tree"]]
  assert again.info.features["fractions"].shape == (len(tree.answers),)
  assert "Willett" in again.info.citation
  assert "Galaxy Challenge" in again.info.description


def test_plain_tfds(manual):
  zoo_files.write_kaggle(manual, COUNT)
  source = tfds.data_source(
    "galaxy_zoo2/kaggle",
    split="full",
    data_dir=str(manual.parent / "tfds"),
    download_and_prepare_kwargs={
      "download_config": tfds.download.DownloadConfig(manual_dir=manual)
    },
  )
  assert len(source) == COUNT
  assert source[3]["image"].shape == (32, 32, 3)


def _unpacked(manual, table, images_name, id_name):
  for name, data in zoo_files.kaggle_images(table).items():
    path = manual / images_name / Path(name).name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
  table = table.rename(columns={"GalaxyID": id_name})
  zoo_files.write_kaggle_table(manual, table)


def _bundled(manual, table):
  inner = manual.parent / "inner"
  zoo_files.write_kaggle(inner, len(table))
  zoo_files.write_zip(
    manual / "galaxy-zoo-the-galaxy-challenge.zip",
    {path.name: path.read_bytes() for path in inner.iterdir()},
  )


@pytest.mark.parametrize(
  "layout",
  [
    lambda m, t: _unpacked(m, t, "images_training_rev1", "GalaxyID"),
    lambda m, t: _unpacked(m, t, "images_train_rev1", "GalaxyId"),
    _bundled,
  ],
)
def test_other_layouts_hold_the_same(manual, layout):
  table = zoo_files.kaggle_table(COUNT)
  layout(manual, table)
  records = _records(_build(manual))
  assert [r["id_str"].decode() for r in records] == list(table["GalaxyID"])
  for i in (0, COUNT - 1):
    assert records[i]["image"] == zoo_files.encoded(i, "JPEG")
    np.testing.assert_array_equal(
      records[i]["fractions"], table.iloc[i, 1:].astype(np.float32)
    )


@pytest.mark.parametrize("exists", [True, False])
def test_no_files_name_what_is_needed(manual, exists):
  if not exists:
    manual.rmdir()
  message = _message(manual)
  assert str(manual) in message
  for name in ("images_training_rev1.zip", "images_gz2.zip", "manual_dir"):
    assert name in message


@pytest.mark.parametrize("name", ["images_training_rev1", "training_solutions"])
def test_a_missing_file_is_named(manual, name):
  zoo_files.write_kaggle(manual, COUNT)
  for path in manual.glob(f"{name}*"):
    path.unlink()
  message = _message(manual)
  assert str(manual) in message
  assert f"{name}" in message
  assert "kaggle.com" in message


def _cell(row, column, value):
  def edit(table):
    table.loc[row, column] = value
    return table

  return edit


@pytest.mark.parametrize(
  ("edit", "wanted"),
  [
    (lambda table: table.drop(columns="Class7.2"), "no column 'Class7.2'"),
    (lambda table: table.drop(columns="GalaxyID"), "no column 'GalaxyID'"),
    (lambda table: table[:0], "no rows"),
    (_cell(4, "GalaxyID", "100012.0"), "row 5: the id is '100012.0'"),
    (_cell(4, "GalaxyID", "1.00012e5"), "row 5: the id is '1.00012e5'"),
    (_cell(4, "GalaxyID", ""), "row 5: column 'GalaxyID' is empty"),
    (_cell(4, "GalaxyID", "100009"), "row 5 repeats the id 100009"),
    (_cell(4, "Class3.1", ""), "row 5: column 'Class3.1' is ''"),
    (_cell(4, "Class3.1", "nan"), "row 5: column 'Class3.1' is 'nan'"),
    (_cell(4, "Class3.1", "-0.1"), "row 5: column 'Class3.1' is '-0.1'"),
    (_cell(4, "Class3.1", "many"), "row 5: column 'Class3.1' is 'many'"),
    (_cell(4, "Class3.1", "inf"), "row 5: column 'Class3.1' is 'inf'"),
    (_cell(4, "Class3.1", "0.9"), "row 5 (id 100012): the answers of questi"),
  ],
)
def test_mistakes_in_the_table(manual, edit, wanted):
  table = zoo_files.write_kaggle(manual, COUNT)
  zoo_files.write_kaggle_table(manual, edit(table))
  message = _message(manual)
  assert str(manual / zoo_files.KAGGLE_TABLE) in message
  assert wanted in message


def test_a_file_that_is_no_table(manual):
  zoo_files.write_kaggle(manual, COUNT)
  (manual / "training_solutions_rev1.zip").write_bytes(b"hello")
  assert "training_solutions_rev1.zip is not a whole zip" in _message(manual)


def test_few_bad_rows_are_left_out_and_counted(manual, capsys):
  count = 300
  table = zoo_files.write_kaggle(manual, count)
  images = zoo_files.kaggle_images(table)
  del images[f"{zoo_files.KAGGLE_IMAGES}/100010.jpg"]
  images[f"{zoo_files.KAGGLE_IMAGES}/999999.jpg"] = b"no galaxy of ours"
  zoo_files.write_zip(manual / "images_training_rev1.zip", images)
  smooth = float(table.loc[7, "Class1.1"])
  # Within the rounding of the file, and just beyond it.
  table.loc[6, "Class1.1"] = f"{float(table.loc[6, 'Class1.1']) + 4e-6:.7f}"
  table.loc[7, "Class1.1"] = f"{smooth + 2e-5:.7f}"
  zoo_files.write_kaggle_table(manual, table)
  builder = _build(manual)
  assert _ids(builder) == [
    str(100008 + i) for i in range(count) if i not in (2, 7)
  ]
  folder = Path(builder.data_dir)
  assert tfds.builder_from_directory(folder).info.metadata["left_out"] == {
    "votes that break the decision tree": 1,
    "no image": 1,
    "image without a row": 1,
  }
  said = " ".join(capsys.readouterr().err.split())
  assert "row 8 (id 100015)" in said


def test_half_a_download(manual):
  table = zoo_files.write_kaggle(manual, COUNT)
  images = dict(list(zoo_files.kaggle_images(table).items())[:9])
  zoo_files.write_zip(manual / "images_training_rev1.zip", images)
  message = _message(manual)
  assert "no image of 3 of the 12 galaxies" in message
  assert "100017" in message


def test_a_truncated_image_in_the_zip(manual):
  table = zoo_files.write_kaggle(manual, COUNT)
  images = zoo_files.kaggle_images(table)
  name = f"{zoo_files.KAGGLE_IMAGES}/100011.jpg"
  images[name] = images[name][:400]
  path = zoo_files.write_zip(manual / "images_training_rev1.zip", images)
  message = _message(manual)
  assert f"galaxy 100011: {name} in {path}" in message


def test_hart16_round_trip(manual):
  table = zoo_files.write_hart16(manual, COUNT)
  builder = _build(manual, _hart16(manual))
  wanted = table[table["sample"] == "original"]
  records = _records(tfds.builder_from_directory(builder.data_dir))
  # Two ids of 18 digits that are equal as floats stay apart.
  assert float(zoo_files.hart16_id(0)) == float(zoo_files.hart16_id(1))
  assert [r["id_str"].decode() for r in records] == list(wanted["dr7objid"])
  stems = campaigns.GZ2.stems
  for i, record in zip(wanted.index, records, strict=True):
    row = table.loc[i]
    assert record["image"] == zoo_files.encoded(i, "JPEG")
    for name, kind in (("counts", "count"), ("debiased", "debiased")):
      np.testing.assert_array_equal(
        record[name], [np.float32(row[f"{stem}_{kind}"]) for stem in stems]
      )
    assert (record["ra"], record["dec"]) == (row["ra"], row["dec"])
  assert dict(builder.info.metadata) == {
    "tree": "gz2",
    "left_out": {"another sample": COUNT // 3},
    "notes": [],
  }


def test_hart16_samples(manual):
  zoo_files.write_hart16(manual, COUNT)
  message = _message(manual, _hart16(manual, "another", samples=("stripe82",)))
  assert "'stripe82'" in message
  assert "extra, original" in message
  both = _build(manual, _hart16(manual, samples=("original", "extra")))
  assert len(_records(both)) == COUNT


def test_hart16_rows_twice_or_without_image(manual):
  count = 300
  table = zoo_files.write_hart16(manual, count)
  table["sample"] = "original"
  mapping = pd.read_csv(manual / "gz2_filename_mapping.csv", dtype=str)
  # One row is not in the mapping, one image is not in the zip.
  mapping[mapping["objid"] != zoo_files.hart16_id(5)].to_csv(
    manual / "gz2_filename_mapping.csv", index=False
  )
  zoo_files.write_zip(
    manual / "images_gz2.zip",
    {
      f"images/{7 + i}.jpg": zoo_files.encoded(i, "JPEG")
      for i in range(count)
      if i != 9
    },
  )
  pd.concat([table, table[:1]]).to_csv(
    manual / "gz2_hart16.csv.gz", index=False
  )
  builder = _build(manual, _hart16(manual))
  assert _ids(builder) == [
    zoo_files.hart16_id(i) for i in range(count) if i not in (5, 9)
  ]
  assert builder.info.metadata["left_out"] == {
    "repeated id": 1,
    "no image": 2,
    "image without a row": 1,
  }


@pytest.mark.parametrize(
  ("file", "column"),
  [
    ("gz2_hart16.csv.gz", "dr7objid"),
    ("gz2_filename_mapping.csv", "objid"),
  ],
)
def test_hart16_ids_that_were_floats(manual, file, column):
  zoo_files.write_hart16(manual, COUNT)
  table = pd.read_csv(manual / file)
  table[column] = table[column].astype(float)
  table.to_csv(manual / file, index=False)
  message = _message(manual, _hart16(manual))
  assert str(manual / file) in message
  assert "row 1: the id is '5.8" in message


def test_hart16_checksums(manual):
  zoo_files.write_hart16(manual, COUNT)
  # These are not the published files.
  message = _message(manual, "hart16")
  assert str(manual / "gz2_filename_mapping.csv") in message
  assert "7e28465e6dfbf96c0d828c595a5bbd80" in message
  unchecked = _hart16(manual, md5={"images_gz2.zip": "0"}, verify=False)
  assert len(_records(_build(manual, unchecked))) == COUNT * 2 // 3


def test_an_unknown_release():
  with pytest.raises(UserError, match="no release 'gz3'"):
    GalaxyZoo2Config(name="x", release="gz3")


@pytest.mark.skipif(
  importlib.util.find_spec("tensorflow") is None,
  reason="TFDS's own test case needs TensorFlow",
)
@pytest.mark.filterwarnings("ignore")  # of TensorFlow
def test_tfds_own_test_case(manual):
  zoo_files.write_kaggle(manual, COUNT)

  class Case(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ("kaggle",)
    EXAMPLE_DIR = str(manual)
    SPLITS = {"full": COUNT}  # noqa: RUF012
    # It forbids `os`, for the sake of Google's own file systems.
    MOCK_OUT_FORBIDDEN_OS_FUNCTIONS = False

    def _make_builder(self, config=None):
      # tf.data cannot read array_record.
      return Builder(
        data_dir=self.tmp_dir, config=config, file_format="parquet"
      )

  result = unittest.TestResult()
  unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
  assert result.testsRun
  assert not [*result.failures, *result.errors]


@needs_real(KAGGLE)
def test_real_files_of_the_challenge(tmp_path):
  builder = Builder(config="kaggle", data_dir=str(tmp_path / "tfds"))
  records = _records(zoo_files.prepare(builder, KAGGLE))
  assert len(records) == 80
  assert builder.info.metadata["left_out"] == {}
  first = records[0]
  assert first["id_str"] == b"100008"
  np.testing.assert_array_equal(
    first["fractions"][:5],
    np.asarray([0.383147, 0.616853, 0.0, 0.0, 0.616853], np.float32),
  )
  fractions = np.stack([record["fractions"] for record in records])
  off = trees.violation(campaigns.GZ2_KAGGLE, fractions)
  assert np.abs(off).max() < 1e-5
