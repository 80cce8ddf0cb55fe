"""What the content of a file or a folder says about its reader."""

import numpy as np
import pandas as pd
import pytest

from gzjax.data.galaxy_files import recognise
from gzjax.errors import UserError
from tests.data.catalogs import write_catalog
from tests.data.galaxy_files import (
  galaxy10,
  write_evo,
  write_folders,
  write_hdf5,
)


def _seen(path):
  return tuple(recognise.look(path))


def test_hdf5(tmp_path):
  path = write_hdf5(tmp_path / "a.h5", galaxy10(30))
  assert _seen(path) == ("galaxy10_decals", 30, True)
  folder = tmp_path / "mnist"
  folder.mkdir()
  for name, count in (("train", 20), ("test", 10)):
    columns = galaxy10(count)
    columns["labels"] = columns.pop("ans") % 4
    write_hdf5(folder / f"{name}_dataset.hdf5", columns)
  assert _seen(folder) == ("galaxy_mnist", 30, True)
  other = write_hdf5(tmp_path / "other.h5", {"x": np.zeros(3)})
  with pytest.raises(UserError, match=r"other.h5 has the keys x: give a file"):
    recognise.look(other)


def test_parquet(tmp_path):
  path = write_evo(tmp_path / "gz_evo")
  assert _seen(path) == ("galaxy_zoo_parquet", 40, True)
  shard = path / "data" / "test-00000-of-00001.parquet"
  assert _seen(shard) == ("galaxy_zoo_parquet", 10, True)
  shard.write_bytes(b"hello")  # is still a shard by its name
  with pytest.raises(UserError, match="cannot be read as parquet"):
    recognise.look(path)
  plain = tmp_path / "plain.parquet"
  pd.DataFrame({"id_str": ["a"], "label": [1]}).to_parquet(plain)
  assert recognise.look(plain) is None


def test_class_folders(tmp_path):
  root = tmp_path / "set"
  write_folders(root, ["a/1.png", "b/1.png", "b/2.png"])
  assert _seen(root) == ("image_folders", 3, True)
  (root / "galaxies.csv").write_text("id,label\n")
  assert recognise.look(root) is None
  many = tmp_path / "many"
  write_folders(many, [f"{i}/1.png" for i in range(21)])
  assert recognise.look(many) is None
  write_folders(tmp_path / "parts", ["train/a/1.png", "test/b/2.png"])
  assert _seen(tmp_path / "parts") == ("image_folders", 2, True)


def test_tables_and_their_images_are_none_of_these(tmp_path):
  path = write_catalog(tmp_path, 3)
  assert recognise.look(path) is None
  assert recognise.look(tmp_path / "images") is None
  assert recognise.look(tmp_path / "nowhere.csv") is None


def test_why_a_folder_is_none(tmp_path):
  def said(name):
    return recognise.why_not(tmp_path / name)

  (tmp_path / "empty").mkdir()
  (tmp_path / "empty" / ".DS_Store").write_text("")
  assert said("empty").startswith("is empty")
  write_folders(tmp_path / "one", ["smooth/1.png"])
  assert said("one").startswith("has one class folder with images (smooth), ")
  (tmp_path / "one" / "rings").mkdir()
  assert "(smooth) beside empty ones (rings), and two" in said("one")
  write_folders(tmp_path / "flat", ["1.png", "2.png"])
  assert f"--images={tmp_path / 'flat'}" in said("flat")
  write_folders(tmp_path / "many", [f"{i}/1.png" for i in range(21)])
  assert said("many").startswith("has 21 folders with images, and 2 to 20")
  write_folders(tmp_path / "both", ["1.png"])
  (tmp_path / "both" / "mine.csv").write_text("id,label\n")
  assert f"give that, {tmp_path / 'both' / 'mine.csv'}" in said("both")
