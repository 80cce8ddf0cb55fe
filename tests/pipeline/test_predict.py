"""predict: galaxies without labels, from a table to a table."""

import io
import re

import jax
import numpy as np
import pandas as pd
from PIL import Image
import pytest
from scipy import stats
import tensorflow_datasets as tfds

from gzjax import models
from gzjax.errors import UserError
from gzjax.files import read_json
from gzjax.morphology.campaigns import GZ2
from gzjax.pipeline.experiment import Experiment
from tests.command_line import launch, tiny
from tests.data.catalogs import add_columns, edit, write_catalog
from tests.pipeline import tiny_runs
from tests.real_data import DECALS, needs_real

TINY = {
  "data.crop": 12,
  "data.normalise": "training",
  "train.epochs": 2,
  "unlearn.methods": ("finetune",),
  "unlearn.finetune.learning_rate": 0.05,
  "unlearn.finetune.max_damage": 1.0,
  "evaluate.relearn_epochs": 0,
  "evaluate.views": 4,
}
COUNTS = {
  "labels.kind": "question",
  "target.kind": "counts",
  "train.epochs": 4,  # fewer leave it almost constant
  "unlearn.methods": (),
}
STAGES = ("prepare", "train", "audit", "unlearn", "evaluate")


def _run(folder, *names, **changes):
  tiny_runs.run(folder, tiny_runs.config(TINY, changes), *names)


def _finished(folder, sky, **changes):
  _with_sky(folder, sky)
  _run(folder, *STAGES, **changes)
  _write_images(folder)
  return folder


def _with_sky(folder, sky):
  """Shares the sky only: tables of the same name differ from test to test."""
  (sky / "galaxy_synthetic").mkdir(exist_ok=True)
  (folder / "tfds").mkdir()
  (folder / "tfds" / "galaxy_synthetic").symlink_to(sky / "galaxy_synthetic")


def _write_images(folder):
  """The run's own galaxies as a table and PNG files, as they were recorded."""
  place = read_json(folder / "run" / "stages" / "dataset.json")["folder"]
  source = tfds.builder_from_directory(place).as_data_source(
    "full", decoders={"image": tfds.decode.SkipDecoding()}
  )
  (folder / "cutouts").mkdir()
  for i, record in enumerate(source):
    Image.open(io.BytesIO(record["image"])).save(folder / f"cutouts/{i}.png")
  ids = [record["id_str"].decode() for record in source]
  files = [f"{i}.png" for i in range(len(source))]
  table = pd.DataFrame({"objid": ids, "file": files, "colour": "blue"})
  table.to_csv(folder / "own.csv", index=False)


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory, sky, on_one_device):
  """Where a run on classes is finished, and its galaxies lie as files."""
  return _finished(tmp_path_factory.mktemp("classes"), sky)


@pytest.fixture(scope="module")
def of_votes(tmp_path_factory, sky, on_one_device):
  """The same of a run on counts."""
  return _finished(tmp_path_factory.mktemp("votes"), sky, **COUNTS)


def _own(folder):
  return {
    "predict.catalog": str(folder / "own.csv"),
    "predict.images": str(folder / "cutouts"),
    "predict.id_column": "objid",
    "predict.file_column": "file",
  }


def _predict(folder, **changes):
  _run(folder, "predict", **changes)
  return pd.read_parquet(folder / "run" / "predictions.parquet")


def _evaluated(folder, name, ids):
  table = pd.read_parquet(folder / "run" / "evaluate" / f"{name}.parquet")
  table = table.rename(columns={"predicted": "label"})
  return table.set_index("id_str").loc[ids].reset_index()


def _near(found, wanted):
  """Whether labels, order and columns are equal, and numbers to 1e-5."""
  pd.testing.assert_frame_equal(
    found, wanted, check_dtype=False, rtol=1e-5, atol=1e-5
  )


