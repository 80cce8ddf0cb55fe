"""The small CNN and class-balanced epochs in the pipeline."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from configs import demo
from gzjax.objectives import targets
from gzjax.pipeline import stages
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.training.dynamics import Dynamics

EPOCHS, BALANCED_TO, BATCH = 1, 96, 16


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, sky, on_one_device):
  """The tiny demo with a CNN on balanced epochs of uneven classes."""
  folder = tmp_path_factory.mktemp("cnn")
  config = demo.get_config("tiny")
  config.model.name = "cnn"
  config.model.small_stem = False
  config.train.epochs = EPOCHS
  config.train.batch_size = BATCH
  config.train.balanced_to = BALANCED_TO
  for stage in ("prepare", "train"):
    stages.run(config, str(folder / "run"), stage, data_dir=str(sky))
  return Experiment(config, Workdir(folder / "run"))


def test_steps_follow_from_the_size_of_the_epochs(experiment):
  lines = (experiment.workdir / "train" / "metrics.jsonl").read_text()
  steps = [json.loads(line)["step"] for line in lines.splitlines()]
  assert max(steps) == EPOCHS * (BALANCED_TO // BATCH)


def test_learned_classes_are_balanced(experiment):
  """Of an abundant class some are left out, of the others all are there."""
  members = experiment.sets.train
  label = experiment.columns.given["label"][members]
  found = pd.read_parquet(experiment.workdir / "train" / "dynamics.parquet")
  visited = found["mean_loss"].to_numpy() > 0
  each = BALANCED_TO // 3
  counts = np.bincount(label)
  assert counts.max() > EPOCHS * each
  assert counts.min() < each
  for k, count in enumerate(counts):
    seen = np.sum(visited[label == k])
    assert min(count, each) <= seen <= min(count, EPOCHS * each)


def test_repeated_visits_of_a_galaxy_are_all_counted():
  """Two batches of an epoch, galaxy 2 in both and twice in the second one."""
  rng = np.random.default_rng(0)
  rows = np.array([[2, 0, 3], [2, 4, 2]])
  logits = rng.normal(size=(2, 3, 2)).astype(np.float32)
  target = targets.classes(("smooth", "featured"))
  label = np.array([0, 1, 0, 1, 1])
  problem = SimpleNamespace(size=5, target=target)
  dynamics = Dynamics(problem, {"label": label})
  outputs = [{"id": i, "logits": x} for i, x in zip(rows, logits, strict=True)]
  for _ in range(2):
    dynamics.add(outputs)
  np.testing.assert_array_equal(dynamics.arrays["visits"], [2, 0, 6, 2, 2])
  table = dynamics.means(np.array([2, 4]))
  p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
  of_two = p[rows == 2]
  assert len(of_two) == 3
  np.testing.assert_allclose(
    table["mean_loss"],
    [-np.log(of_two[:, 0]).mean(), -np.log(p[1, 1, 1])],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    table["p_featured"], [of_two[:, 1].mean(), p[1, 1, 1]], rtol=1e-5
  )


def test_the_table_of_a_training_names_its_galaxies(experiment):
  found = pd.read_parquet(experiment.workdir / "train" / "dynamics.parquet")
  train = experiment.sets.train
  assert list(found["id_str"]) == list(experiment.split["id_str"].iloc[train])
