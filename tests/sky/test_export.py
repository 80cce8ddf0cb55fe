"""The export has the challenge's layout, and its numbers are the votes."""

import io
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.errors import UserError
from gzjax.morphology import trees
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE
from gzjax.sky import export, render
from gzjax.sky.scene import CLASSES, Scene, sample_labels

GALAXIES = 70  # more than a chunk, and not two


def _export(folder, **changes):
  options = {"galaxies": GALAXIES, "seed": 2, "size": 96, "rendered": 32}
  options["class_fractions"] = (0.4, 0.5, 0.1)
  export.export_kaggle(folder, **{**options, **changes})
  return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  return _export(tmp_path_factory.mktemp("export") / "sky")


def test_layout(exported):
  assert sorted(path.name for path in exported.iterdir()) == [
    "images_training_rev1",
    "training_solutions_rev1.csv",
    "truth.parquet",
  ]
  assert [path.name for path in exported.parent.iterdir()] == ["sky"]
  table = pd.read_csv(exported / "training_solutions_rev1.csv")
  assert list(table.columns) == ["GalaxyID", *GZ2.kaggle_columns()]
  assert table["GalaxyID"].is_monotonic_increasing
  assert table["GalaxyID"].is_unique
  assert table["GalaxyID"].between(100_000, 999_999).all()
  images = {path.name for path in (exported / export.IMAGES).iterdir()}
  assert images == {f"{name}.jpg" for name in table["GalaxyID"]}
  for name in images:
    with Image.open(exported / export.IMAGES / name) as image:
      assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 96))


def test_fractions_are_the_votes_on_the_way(exported):
  table = pd.read_csv(exported / "training_solutions_rev1.csv")
  truth = pd.read_parquet(exported / "truth.parquet")
  fractions = table[list(GZ2.kaggle_columns())].to_numpy()
  violation = trees.violation(GZ2_KAGGLE, fractions)
  np.testing.assert_allclose(violation, 0, atol=1e-5)
  counts = truth[[f"{name}_counts" for name in GZ2.answers]].to_numpy()
  votes = counts / counts[:, :3].sum(axis=1, keepdims=True)
  odd = GZ2.question("something-odd")
  below = {odd, GZ2.question("odd-feature")}
  for q, part in enumerate(GZ2.slices):
    if q not in below:
      np.testing.assert_allclose(fractions[:, part], votes[:, part], atol=1e-5)
  np.testing.assert_allclose(fractions[:, GZ2.slices[odd]].sum(1), 1, atol=1e-5)


def test_nobody_was_asked_whether_anything_is_odd():
  counts = np.zeros((1, 37), np.float32)
  counts[0, 2] = 40
  fractions = export.kaggle_fractions(counts)
  wanted = np.zeros(37)
  wanted[[2, GZ2.index("something-odd_no")]] = 1
  np.testing.assert_array_equal(fractions[0], wanted)


def test_truth_is_that_of_the_pictures(exported):
  truth = pd.read_parquet(exported / "truth.parquet")
  label = sample_labels(2, GALAXIES, (0.4, 0.5, 0.1))
  assert list(truth["label"]) == [CLASSES[k] for k in label]
  assert set(Scene._fields) <= set(truth.columns)
  pictures = render.pictures(2, np.arange(GALAXIES), label, 32, 2.0)
  wanted = np.array(list(pictures), float)
  for row in (0, 65, 69):
    path = exported / export.IMAGES / f"{truth['GalaxyID'][row]}.jpg"
    with Image.open(path) as image:
      found = np.asarray(image.resize((32, 32), Image.Resampling.BOX), float)
    assert np.abs(found - wanted[row]).mean() < 6


def test_zips_hold_the_same(exported, tmp_path):
  folder = _export(tmp_path / "zipped", zipped=True)
  assert sorted(path.name for path in folder.iterdir()) == [
    "images_training_rev1.zip",
    "training_solutions_rev1.zip",
    "truth.parquet",
  ]
  with zipfile.ZipFile(folder / "images_training_rev1.zip") as archive:
    assert len(archive.namelist()) == GALAXIES
    for name in archive.namelist():
      assert archive.read(name) == (exported / name).read_bytes()
  with zipfile.ZipFile(folder / "training_solutions_rev1.zip") as archive:
    assert archive.namelist() == ["training_solutions_rev1.csv"]
    text = archive.read("training_solutions_rev1.csv").decode()
  assert text == (exported / "training_solutions_rev1.csv").read_text()
  assert len(pd.read_csv(io.StringIO(text))) == GALAXIES


def test_ids_look_random_and_are_repeatable():
  ids = export.galaxy_ids(0, 5000)
  np.testing.assert_array_equal(ids, export.galaxy_ids(0, 5000))
  assert not np.array_equal(ids, export.galaxy_ids(1, 5000))
  assert np.unique(np.diff(ids)).size > 100
  assert ids.min() < 101_000
  assert ids.max() > 999_000


@pytest.mark.parametrize(
  ("changes", "word"),
  [
    ({"galaxies": 0}, "--galaxies"),
    ({"galaxies": 10**6}, "--galaxies"),
    ({"class_fractions": (1, 1)}, "--class_fractions"),
    ({"class_fractions": (0, 0, 0)}, "--class_fractions"),
    ({"rendered": 4}, "--rendered"),
  ],
)
def test_mistakes_are_named_and_nothing_is_left(tmp_path, changes, word):
  with pytest.raises(UserError, match=word):
    _export(tmp_path / "sky", **changes)
  assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
  (tmp_path / "mine").write_text("mine")
  with pytest.raises(UserError, match="exists"):
    _export(tmp_path / "mine")
  with pytest.raises(UserError, match="cannot write"):
    _export(tmp_path / "mine" / "sky")
  assert (tmp_path / "mine").read_text() == "mine"


def test_a_killed_export_leaves_no_folder(tmp_path, monkeypatch):
  def fail(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(export, "_write_solutions", fail)
  with pytest.raises(KeyboardInterrupt):
    _export(tmp_path / "sky")
  assert not list(tmp_path.iterdir())


def test_command_line(tmp_path):
  command = [sys.executable, "-m", "gzjax.sky.export"]

  def run(*arguments):
    return subprocess.run(
      [*command, *arguments], capture_output=True, text=True, check=False
    )

  folder = tmp_path / "sky"
  done = run(f"--folder={folder}", "--galaxies=3", "--size=32", "--rendered=16")
  assert done.returncode == 0, done.stderr
  assert len(list((folder / export.IMAGES).iterdir())) == 3
  for arguments in ([], [f"--folder={folder}"], ["--folder=x", "--galaxies=a"]):
    wrong = run(*arguments)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
