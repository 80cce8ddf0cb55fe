"""Networks of votes through the whole pipeline, on the tiny synthetic sky."""

import json
import re

import jax
import numpy as np
import pandas as pd
import pytest

from configs import gz2_votes
from gzjax.data import augment, feed
from gzjax.errors import UserError
from gzjax.evaluation import scoreboard
from gzjax.evaluation.votes import rmse
from gzjax.models import make_predict_step
from gzjax.morphology import campaigns, noise, trees
from gzjax.morphology.campaigns import GZ2
from gzjax.morphology.votes import from_counts
from gzjax.objectives import kinds
from gzjax.pipeline import checks, defaults, stages
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.problem import predict
from tests.data.catalogs import add_columns, write_catalog
from tests.pipeline import tiny_runs
from tests.real_data import KAGGLE, needs_real

COUNTS = {
  "labels.kind": "question",
  "target.kind": "counts",
  "train.schedule": "plateau",
  "train.plateau_patience": 1,
  "train.warmup_epochs": 0.0,
  "train.epochs": 3,
  "unlearn.methods": ("retrain", "negative_learning", "fisher_forgetting"),
  "unlearn.negative_learning.epochs": 1,
  "evaluate.relearn_epochs": 0,
  "evaluate.views": 4,
}


def _config(**changes):
  return tiny_runs.config(COUNTS, changes)


def _run(folder, stage="all", **changes):
  config = _config(**changes)
  tiny_runs.run(folder, config, stage)
  return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sky, on_one_device, unpainted):
  """Where a run on counts is finished."""
  folder = tmp_path_factory.mktemp("votes")
  (folder / "tfds").symlink_to(sky)
  _run(folder)
  return folder


@pytest.fixture(scope="module")
def experiment(folder):
  return Experiment(_config(), Workdir(folder / "run"))


def test_wrong_votes_are_those_of_a_galaxy_with_the_wrong_label(folder):
  split = pd.read_parquet(folder / "run" / "split.parquet")
  flipped = split["flipped"].to_numpy()
  assert flipped.sum() == 14
  own = split["votes_of"] == split["id_str"]
  np.testing.assert_array_equal(~own, flipped)
  donor = split.set_index("id_str").loc[split["votes_of"]]
  np.testing.assert_array_equal(
    donor["true_label"].to_numpy(), split["train_label"].to_numpy()
  )
  assert set(donor["split"][flipped]) == {"train"}


def test_batches_hold_the_votes_that_are_trained_on(folder, experiment):
  votes = pd.read_parquet(folder / "run" / "data" / "votes.parquet")
  votes = votes.set_index("id_str")[[f"{name}_votes" for name in GZ2.answers]]
  split = pd.read_parquet(folder / "run" / "split.parquet")
  rows = experiment.sets.train
  (batch,) = experiment.problem.feed.batches(feed.ordered_rows(rows, 144))
  given = np.asarray(batch["votes"])[np.asarray(batch["valid"]) > 0]
  wanted = votes.loc[split["votes_of"].to_numpy()[rows]]
  np.testing.assert_array_equal(given, wanted)
  true = experiment.columns.true["votes"][rows]
  np.testing.assert_array_equal(
    true, votes.loc[split["id_str"].to_numpy()[rows]]
  )
  differ = (given != true).any(axis=1)
  assert set(np.flatnonzero(differ)) <= set(
    np.flatnonzero(split["flipped"].to_numpy()[rows])
  )
  assert differ.sum() >= 12  # two galaxies may have the same votes