def test_own_images_are_predicted_as_evaluate_did(of_classes):
  found = _predict(of_classes, **_own(of_classes))
  assert len(found) == 200
  assert list(found.columns) == [
    "id_str", "label", "p_smooth", "p_featured", "p_artifact",
  ]  # fmt: skip
  ids = pd.read_csv(of_classes / "own.csv", dtype=str)["objid"]
  assert list(found["id_str"]) == list(ids)
  _near(found, _evaluated(of_classes, "original", ids))
  assert found["label"].nunique() > 1  # it is not a constant
  text = pd.read_csv(
    of_classes / "run" / "predictions.csv", dtype={"id_str": str}
  )
  _near(text, found)


def test_a_method_of_the_run_predicts(of_classes):
  changes = {"predict.method": "finetune", **_own(of_classes)}
  found = _predict(of_classes, **changes)
  wanted = _evaluated(of_classes, "finetune", found["id_str"])
  _near(found, wanted)
  original = _evaluated(of_classes, "original", found["id_str"])
  assert (abs(found["p_smooth"] - original["p_smooth"]) > 1e-3).any()


@pytest.mark.parametrize("crop", [{"predict.crop": 16}, {"predict.crop": 0}])
def test_another_crop_is_another_view(of_classes, crop):
  found = _predict(of_classes, **_own(of_classes), **crop)
  wanted = _evaluated(of_classes, "original", found["id_str"])
  assert (abs(found["p_smooth"] - wanted["p_smooth"]) > 1e-3).mean() > 0.5


def test_a_crop_column_cuts_each_galaxy_on_its_own(of_classes, tmp_path):
  edges = [10, 12, 16]
  (tmp_path / "cut").mkdir()
  for i, edge in enumerate(edges):
    low, high = 8 - edge // 2, 8 + edge // 2
    with Image.open(of_classes / "cutouts" / f"{i}.png") as image:
      image.crop((low, low, high, high)).save(tmp_path / "cut" / f"{i}.png")
  table = pd.read_csv(of_classes / "own.csv", dtype=str)[:3]
  table.assign(edge=edges).to_csv(tmp_path / "own.csv", index=False)
  own = {**_own(of_classes), "predict.catalog": str(tmp_path / "own.csv")}
  found = _predict(of_classes, **own, **{"predict.crop_column": "edge"})
  cut = {"predict.images": str(tmp_path / "cut"), "predict.crop": 0}
  wanted = _predict(of_classes, **{**own, **cut})
  _near(found, wanted)
  whole = _predict(of_classes, **own, **{"predict.crop": 0})
  differ = abs(found["p_smooth"] - whole["p_smooth"]) > 1e-5
  assert list(differ) == [True, True, False]


def test_networks_of_votes_tell_shares_and_intervals(of_votes):
  found = _predict(of_votes, **COUNTS, **_own(of_votes))
  assert "smooth-or-featured_smooth_concentration" in found
  _near(found, _evaluated(of_votes, "original", found["id_str"]))
  assert not (of_votes / "run" / "prediction_ranks.csv").exists()


def _with_votes(folder, place):
  """Some galaxies with columns like answers; returns truth by answer."""
  rng = np.random.default_rng(3)
  table = pd.read_csv(folder / "own.csv", dtype=str)[:40]
  truth = {
    "smooth-or-featured_smooth": rng.random(40),
    "bar_yes": rng.random(40),
    "merging_none": rng.random(40),  # not of this tree
  }
  truth["bar_yes"][:7] = np.nan
  table["smooth_or_featured_smooth_fraction"] = truth[
    "smooth-or-featured_smooth"
  ]
  table["smooth-or-featured_smooth"] = 17  # a count: the fraction is meant
  table["Bar_Yes"] = truth["bar_yes"]
  table["merging_none"] = truth["merging_none"]
  table.to_csv(place / "own.csv", index=False)
  return truth


