"""predict takes what has no table: folders of images, parquet, HDF5."""

from pathlib import Path
import shutil

import numpy as np
import pandas as pd
from PIL import Image
import pyarrow as pa
import pyarrow.parquet
import pytest

from gzjax.errors import UserError
from gzjax.pipeline import predicted_parts
from tests.command_line import run_here
from tests.data.galaxy_files import write_hdf5
from tests.pipeline import tiny_runs

COUNT = 90
SMALL = {
  "train.epochs": 2,
  "unlearn.methods": (),
  "evaluate.relearn_epochs": 0,
}


def _pixels(number):
  rng = np.random.default_rng(number)
  return rng.integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sky, on_one_device):
  """A run that is trained, and a table with the images of some galaxies."""
  folder = tmp_path_factory.mktemp("files")
  (folder / "tfds").symlink_to(sky)
  tiny_runs.run(folder, tiny_runs.config(SMALL), "prepare", "train")
  (folder / "flat").mkdir()
  for i in range(COUNT):
    Image.fromarray(_pixels(i)).save(folder / "flat" / f"g{i:03}.png")
  ids = [f"g{i:03}" for i in range(COUNT)]
  table = pd.DataFrame({"id_str": ids, "file": [f"{x}.png" for x in ids]})
  table.to_csv(folder / "own.csv", index=False)
  return folder


def _write_parquet(folder):
  """Two shards, in row groups of another size than the parts."""
  (folder / "shards").mkdir()
  for number, rows in enumerate(np.array_split(np.arange(COUNT), 2)):
    files = [folder / "flat" / f"g{i:03}.png" for i in rows]
    images = [{"bytes": x.read_bytes(), "path": x.name} for x in files]
    table = pa.table({"image": images, "id_str": [x.stem for x in files]})
    path = folder / "shards" / f"test-{number:05}-of-00002.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=7)
  return folder / "shards"


def _write_class_folders(folder):
  for i in range(COUNT):
    name = ("smooth", "featured")[i % 2]
    (folder / "classes" / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "flat" / f"g{i:03}.png", folder / "classes" / name)
  return folder / "classes"


def _predicted(folder, monkeypatch, *arguments):
  monkeypatch.chdir(folder)
  run_here("predict", *map(str, arguments), "--workdir=run")
  return pd.read_parquet(folder / "run" / "predictions.parquet")


@pytest.fixture
def wanted(trained, monkeypatch):
  """Of the table."""
  return _predicted(trained, monkeypatch, "own.csv", "--images=flat")


def _same(found, wanted):
  """The same numbers, whatever the galaxies are called."""
  assert len(found) == COUNT
  pd.testing.assert_frame_equal(
    found.drop(columns="id_str"), wanted.drop(columns="id_str"), rtol=1e-5
  )


@pytest.mark.parametrize("arguments", [["flat"], ["--images=flat"]])
def test_a_folder_of_images(trained, wanted, monkeypatch, capsys, arguments):
  found = _predicted(trained, monkeypatch, *arguments)
  _same(found, wanted)
  assert list(found["id_str"]) == list(wanted["id_str"])
  assert "flat: a folder of 90 images" in capsys.readouterr().err
  assert not (trained / "run" / "prediction_scores.csv").exists()


def test_class_folders_are_scored(trained, wanted, monkeypatch):
  folder = _write_class_folders(trained)
  found = _predicted(trained, monkeypatch, folder)
  names = [f"{('smooth', 'featured')[i % 2]}/g{i:03}" for i in range(COUNT)]
  by_id = found.set_index("id_str").loc[names].reset_index()
  _same(by_id, wanted)
  scores = pd.read_csv(trained / "run" / "prediction_scores.csv")
  given = [("smooth", "featured")[i % 2] for i in range(COUNT)]
  assert scores["accuracy"][0] == np.mean(wanted["label"] == given)


def test_parquet_and_hdf5_part_by_part(trained, wanted, monkeypatch):
  shards = _write_parquet(trained)
  pixels = np.stack([_pixels(i) for i in range(COUNT)])
  hdf5 = write_hdf5(trained / "any.h5", {"images": pixels})
  monkeypatch.setattr(predicted_parts, "_PART_GALAXIES", 64)
  found = _predicted(trained, monkeypatch, shards)
  _same(found, wanted)
  assert list(found["id_str"]) == list(wanted["id_str"])
  found = _predicted(
    trained, monkeypatch, shards / "test-00001-of-00002.parquet"
  )
  assert list(found["id_str"]) == list(wanted["id_str"][45:])
  found = _predicted(trained, monkeypatch, hdf5)
  _same(found, wanted)
  assert list(found["id_str"]) == [str(i) for i in range(COUNT)]


def test_bad_images_are_listed_or_left_out(trained, tmp_path, monkeypatch):
  shutil.copytree(trained / "flat", tmp_path / "some")
  (tmp_path / "some" / "g007.png").write_bytes(b"no image")
  with pytest.raises(SystemExit) as caught:
    _predicted(trained, monkeypatch, tmp_path / "some")
  assert caught.value.code == 2
  left = _predicted(trained, monkeypatch, tmp_path / "some", "--skip_bad")
  assert "g007" not in set(left["id_str"])
  assert len(left) == COUNT - 1


def test_fits_of_other_planes_than_the_run(trained, monkeypatch, refused):
  fits = pytest.importorskip("astropy.io.fits")
  (trained / "cubes").mkdir()
  for i in range(COUNT):
    cube = np.random.default_rng(i).normal(size=(4, 32, 32))
    fits.PrimaryHDU(cube).writeto(trained / "cubes" / f"{i}.fits")
  monkeypatch.chdir(trained)
  line = refused("predict", "cubes", "--workdir=run")
  assert line.startswith("error: predict.fits_planes is 'rgb'")
  assert "'bgr-'" in line
  assert "all 90 images" in line
  planes = "--config.predict.fits_planes=bgr-"
  assert len(_predicted(trained, monkeypatch, "cubes", planes)) == COUNT


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["empty"], "empty has no images"),
    (["flat", "--images=flat"], "predict.images is"),
    (["nothere"], "unknown stage 'nothere'"),
    (["other.h5"], "other.h5 has no key 'images'"),
    ([], "predict.catalog is empty: give"),
  ],
)
def test_mistakes(trained, monkeypatch, capsys, arguments, words):
  (trained / "empty").mkdir(exist_ok=True)
  path = Path(trained / "other.h5")
  path.unlink(missing_ok=True)
  write_hdf5(path, {"x": np.zeros(3)})
  with pytest.raises((SystemExit, UserError)):
    _predicted(trained, monkeypatch, *arguments)
  assert words in capsys.readouterr().err