def test_scoreboard_has_errors_that_follow_from_the_files(folder):
  run = folder / "run"
  table = pd.read_csv(run / "scoreboard.csv", index_col="method")
  agreed = (
    *scoreboard.COLUMNS,
    *scoreboard.MORE_COLUMNS,
    *scoreboard.VOTE_COLUMNS,
  )
  assert ("method", *table.columns) == agreed
  assert list(table.index) == [
    "constant", "original", "retrain", "negative_learning",
    "fisher_forgetting",
  ]  # fmt: skip
  split = pd.read_parquet(run / "split.parquet")
  votes = pd.read_parquet(run / "data" / "votes.parquet")
  shares = votes[list(GZ2.answers)].fillna(0).to_numpy()
  truth = trees.joint(GZ2, shares)
  rows = pd.Index(split["id_str"]).get_indexer(split["votes_of"])
  test = (split["split"] == "test").to_numpy()
  flipped = split["flipped"].to_numpy()
  for name in table.index:
    found = pd.read_parquet(run / "evaluate" / f"{name}.parquet")
    guess = trees.joint(GZ2, found[list(GZ2.answers)].to_numpy(np.float64))
    for column, part, wanted in (
      ("test_rmse", test, truth),
      ("forget_rmse", flipped, truth[rows]),
      ("corrected_rmse", flipped, truth),
    ):
      error = np.sqrt(np.mean((guess[part] - wanted[part]) ** 2))
      np.testing.assert_allclose(table.loc[name, column], error, rtol=1e-5)
  # The constant prediction is the mean of what was trained on.
  train = (split["split"] == "train").to_numpy()
  mean = truth[rows][train].mean(axis=0)
  error = np.sqrt(np.mean((truth[test] - mean) ** 2))
  assert table.loc["constant", "test_rmse"] == pytest.approx(error, rel=1e-4)


def test_predictions_tell_how_sure_they_are(folder):
  found = pd.read_parquet(folder / "run" / "evaluate" / "original.parquet")
  for answer in GZ2.answers:
    low, mean, high = (found[f"{answer}{end}"] for end in ("_lo", "", "_hi"))
    assert (low < high).all()
    assert ((low < mean) & (mean < high)).mean() > 0.9
    assert found[f"{answer}_concentration"].between(1, 101).all()
  np.testing.assert_allclose(
    found[["p_smooth", "p_featured", "p_artifact"]],
    found[list(GZ2.answers[:3])],
    rtol=1e-4,
    atol=1e-6,
  )


def test_the_report_speaks_of_votes(folder):
  text = (folder / "run" / "report.html").read_text()
  for heading in ("Predicted votes", "Mergers", "Calibration"):
    assert f">{heading}<" in text
  assert "test rmse" in re.sub(r"\s+", " ", text.replace("_", " "))
  for name in ("baselines", "answers", "flag", "coverage", "likelihood"):
    table = pd.read_csv(folder / "run" / "evaluate" / "votes" / f"{name}.csv")
    assert len(table)


def test_the_log_holds_the_error_and_the_learning_rate(folder):
  lines = (folder / "run" / "train" / "metrics.jsonl").read_text().splitlines()
  lines = [json.loads(line) for line in lines]
  train = [line for line in lines if line["split"] == "train"]
  validation = [line for line in lines if line["split"] == "validation"]
  rates = [line["learning_rate"] for line in train]
  assert rates[0] == pytest.approx(0.05)
  assert sorted(rates, reverse=True) == rates
  assert all(0 < line["rmse"] < 1 for line in validation)
  losses = [line["loss"] for line in validation]
  assert losses[-1] < losses[0]  # it learns