def test_zoobots_columns(of_classes, of_votes):
  """id_str and a column a label: probabilities, or the law's concentrations."""
  for folder, changes in ((of_classes, {}), (of_votes, COUNTS)):
    found = _predict(folder, **changes, **_own(folder))
    path = folder / "run" / "predictions_zoobot.csv"
    table = pd.read_csv(path, dtype={"id_str": str})
    labels = GZ2.answers if changes else ("smooth", "featured", "artifact")
    names = [f"{x}_concentration" if changes else f"p_{x}" for x in labels]
    assert list(table.columns) == ["id_str", *labels]
    assert list(table["id_str"]) == list(found["id_str"])
    np.testing.assert_allclose(
      table[list(labels)], found[names], rtol=1e-5, atol=1e-6
    )


def test_features_of_other_galaxies(of_classes):
  _predict(of_classes, **_own(of_classes), **{"predict.features": True})
  folder = of_classes / "run"
  found = pd.read_parquet(folder / "predictions" / "features.parquet")
  own = pd.read_parquet(folder / "embeddings.parquet")  # the audit wrote it
  both = own.merge(found, on="id_str", suffixes=("", "_again"))
  assert len(both) == len(own)
  names = [x for x in own if x != "id_str"]
  np.testing.assert_allclose(
    both[names], both[[f"{x}_again" for x in names]], rtol=1e-4, atol=1e-5
  )


def test_votes_of_the_table_are_compared_by_rank(of_votes, tmp_path, capsys):
  truth = _with_votes(of_votes, tmp_path)
  own = {**_own(of_votes), "predict.catalog": str(tmp_path / "own.csv")}
  found = _predict(of_votes, **COUNTS, **own)
  said = capsys.readouterr()
  ranks = pd.read_csv(of_votes / "run" / "prediction_ranks.csv")
  assert list(ranks["answer"]) == ["smooth-or-featured_smooth", "bar_yes"]
  assert list(ranks["galaxies"]) == [40, 33]
  for row in ranks.itertuples():
    known = np.isfinite(truth[row.answer])
    wanted = stats.spearmanr(
      truth[row.answer][known], found[row.answer][known]
    ).statistic
    assert row.spearman == pytest.approx(wanted, abs=1e-6)
    assert row.low < row.spearman < row.high
    assert f"{row.spearman:.3f}" in said.out
  assert not {"merging_none", "colour", "Bar_Yes"} & set(found)
  # Another table has none: nothing stays of the first.
  _predict(of_votes, **COUNTS, **_own(of_votes))
  assert not (of_votes / "run" / "prediction_ranks.csv").exists()


def test_networks_of_classes_have_no_ranks(of_classes, tmp_path):
  _with_votes(of_classes, tmp_path)
  own = {**_own(of_classes), "predict.catalog": str(tmp_path / "own.csv")}
  assert len(_predict(of_classes, **own)) == 40
  assert not (of_classes / "run" / "prediction_ranks.csv").exists()


def test_it_prints_the_number_the_files_and_the_first_rows(of_classes, capsys):
  found = _predict(of_classes, **_own(of_classes), **{"predict.shown": 3})
  said = capsys.readouterr()
  assert "predicted 200 galaxies by original: " in said.err
  assert str(of_classes / "run" / "predictions.parquet") in said.err
  for row in found[:3].itertuples():
    (line,) = [text for text in said.out.splitlines() if row.id_str in text]
    assert row.label in line
    assert f"{row.p_smooth:.3f}" in line
  assert found["id_str"][3] not in said.out
  assert "Scoreboard" not in said.out
  _predict(of_classes, **_own(of_classes), **{"predict.shown": 0})
  assert not capsys.readouterr().out


