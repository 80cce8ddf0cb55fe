"""TFDS builders without TensorFlow: what goes in comes out."""

from concurrent.futures import ThreadPoolExecutor
import subprocess
import sys

import numpy as np
import pandas as pd
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from gzjax.data import dataset
from gzjax.data.galaxy_catalog.catalog import Columns
from gzjax.errors import UserError
from tests.command_line import ROOT, environment
from tests.data.catalogs import (
  CLASSES,
  add_columns,
  builder_of,
  write_catalog,
)


def _load(path, columns=None, size=16, classes=CLASSES):
  builder = builder_of(path, columns, classes)
  return dataset.load(dataset.prepare(builder), crop=0, size=size)


def test_catalog_round_trip(tmp_path):
  path = write_catalog(tmp_path, 12)
  found = _load(path)
  table = pd.read_csv(path, dtype=str)
  assert found.classes == CLASSES
  assert list(found.table["id_str"]) == list(table["id_str"])
  assert [CLASSES[k] for k in found.table["label"]] == list(table["label"])
  for i, name in enumerate(table["file_loc"]):
    wanted = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    np.testing.assert_array_equal(found.image[i], wanted)


def test_tensorflow_is_not_imported_even_where_it_is_installed(tmp_path):
  write_catalog(tmp_path, 3)
  program = f"""
import sys
from pathlib import Path
from gzjax.data import dataset
from tests.data.catalogs import builder_of
builder = builder_of(Path("{tmp_path}/catalog.csv"))
print(dataset.load(dataset.prepare(builder), crop=0, size=16).image.shape)
assert "tensorflow" not in sys.modules
"""
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert "(3, 16, 16, 3)" in done.stdout


def test_parquet_and_integer_ids_of_18_digits(tmp_path):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path, dtype=str)
  table["id_str"] = 587722981741363294 + np.arange(6)
  table.to_parquet(tmp_path / "c.parquet")
  found = _load(tmp_path / "c.parquet")
  assert found.table["id_str"].iloc[5] == "587722981741363299"


def test_label_is_the_largest_vote(tmp_path):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path, dtype=str).drop(columns="label")
  votes = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)
  for k, name in enumerate(CLASSES):
    table[f"p_{name}"] = votes[:, k]
  table.to_csv(path, index=False)
  columns = Columns(label="", votes=tuple(f"p_{name}" for name in CLASSES))
  found = _load(path, columns)
  np.testing.assert_array_equal(found.table["label"], votes.argmax(axis=1))
  np.testing.assert_allclose(found.votes.shares, votes, rtol=1e-6)
  assert found.votes.tree.questions[0].answers == CLASSES


def test_columns_by_other_names(tmp_path):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path, dtype=str)
  table.columns = ["objid", "path", "kind"]
  table.to_csv(path, index=False)
  found = _load(path, Columns("objid", "path", "kind"))
  assert len(found.table) == 6


def test_formats_that_are_not_rgb_become_rgb(tmp_path):
  path = write_catalog(tmp_path, 4)
  grey = np.full((16, 16), 99, np.uint8)
  Image.fromarray(grey).save(tmp_path / "images" / "0.png")
  Image.fromarray(grey).convert("P").save(tmp_path / "images" / "1.png")
  Image.fromarray(grey).save(tmp_path / "images" / "2.jpg")
  table = pd.read_csv(path, dtype=str)
  table.loc[2, "file_loc"] = "images/2.jpg"
  table.to_csv(path, index=False)
  found = _load(path)
  np.testing.assert_array_equal(found.image[:3], 99)
  # Plain TFDS users get RGB, too.
  folder = next((tmp_path / "tfds" / "galaxy_catalog").glob("*/1.1.0"))
  source = tfds.builder_from_directory(folder).as_data_source("full")
  assert source[0]["image"].shape == (16, 16, 3)


def test_changed_labels_are_another_data_set(tmp_path):
  path = write_catalog(tmp_path, 6)
  one = _load(path)
  table = pd.read_csv(path, dtype=str)
  table.loc[0, "label"] = "artifact"
  table.to_csv(path, index=False)
  two = _load(path)
  assert one.fingerprint != two.fingerprint
  assert two.table["label"].iloc[0] == 2


def _damage(data, how):
  return {"truncated": data[: len(data) // 2], "text": b"hello", "empty": b""}[
    how
  ]


@pytest.mark.parametrize("how", ["truncated", "text", "empty"])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_damaged_image_is_named_and_nothing_is_left(tmp_path, how, kind):
  path = write_catalog(tmp_path, 6, kind)
  victim = tmp_path / "images" / f"3.{kind}"
  victim.write_bytes(_damage(victim.read_bytes(), how))
  with pytest.raises(UserError) as caught:
    _load(path)
  message = str(caught.value)
  assert "row 4 (id 1003)" in message
  assert str(victim) in message
  assert "\n" not in message
  assert not list((tmp_path / "tfds").glob("galaxy_catalog/*/1.1.0"))


@pytest.mark.parametrize("nobody", ["0", ""])
def test_votes_of_nobody_name_no_class(tmp_path, nobody):
  path = write_catalog(tmp_path, 6)
  votes = {f"p_{name}": [1, 1, nobody, 1, 1, 1] for name in CLASSES}
  add_columns(path, votes)
  columns = Columns(label="", votes=tuple(votes))
  found = _load(path, columns)
  np.testing.assert_array_equal(found.table["label"], [0, 0, -1, 0, 0, 0])
  # A label beside the votes is that of the galaxy.
  found = _load(path, columns._replace(label="label"))
  np.testing.assert_array_equal(found.table["label"], [0, 1, 2, 0, 1, 2])
  assert found.votes.counts.sum() == 15


def test_two_processes_may_want_the_same_data_set(tmp_path):
  path = write_catalog(tmp_path, 60)
  with ThreadPoolExecutor() as pool:
    found = list(pool.map(lambda _: _load(path), range(3)))
  for data in found:
    np.testing.assert_array_equal(data.image, found[0].image)