def test_views_are_averaged(experiment):
  network = experiment.network("original")
  predict_step = make_predict_step(experiment.apply_fn)
  rows = experiment.sets.test[:5]
  images = np.asarray(experiment.dataset.image[rows])
  wanted = 0
  for turn in range(4):
    turned = np.rot90(images, turn, axes=(1, 2))
    (batch,) = feed.Feed(
      np.ascontiguousarray(turned), {}, experiment.mesh,
      device_budget_bytes=1e9,
    ).batches(feed.ordered_rows(np.arange(5), 8))  # fmt: skip
    logits = predict_step(network.params, network.batch_stats, batch)
    wanted = wanted + np.asarray(logits)[:5] / 4
  found = predict(experiment.problem, network, rows, views=4)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_fractions_are_learned_too(folder, tmp_path, without_report):
  (tmp_path / "tfds").symlink_to(folder / "tfds")
  changes = {
    "target.kind": "fractions",
    "target.head": "divisive",
    "unlearn.methods": ("relabel",),
    "unlearn.relabel.epochs": 3,
    "unlearn.relabel.learning_rate": 1e-3,
  }
  _run(tmp_path, **changes)
  run = tmp_path / "run"
  table = pd.read_csv(run / "scoreboard.csv", index_col="method")
  # Without retraining its columns are empty; the errors are there.
  assert table["gap_to_retrain"].isna().all()
  assert np.isfinite(table["test_rmse"]).all()
  # Told the true votes, it comes closer to them.
  error = table["corrected_rmse"]
  assert error["relabel"] < error["original"]
  found = pd.read_parquet(run / "evaluate" / "original.parquet")
  assert not any("concentration" in name for name in found)
  asked = [f"p_asked_{question.name}" for question in GZ2.questions]
  np.testing.assert_allclose(
    found[asked],
    trees.asked(GZ2, found[list(GZ2.answers)].to_numpy(np.float64)),
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"labels.kind": "column"}, "labels.kind is 'column'"),
    ({"train.loss": "focal"}, "train.loss is 'focal'"),
    ({"unlearn.methods": ("scrub",)}, "scrub, which compares softmax"),
    ({"unlearn.methods": ("scrubs",)}, "unlearn.methods names 'scrubs'"),
    ({"unlearn.fisher.kind": "true"}, "no closed form for target.kind=counts"),
    ({"target.head": "linear"}, "target.head is 'linear'"),
    ({"target.kind": "votes"}, "target.kind is 'votes'"),
    ({"evaluate.views": 3}, "evaluate.views is 3"),
  ],
)
def test_what_cannot_be_is_told_at_once(tmp_path, changes, words):
  with pytest.raises(UserError, match=re.escape(words)) as error:
    _run(tmp_path, **changes)
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run" / "split.parquet").exists()


@pytest.mark.parametrize("variant", ["", "dirichlet", "cpu", "dirichlet_cpu"])
def test_the_configs_are_valid(variant):
  config = gz2_votes.get_config(variant)
  checks.check_config(config)
  assert (config.target.kind == "counts") == variant.startswith("dirichlet")


def test_donors_keep_right_labels_and_come_from_the_class():
  label = np.array([0, 0, 1, 1, 2, 2, 0])
  train_label = np.array([1, 0, 1, 1, 0, 2, 2])
  rows = noise.donors(label, train_label, seed=3)
  right = label == train_label
  np.testing.assert_array_equal(rows[right], np.flatnonzero(right))
  np.testing.assert_array_equal(label[rows], train_label)
  assert right[rows].all()
  with pytest.raises(UserError, match="no training galaxy of class number 1"):
    noise.donors(np.array([0, 0]), np.array([1, 0]), seed=0)


def test_the_error_counts_predictions_that_are_no_numbers_as_wrong():
  truth = np.array([[0.2, 0.8]])
  assert rmse(truth, np.full((1, 2), np.nan)) == pytest.approx(0.8)


def test_symmetries_are_eight_different_ones():
  image = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)
  found = [
    np.asarray(augment.symmetry(jax.numpy.asarray(image), k)) for k in range(8)
  ]
  for k, one in enumerate(found):
    wanted = np.rot90(image, k % 4, axes=(1, 2))
    if k >= 4:
      wanted = wanted[:, :, ::-1]
    np.testing.assert_array_equal(one, wanted)
  assert len({one.tobytes() for one in found}) == 8