def test_it_is_done_anew_and_changes_nothing_else(of_classes):
  def files():
    run = of_classes / "run"
    return {
      path: path.stat().st_mtime_ns
      for path in run.rglob("*")
      if path.is_file() and "predict" not in str(path.relative_to(run))
    }

  before = files()
  _predict(of_classes, **_own(of_classes))
  # The table is another one of the same name.
  own = pd.read_csv(of_classes / "own.csv", dtype=str)
  own[:5].to_csv(of_classes / "own.csv", index=False)
  assert len(_predict(of_classes, **_own(of_classes))) == 5
  own.to_csv(of_classes / "own.csv", index=False)
  assert files() == before


@pytest.mark.parametrize("name", ["of_classes", "of_votes"])
def test_galaxies_without_a_number_stay(name, request, monkeypatch, capsys):
  folder = request.getfixturevalue(name)
  changes = {**(COUNTS if name == "of_votes" else {}), **_own(folder)}
  whole = _predict(folder, **changes)
  predict = models.predict

  def broken(*args):
    logits = np.array(predict(*args))
    logits[3, 1] = np.nan
    return logits

  monkeypatch.setattr(models, "predict", broken)
  found = _predict(folder, **changes)
  assert "of 1 of which the network says no number" in capsys.readouterr().err
  assert pd.isna(found["label"][3])
  known = {"id_str", "p_asked_smooth-or-featured"}  # everybody is asked that
  assert set(found.columns[found.loc[3].notna()]) == known & set(found)
  _near(found.drop(index=3), whole.drop(index=3))
  lines = (folder / "run" / "predictions.csv").read_text().splitlines()
  assert lines[4].startswith(f"{whole['id_str'][3]},,,,")


def test_a_network_without_any_number(of_classes, monkeypatch):
  restore = Experiment.network

  def broken(*args):
    network = restore(*args)
    return network._replace(
      params=jax.tree.map(lambda x: x * np.nan, network.params)
    )

  monkeypatch.setattr(Experiment, "network", broken)
  found = _predict(of_classes, **_own(of_classes))
  assert found["label"].isna().all()
  assert found["id_str"].notna().all()


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"predict.catalog": ""}, ["--config.predict.catalog=FILE.csv"]),
    ({"predict.catalog": "gone.csv"}, ["predict.catalog is", "gone.csv"]),
    (
      {"predict.images": "gone"},
      ["predict.images is 'gone': there"],
    ),
    ({"predict.id_column": "name"}, ["no column 'name'", "as id_column"]),
    ({"predict.file_column": "path"}, ["no column 'path'", "as file_column"]),
    ({"predict.crop_column": "edge"}, ["no column 'edge'", "as crop_column"]),
    (
      {"predict.crop_column": "colour"},
      ["row 1 (id ", "'colour' is 'blue', not a number of pixels"],
    ),
    ({"predict.method": "magic"}, ["'magic'", "original, finetune"]),
    ({"predict.shown": -1}, ["predict.shown is -1"]),
    ({"train.epochs": 3}, ["train.epochs was 2, is 3"]),
    (
      {"predict.method": "relabel", "unlearn.methods": ("relabel",)},
      ["'relabel'", "choose one of recommended, original."],
    ),
  ],
)
def test_mistakes_are_one_line_and_lose_nothing(of_classes, changes, words):
  before = _predict(of_classes, **_own(of_classes))
  with pytest.raises(UserError) as caught:
    _run(of_classes, "predict", **{**_own(of_classes), **changes})
  message = str(caught.value)
  for word in words:
    assert word in message
  assert "\n" not in message
  after = pd.read_parquet(of_classes / "run" / "predictions.parquet")
  pd.testing.assert_frame_equal(before, after)


def _refused(folder, path, words):
  with pytest.raises(UserError, match=re.escape(words)) as caught:
    _run(folder, "predict", **{"predict.catalog": str(path)})
  assert "catalog.csv" in str(caught.value) or "images" in str(caught.value)


