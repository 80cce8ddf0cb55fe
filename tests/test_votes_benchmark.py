"""The floor of the votes against simulated crowds, and what the tool reads."""

from pathlib import Path
import shutil
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
from PIL import Image
import pytest
from rich.console import Console

from benchmarks import votes as benchmark
from gzjax.errors import UserError
from gzjax.evaluation import dirichlet, vote_tables
from gzjax.evaluation.votes import rmse
from gzjax.files import write_json
from gzjax.morphology import trees
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE
from gzjax.morphology.votes import Predictions
from gzjax.sky import export, volunteers
from tests.command_line import ROOT
from tests.networks import OPTIMISED

ARTIFACT = GZ2.index("smooth-or-featured_artifact")


def _crowds(alpha, count):
  """Votes of `count` crowds on one galaxy, f32[count,37]."""
  keys = jax.random.split(jax.random.key(0), count)
  return np.asarray(_count(keys, np.float32(alpha), np.int32(40)))


_count = jax.jit(
  jax.vmap(volunteers.count_votes, in_axes=(0, None, None)),
  compiler_options=OPTIMISED,
)


@pytest.mark.parametrize("artifact", [1.5, 90.0])
def test_the_floor_is_the_mean_over_all_crowds(artifact):
  alpha = np.random.default_rng(0).uniform(1, 20, 37)
  alpha[GZ2.slices[0]] = 1.0
  alpha[ARTIFACT] = artifact
  votes = export.kaggle_fractions(_crowds(alpha, 20_000))
  found = benchmark.expected_fractions(alpha[None], np.array([40]))[0]
  error = votes.std(axis=0) / np.sqrt(len(votes))
  assert np.abs(votes.mean(axis=0) - found).max() < 0.01
  assert (np.abs(votes.mean(axis=0) - found) < 4.5 * error + 1e-6).all()
  # The product along the tree alone misses galaxies that are plain artifacts.
  plain = trees.joint(GZ2_KAGGLE, dirichlet.mean_shares(GZ2, alpha[None]))[0]
  assert (np.abs(plain - found).max() > 0.04) == (artifact == 90)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
  """truth.parquet, pictures and two finished runs of 60 galaxies."""
  folder = tmp_path_factory.mktemp("sky")
  rng = np.random.default_rng(1)
  alpha = rng.uniform(1, 60, (60, 37))
  counts = np.concatenate([_crowds(law, 1) for law in alpha])
  ids = np.arange(100_000, 100_060)
  columns = {"GalaxyID": ids}
  for kind, values in (("counts", counts), ("concentration", alpha)):
    for answer, column in zip(GZ2.answers, values.T):
      columns[f"{answer}_{kind}"] = column
  pd.DataFrame(columns).to_parquet(folder / "truth.parquet")
  (folder / export.IMAGES).mkdir()
  for name in ids:
    colour = tuple(int(x) for x in rng.integers(0, 255, 3))
    picture = Image.new("RGB", (20, 20), colour)
    picture.save(folder / export.IMAGES / f"{name}.jpg")
  for run, tree in (("plain", GZ2_KAGGLE), ("dirichlet", GZ2)):
    _write_run(folder / run, tree, ids[::-1], alpha[::-1])
  return folder


