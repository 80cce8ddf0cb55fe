"""A frozen encoder: galaxies go through it once, and the head alone learns."""

import numpy as np
import pandas as pd
import pytest

from configs import finetune
from gzjax import models
from gzjax.data import feed
from gzjax.errors import UserError
from gzjax.pipeline import checks, embeddings, similar
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.problem import features
from tests.pipeline import tiny_runs

FROZEN = {
  "model.frozen": True,
  "train.epochs": 8,
  "train.learning_rate": 0.02,
  "audit.kind": "folds",
  "audit.folds": 2,
  "unlearn.least_learned": 0.0,
  "unlearn.methods": ("retrain", "negative_learning", "reinit_head"),
  "evaluate.relearn_epochs": 0,
  "evaluate.views": 1,
}


def _config(**changes):
  return tiny_runs.config(FROZEN, changes)


def _run(folder, stage="all", **changes):
  config = _config(**changes)
  tiny_runs.run(folder, config, stage)
  return Experiment(config, Workdir(folder / "run"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sky, unpainted):
  folder = tmp_path_factory.mktemp("frozen")
  (folder / "tfds").symlink_to(sky)
  _run(folder)
  return folder


@pytest.fixture(scope="module")
def experiment(folder):
  return Experiment(_config(), Workdir(folder / "run"))


def test_the_head_alone_is_kept_and_all_of_the_pipeline_runs_on_it(
  folder, experiment
):
  network = experiment.network("original")
  assert set(network.params) == {"head"}
  assert not network.batch_stats
  table = pd.read_csv(folder / "run" / "scoreboard.csv", index_col="method")
  assert list(table.index) == [
    *("constant", "original", "retrain"),
    *("negative_learning", "reinit_head"),
  ]
  chance = table.loc["constant", "test_balanced_accuracy"]
  assert table.loc["original", "test_balanced_accuracy"] > chance + 0.1
  # Without BatchNorm nothing comes back.
  np.testing.assert_array_equal(
    table["renewed_forget_accuracy"], table["forget_accuracy"]
  )
  assert (folder / "run" / "audit" / "review.html").exists()


def test_what_it_says_is_what_the_whole_network_would_say(experiment):
  """The encoder with the learned head in the place of its own."""
  encoder, head = experiment.encoder, experiment.network("original").params
  rows = np.arange(24)
  whole = models.build(
    experiment.config.model.name,
    len(experiment.classes),
    **models.NETWORKS.take(
      experiment.config.model.name, experiment.config.model
    ),
  )
  (batch,) = feed.Feed(
    experiment.dataset.image,
    {},
    experiment.mesh,
    normalisation=experiment.normalisation,
  ).batches(feed.ordered_rows(rows, 24))
  wanted, _ = models.make_apply_fn(whole)(
    {**encoder.params, **head}, encoder.batch_stats, batch["image"], train=False
  )
  (said,) = experiment.ask(
    experiment.dataset.image, experiment.network("original")
  )
  p = np.exp(wanted - np.asarray(wanted).max(1, keepdims=True))
  np.testing.assert_allclose(
    said.probabilities[rows], p / p.sum(1, keepdims=True), atol=1e-5
  )


def test_embeddings_are_kept_and_known_again(folder, experiment, monkeypatch):
  path = folder / "run" / embeddings.NAME
  table = pd.read_parquet(path)
  assert list(table["id_str"]) == list(experiment.split["id_str"])
  seen = table.drop(columns="id_str").to_numpy()
  assert seen.dtype == np.float32
  np.testing.assert_array_equal(experiment.embeddings, seen)
  np.testing.assert_allclose(
    experiment.encoded(experiment.dataset.image), seen, atol=1e-5
  )
  asked = []

  def encoded(self, image):
    asked.append(len(image))
    return seen

  monkeypatch.setattr(Experiment, "encoded", encoded)
  again = Experiment(_config(), Workdir(folder / "run"))
  np.testing.assert_array_equal(embeddings.kept(again), seen)
  assert not asked
  # Of another network, or damaged, they are computed again.
  embeddings.kept(Experiment(_config(seed=5), Workdir(folder / "run")))
  assert asked == [len(seen)]
  path.write_bytes(path.read_bytes()[:-100])
  embeddings.kept(again)
  assert asked == [len(seen)] * 2


def test_similar_galaxies_and_oddities(folder, experiment, capsys):
  _run(folder, "similar")
  odd = pd.read_csv(folder / "run" / similar.ODDITIES, dtype={"id_str": str})
  unit = experiment.embeddings.astype(np.float64)
  unit /= np.linalg.norm(unit, axis=1, keepdims=True)
  cosine = unit @ unit.T
  np.fill_diagonal(cosine, -np.inf)
  score = 1 - np.sort(cosine, axis=1)[:, -10:].mean(axis=1)
  ids = experiment.split["id_str"].to_numpy()
  np.testing.assert_allclose(
    odd.set_index("id_str")["oddity"].loc[ids], score, atol=1e-5
  )
  assert odd["oddity"].is_monotonic_decreasing
  name = ids[7]
  _run(folder, "similar", **{"similar.id": name, "similar.neighbours": 5})
  alike = pd.read_csv(folder / "run" / similar.ALIKE, dtype={"id_str": str})
  assert list(alike["id_str"]) == list(ids[np.argsort(-cosine[7])[:5]])
  assert f"Most like {name}" in capsys.readouterr().out
  with pytest.raises(UserError, match=f"did you mean {name}"):
    _run(folder, "similar", **{"similar.id": f"{name}x"})


def test_an_ordinary_network_is_embedded_by_what_it_has_learned(
  tmp_path, sky, unpainted
):
  (tmp_path / "tfds").symlink_to(sky)
  changes = {"model.frozen": False, "train.epochs": 1}
  experiment = _run(tmp_path, "prepare", **changes)
  _run(tmp_path, "train", **changes)
  assert not (tmp_path / "run" / embeddings.NAME).exists()
  _run(tmp_path, "embed", **changes)
  network = experiment.network("original")
  wanted = features(experiment.problem, network, np.arange(12))
  table = pd.read_parquet(tmp_path / "run" / embeddings.NAME)
  np.testing.assert_allclose(
    table.drop(columns="id_str")[:12], wanted, atol=1e-5
  )


def test_views_of_what_is_seen_once_are_refused():
  with pytest.raises(UserError, match=r"views is 8: with model\.frozen"):
    checks.check_config(_config(**{"evaluate.views": 8}))


@pytest.mark.parametrize("variant", ["", "layers"])
def test_the_config_is_zoobots(variant):
  config = finetune.get_config(variant)
  config.data.catalog = "galaxies.csv"
  checks.check_config(config)
  assert config.model.weights == "zoobot:convnext_nano"
  assert config.model.frozen == (variant == "")