@pytest.mark.slow
@needs_real(KAGGLE)
@pytest.mark.parametrize("variant", ["cpu", "dirichlet_cpu"])
def test_real_galaxies_are_learned_by_heart(
  tmp_path, variant, on_one_device, without_report
):
  """80 of the challenge's galaxies from their own files to predictions."""
  config = gz2_votes.get_config(variant)
  config.update_from_flattened_dict(
    {
      "data.size": 32,
      "labels.classes": ("smooth", "featured"),  # nobody saw an artifact
      "data.split": (0.6, 0.2, 0.2),
      "model.name": "resnet_tiny",
      "model.width": 16,
      "train.batch_size": 16,
      "train.epochs": 25,
      "train.learning_rate": 5e-3,
      "train.rotation": 0.0,
      "train.flip": False,
      "unlearn.batch_size": 16,
      "unlearn.methods": ("finetune",),
    }
  )
  stages.run(
    config,
    str(tmp_path / "run"),
    data_dir=str(tmp_path / "tfds"),
    manual_dir=str(KAGGLE),
  )
  lines = (tmp_path / "run" / "train" / "metrics.jsonl").read_text()
  loss = [
    line["loss"]
    for line in map(json.loads, lines.splitlines())
    if line["split"] == "train"
  ]
  if variant == "cpu":
    assert loss[-1] < 0.6 * loss[0]
  else:  # the law of the votes has an entropy that nothing can undercut
    assert loss[-1] < loss[0] - 10
  found = pd.read_parquet(tmp_path / "run" / "evaluate" / "original.parquet")
  shares = found[list(GZ2.answers)].to_numpy(np.float64)
  assert len(found) == 80
  for part in GZ2.slices:
    np.testing.assert_allclose(shares[:, part].sum(axis=1), 1, atol=1e-5)


def test_one_network_learns_what_several_campaigns_asked(tmp_path):
  """Of each galaxy the questions of its own campaign, others are masked."""
  tree = campaigns.find("gz2+euclid")
  count, half = 96, 48
  path, number = write_catalog(tmp_path, count), np.arange(count)
  counts = np.zeros((count, len(tree.answers)), int)
  for campaign, rows, answers in (
    ("gz2", number < half, ("smooth", "featured-or-disk", "artifact")),
    ("euclid", number >= half, ("smooth", "featured-or-disk", "problem")),
  ):
    for k, answer in enumerate(answers):
      place = tree.index(f"smooth-or-featured-{campaign}_{answer}")
      counts[:, place] = np.where(rows, np.where(number % 3 == k, 34, 3), 0)
  add_columns(path, dict(zip(tree.answers, counts.T, strict=True)))
  config = defaults.get_config()
  config.update_from_flattened_dict(
    {
      **COUNTS,
      "data.catalog": str(path),
      "data.tree": "gz2+euclid",
      "data.label_column": "",
      "data.size": 16,
      "model.name": "cnn",
      "model.width": 16,
      "train.batch_size": 16,
      "unlearn.batch_size": 16,
      "unlearn.forget_batch_size": 8,
      "unlearn.least_learned": 0.0,
      "unlearn.methods": ("retrain", "negative_learning"),
    }
  )
  stages.run(config, tmp_path / "run", "all", data_dir=str(tmp_path / "tfds"))
  experiment = Experiment(config, Workdir(tmp_path / "run"))
  assert experiment.classes == ("smooth", "featured", "artifact")
  assert len(experiment.split) == count
  votes = experiment.dataset.votes
  gz2 = np.array([x.campaign == "gz2" for x in tree.questions])
  ours = gz2[tree.question_of]
  known = np.isfinite(votes.cumulative)
  assert (known[:half] == ours).all()
  assert (known[half:] == ~ours).all()
  # What it says is judged on what was asked alone.
  table = pd.read_csv(tmp_path / "run" / "scoreboard.csv", index_col="method")
  found = pd.read_parquet(tmp_path / "run" / "evaluate" / "original.parquet")
  said = trees.joint(tree, found[list(tree.answers)].to_numpy(np.float64))
  test = (experiment.split["split"] == "test").to_numpy()
  error = (said - votes.cumulative)[test]
  assert np.isnan(error).any()
  wanted = np.sqrt(np.nanmean(error**2))
  assert table.loc["original", "test_rmse"] == pytest.approx(wanted, rel=1e-5)
  assert (tmp_path / "run" / "report.html").exists()


def test_fractions_of_several_campaigns_are_refused(tmp_path):
  tree = campaigns.find("gz2+euclid")
  counts = np.zeros((2, len(tree.answers)))
  counts[0, 0] = counts[1, -1] = 9
  with pytest.raises(ValueError, match=r"use target\.kind=counts"):
    kinds.TARGETS["fractions"].learn(from_counts(tree, counts), tree)