def test_mistakes_in_rows_are_named(of_classes, tmp_path):
  path = write_catalog(tmp_path, 6)
  whole = path.read_text()
  edit(path, 2, "file_loc", "images/none.png")
  _refused(of_classes, path, "give as images the folder")
  edit(path, 2, "file_loc", None)
  _refused(of_classes, path, "row 3 (id 1002): column 'file_loc' is empty")
  path.write_text(whole)
  edit(path, 4, "id_str", "1000")
  _refused(of_classes, path, "row 5 (id 1000) repeats the id of row 1")
  path.write_text(whole)
  image = tmp_path / "images" / "5.png"
  image.write_bytes(image.read_bytes()[:100])
  _refused(of_classes, path, "row 6 (id 1005)")


def test_columns_are_called_as_in_the_run(tmp_path, on_one_device):
  path = write_catalog(tmp_path, 60)
  add_columns(path, {"edge": np.resize([10, 12, 16], 60)})
  table = pd.read_csv(path, dtype=str)
  table.columns = [
    {"id_str": "name", "file_loc": "picture"}.get(x, x) for x in table
  ]
  table.to_csv(path, index=False)
  run = {
    "data.builder": "galaxy_catalog",
    "data.catalog": str(path),
    "data.id_column": "name",
    "data.file_column": "picture",
    "data.crop": 0,
    "data.crop_column": "edge",
    "train.epochs": 1,
    "predict.catalog": str(path),
  }
  _run(tmp_path, "prepare", "train", **run)
  given = _predict(tmp_path, **run)
  named = {"predict.crop_column": "edge", "predict.id_column": "name"}
  pd.testing.assert_frame_equal(given, _predict(tmp_path, **run, **named))
  whole = _predict(tmp_path, **run, **{"predict.crop": 0})
  differ = abs(given["p_smooth"] - whole["p_smooth"]) > 1e-5
  cut = np.resize([True, True, False], 60)
  assert differ[cut].mean() > 0.9
  assert not differ[~cut].any()


def test_prediction_needs_a_trained_network(tmp_path):
  with pytest.raises(UserError, match="stage predict needs stage prepare"):
    _run(tmp_path, "predict", **{"predict.catalog": "own.csv"})


def test_the_command_line_predicts_on_eight_devices(of_classes):
  found = _predict(of_classes, **_own(of_classes))
  flags = {**TINY, **_own(of_classes)}
  done = launch(
    *tiny(of_classes, "--stage=predict", "--jax_num_cpu_devices=8"),
    *(f"--config.{name}={value}" for name, value in flags.items()),
  )
  assert done.returncode == 0, done.stderr
  again = pd.read_parquet(of_classes / "run" / "predictions.parquet")
  _near(again, found)


@needs_real(DECALS)
def test_real_galaxies_are_predicted_and_compared(of_votes):
  found = _predict(
    of_votes,
    **COUNTS,
    **{
      "predict.catalog": str(DECALS / "catalog.csv"),
      "predict.id_column": "iauname",
      "predict.crop": 212,
    },
  )
  table = pd.read_csv(DECALS / "catalog.csv")
  assert list(found["id_str"]) == list(table["iauname"])
  shares = found[list(GZ2.answers)].to_numpy(np.float64)
  assert len(shares) == 80
  for part in GZ2.slices:
    np.testing.assert_allclose(shares[:, part].sum(axis=1), 1, atol=1e-5)
  assert np.ptp(shares[:, 0]) > 1e-3
  ranks = pd.read_csv(of_votes / "run" / "prediction_ranks.csv")
  assert list(ranks["answer"]) == [
    "smooth-or-featured_featured-or-disk",
    "disk-edge-on_no",
    "has-spiral-arms_no",
  ]
  for row in ranks.itertuples():
    truth = table[f"{row.answer}_fraction"]
    known = truth.notna()
    assert row.galaxies == known.sum() > 40
    wanted = stats.spearmanr(truth[known], found[row.answer][known]).statistic
    assert row.spearman == pytest.approx(wanted, abs=1e-6)
