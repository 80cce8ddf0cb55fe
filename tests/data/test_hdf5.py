"""HDF5 in the layouts of Galaxy10 DECaLS and GalaxyMNIST."""

import sys

import numpy as np
import pytest

from gzjax.data import builders, dataset
from gzjax.data.galaxy_files import hdf5
from gzjax.errors import UserError
from tests.data.galaxy_files import galaxy10, write_hdf5

GALAXY10, MNIST = hdf5.LAYOUTS["galaxy10_decals"], hdf5.LAYOUTS["galaxy_mnist"]


def load(tmp_path, path, name="galaxy10_decals", **settings):
  place = builders.Place(str(tmp_path / "tfds"))
  builder = builders.READERS[name](place, catalog=str(path), **settings)
  return dataset.load(dataset.prepare(builder), crop=0, size=16)


def test_galaxy10(tmp_path):
  columns = galaxy10()
  found = load(tmp_path, write_hdf5(tmp_path / "Galaxy10_DECals.h5", columns))
  assert found.classes == GALAXY10.classes
  assert found.table["id_str"].tolist() == [str(i) for i in range(150)]
  np.testing.assert_array_equal(found.image, columns["images"])
  for name in ("ra", "dec"):
    np.testing.assert_array_equal(found.table[name], columns[name])
  for name in ("redshift", "pxscale"):
    wanted = columns[name].astype(np.float32)
    np.testing.assert_array_equal(found.table[name], wanted)
  np.testing.assert_array_equal(found.table["label"], columns["ans"])
  assert found.notes == (
    "Galaxy10_DECals.h5: galaxy10_decals, 150 galaxies of 10 classes",
  )


def test_images_and_labels_are_enough(tmp_path):
  columns = {name: galaxy10(3)[name] for name in ("images", "ans")}
  found = load(tmp_path, write_hdf5(tmp_path / "few.hdf5", columns))
  assert [*found.table] == ["id_str", "label"]


def _mnist(count, seed):
  rng = np.random.default_rng(seed)
  return {
    "images": rng.integers(0, 256, (count, 16, 16, 3), np.uint8),
    "labels": rng.integers(0, 4, count, np.uint8),
  }


def test_galaxy_mnist_of_two_files(tmp_path):
  folder = tmp_path / "galaxy_mnist"
  folder.mkdir()
  train, test = _mnist(100, 0), _mnist(20, 1)
  write_hdf5(folder / "train_dataset.hdf5", train)
  write_hdf5(folder / "test_dataset.hdf5", test)
  found = load(tmp_path, folder, "galaxy_mnist")
  assert found.classes == MNIST.classes
  assert found.table["id_str"].iloc[19] == "test_19"
  assert found.table["id_str"].iloc[90] == "train_70"
  np.testing.assert_array_equal(found.image[:20], test["images"])
  np.testing.assert_array_equal(found.image[90], train["images"][70])
  assert found.table["label"].iloc[90] == train["labels"][70]
  assert found.table["split"].value_counts().to_dict() == {
    "train": 80,
    "validation": 20,
    "test": 20,
  }


def test_pixels_are_read_block_by_block(tmp_path):
  path = write_hdf5(tmp_path / "g.h5", galaxy10())
  galaxies = hdf5.read(path, "galaxy10_decals")
  rows = np.array([1, 63, 64, 149])
  items = [*galaxies.images.read(rows)]
  assert [item.row for item in items] == rows.tolist()
  assert all(item.pixels.base.shape[0] <= 64 for item in items)


def refusal(tmp_path, path, name="galaxy10_decals", **settings):
  with pytest.raises(UserError) as caught:
    load(tmp_path, path, name, **settings)
  message = str(caught.value)
  assert "\n" not in message
  return message


@pytest.mark.parametrize("key", ["images", "ans"])
def test_a_missing_key(tmp_path, key):
  columns = galaxy10(4)
  columns["other"] = columns.pop(key)
  message = refusal(tmp_path, write_hdf5(tmp_path / "g.h5", columns))
  assert f"g.h5 has no key {key!r} (it has " in message
  assert "give a file with 'images' and 'ans'" in message


@pytest.mark.parametrize(
  ("key", "change", "words"),
  [
    (
      "images",
      lambda x: x.astype(np.float32),
      "float32[4,16,16,3], not uint8[",
    ),
    (
      "images",
      lambda x: x.transpose(0, 3, 1, 2),
      "uint8[4,3,16,16], not uint8",
    ),
    ("images", lambda x: x[..., 0], "uint8[4,16,16], not uint8[N,H,W,3]"),
    ("images", lambda x: x[:0], "uint8[0,16,16,3], not uint8[N,H,W,3]"),
    ("ans", lambda x: x.astype(float), "float64[4], not integers[4]"),
    ("ans", lambda x: x[:3], "uint8[3], not integers[4]"),
    ("redshift", lambda x: x[:3], "float64[3], not numbers[4]"),
  ],
)
def test_another_type_or_shape(tmp_path, key, change, words):
  columns = galaxy10(4)
  columns[key] = change(columns[key])
  message = refusal(tmp_path, write_hdf5(tmp_path / "g.h5", columns))
  assert f"g.h5: the key {key!r} is {words}" in message


def test_labels_outside_the_classes(tmp_path):
  columns = galaxy10(4)
  columns["ans"][2] = 10
  path = write_hdf5(tmp_path / "g.h5", columns)
  message = refusal(tmp_path, path)
  assert "g.h5: ans[2] is 10, none of the 10 classes, 0 to 9" in message
  names = tuple("abcdefghijk")
  assert load(tmp_path, path, classes=names).classes == names


@pytest.mark.parametrize("how", ["truncated", "text"])
def test_what_is_no_hdf5(tmp_path, how):
  path = write_hdf5(tmp_path / "g.h5", galaxy10())
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2] if how == "truncated" else b"hello")
  message = refusal(tmp_path, path)
  assert f"{path} cannot be read as HDF5" in message
  assert message.endswith("download it again.")


def test_no_file_in_a_folder(tmp_path):
  message = refusal(tmp_path, tmp_path)
  assert message.startswith("catalog is ")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
  path = write_hdf5(tmp_path / "g.h5", galaxy10(4))
  monkeypatch.setitem(sys.modules, "h5py", None)
  message = refusal(tmp_path, path)
  assert message.endswith("pip install 'gzjax[hdf5]'.")