def _write_run(folder, tree, ids, alpha):
  """A run that knows the true law; in an order of its own."""
  law = alpha if folder.name == "dirichlet" else None
  (folder / "evaluate").mkdir(parents=True)
  split = np.repeat(["train", "validation", "test"], len(ids) // 3)
  table = pd.DataFrame({"id_str": ids.astype(str), "split": split})
  table.to_parquet(folder / "split.parquet")
  shares = dirichlet.mean_shares(tree, alpha)
  predictions = Predictions(tree, shares, law)
  table = vote_tables.predictions_table(predictions)
  table.to_parquet(folder / "evaluate" / "original.parquet")
  record = {"tree": trees.to_json(tree)}
  write_json(folder / "stages" / "dataset.json", record)


def _compare(sky, *runs, pictures=None):
  truth = pd.read_parquet(sky / "truth.parquet")
  return benchmark.compare(truth, [sky / run for run in runs], pictures)


def test_a_network_that_knows_the_law_reaches_the_floor(sky):
  table = _compare(
    sky, "plain", "dirichlet", pictures=sky / export.IMAGES
  ).set_index(["measure", "method", "question"])["value"]
  rmse = table["rmse"].droplevel("question")
  assert list(rmse.index) == [
    "mean vector", "central pixel", "plain", "dirichlet", benchmark.TRUE_LAW,
  ]  # fmt: skip
  for run in ("plain", "dirichlet"):
    assert rmse[run] == pytest.approx(rmse[benchmark.TRUE_LAW], abs=1e-4)
    assert table["distance", run, "all"] < 1e-4
  assert rmse["mean vector"] > rmse[benchmark.TRUE_LAW]
  nll = table["nll"].unstack("method")
  np.testing.assert_allclose(nll["dirichlet"], nll[benchmark.TRUE_LAW])
  assert nll.loc["all", "dirichlet"] < nll.loc["all", "one law for all"]
  assert list(nll.index.sort_values()) == sorted(
    [*(question.name for question in GZ2.questions), "all"]
  )


def test_the_test_galaxies_are_found_by_their_ids(sky):
  rows = np.arange(60)[::-1][40:]  # as _write_run has them
  truth = pd.read_parquet(sky / "truth.parquet")
  counts = truth[[f"{name}_counts" for name in GZ2.answers]].to_numpy()
  seen = export.kaggle_fractions(counts)
  wanted = rmse(seen[rows], seen[np.arange(60)[::-1][:20]].mean(axis=0))
  table = _compare(sky, "plain")
  assert "central pixel" not in set(table["method"])
  assert table["value"].iloc[0] == pytest.approx(wanted)


def test_all_numbers_are_printed(sky):
  console = Console(record=True, width=120)
  table = _compare(sky, "plain", "dirichlet")
  benchmark.show(table, console)
  text = console.export_text()
  for value in table["value"]:
    assert f"{value:.4f}" in text


@pytest.mark.parametrize(
  ("file", "words"),
  [
    ("split.parquet", "split.parquet is missing"),
    ("evaluate/original.parquet", "original.parquet is missing"),
    ("stages/dataset.json", "predicts no votes"),
  ],
)
def test_a_run_that_lacks_a_file(sky, tmp_path, file, words):
  run = tmp_path / "run"
  _write_run(run, GZ2, np.arange(100_000, 100_060), np.ones((60, 37)))
  (run / file).unlink()
  with pytest.raises(UserError, match=words) as error:
    _compare(sky, run)
  assert "\n" not in str(error.value)


def test_runs_that_do_not_go_together(sky, tmp_path):
  with pytest.raises(UserError, match="two folders plain"):
    _compare(sky, "plain", "plain")
  alpha = np.ones((60, 37))
  _write_run(tmp_path / "other", GZ2, np.arange(100_000, 100_060), alpha)
  with pytest.raises(UserError, match="another split than"):
    _compare(sky, "plain", tmp_path / "other")
  _write_run(tmp_path / "far", GZ2, np.arange(100_030, 100_090), alpha)
  with pytest.raises(UserError, match=r"galaxy 100060 of .* is not in the"):
    _compare(sky, tmp_path / "far")


def test_pictures_in_a_zip_file_are_the_same(sky, tmp_path):
  ids = pd.Series(["100000", "100059"])
  shutil.make_archive(
    str(tmp_path / "pictures"), "zip", sky, base_dir=export.IMAGES
  )
  found = [
    benchmark._centres(Path(place), ids)
    for place in (sky / export.IMAGES, tmp_path / "pictures.zip")
  ]
  assert found[0].shape == (2, 10, 10, 3)
  np.testing.assert_array_equal(*found)


def test_files_that_are_missing_are_named(sky, tmp_path):
  with pytest.raises(UserError, match=r"--truth=.*none is no file: export"):
    benchmark._read_truth(tmp_path / "none")
  for pictures in (tmp_path, tmp_path / "none.zip"):
    with pytest.raises(UserError, match=r"100059\.jpg is missing: give .*--im"):
      _compare(sky, "plain", pictures=pictures)


def _command(*flags):
  # None makes the import fail.
  program = (
    "import runpy, sys; sys.modules['tensorflow_datasets'] = None; "
    "runpy.run_module('benchmarks.votes', run_name='__main__', alter_sys=True)"
  )
  return subprocess.run(
    [sys.executable, "-c", program, *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


def test_the_command_reads_files_alone(sky, tmp_path):
  flags = [f"--truth={sky / 'truth.parquet'}", f"--workdirs={sky / 'plain'}"]
  done = _command(*flags, f"--out={tmp_path / 'votes.csv'}")
  assert done.returncode == 0, done.stderr
  table = pd.read_csv(tmp_path / "votes.csv")
  wanted = _compare(sky, "plain", pictures=sky / export.IMAGES)
  pd.testing.assert_frame_equal(table, wanted)
  assert "central pixel" in done.stdout
  done = _command(*flags[:1], f"--workdirs={tmp_path}")
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert len(done.stderr.splitlines()) == 1
