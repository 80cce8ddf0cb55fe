"""Labels that volunteers voted for: their votes and the networks together."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from configs import demo
from gzjax.audit import endless, volunteers
from gzjax.files import read_text_table
from gzjax.morphology import labels
from gzjax.morphology.campaigns import GZ2
from gzjax.morphology.votes import from_counts
from gzjax.pipeline import audit_votes, stages
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir

CHANGES = {
  "flips.kind": "none",
  "data.split_by": "id",
  "labels.kind": "question",
  "target.kind": "counts",
  "train.epochs": 2,
  "audit.kind": "folds",
  "audit.folds": 2,
  "audit.train": {"epochs": 1},
  "audit.reviewed": 3,
}
FEATURES = {"audit.kind": "features"}
CLASSES = labels.class_names(GZ2, 0)
COLUMNS = [
  "id_str", "question", "show_rank", "votes", "majority", "network",
  "consensus", "quality", "dawid_skene", "dawid_skene_share", "certainty",
]  # fmt: skip
OF_A_LAW = ["conjugate", "conjugate_share", "tail_probability"]


def _config(changes):
  config = demo.get_config("tiny")
  config.update_from_flattened_dict({**CHANGES, **changes})
  return config


def _run(folder, *names, **changes):
  for name in names:
    stages.run(
      _config(changes), str(folder / "run"), name, data_dir=str(folder / "tfds")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sky, on_one_device, unpainted):
  folder = tmp_path_factory.mktemp("repair_votes")
  (folder / "tfds").symlink_to(sky)
  _run(folder, "prepare", "train", "audit")
  return folder


def _experiment(folder, **changes):
  return Experiment(_config(changes), Workdir(folder / "run"))


def _consensus(folder):
  return read_text_table(folder / "run" / "audit" / "consensus.csv")


def _check(table):
  """What any table of consensus must be."""
  assert list(table.columns)[: len(COLUMNS)] == COLUMNS
  certainty = table["certainty"].astype(float)
  assert certainty.is_monotonic_increasing
  assert table["show_rank"].astype(int).tolist() == [*range(1, len(table) + 1)]
  assert (table["votes"].astype(int) > 0).all()
  for name in ("quality", "certainty"):
    assert table[name].astype(float).between(0, 1).all()


def test_every_question_that_was_asked_has_a_consensus(folder):
  table = _consensus(folder)
  _check(table)
  assert list(table.columns) == COLUMNS + OF_A_LAW
  for name in OF_A_LAW[1:]:
    assert table[name].astype(float).between(0, 1).all()
  counts = np.rint(_experiment(folder).dataset.votes.counts)
  for question, part in zip(GZ2.questions, GZ2.slices, strict=True):
    asked = counts[:, part].sum(axis=1)
    some = table[table["question"] == question.name]
    assert len(some) == (asked > 0).sum() * bool((asked > 1).any())
    assert set(some["majority"]) <= set(question.answers)
  ids = _experiment(folder).split["id_str"]
  first = table[table["question"] == GZ2.questions[0].name]
  wanted = counts[:, GZ2.slices[0]]
  rows = pd.Index(ids).get_indexer(first["id_str"])
  assert (
    first["votes"].astype(int).tolist() == wanted[rows].sum(axis=1).tolist()
  )


def test_the_label_of_a_catalogue_is_judged_by_votes_and_networks(folder):
  experiment = _experiment(folder)
  table = read_text_table(folder / "run" / "audit" / "suspects.csv")
  votes = [f"votes_{name}" for name in CLASSES]
  assert [x for x in table.columns if x.startswith("votes_")] == votes
  counts = np.rint(experiment.dataset.votes.counts)[:, GZ2.slices[0]]
  row = pd.Index(experiment.split["id_str"]).get_indexer(table["id_str"])
  np.testing.assert_array_equal(table[votes].astype(int), counts[row])
  scores = experiment.suspects
  p = scores[[f"p_{name}" for name in CLASSES]].to_numpy()
  given = np.arange(len(p)), experiment.labels("train_label")
  found = volunteers.consensus(counts, p).posterior
  np.testing.assert_allclose(scores["label_score"], found[given])
  likely = endless.favourites(counts, p)[given]
  total = scores["probability_wrong"].sum()
  np.testing.assert_allclose(total, np.sum(1 - likely))


@pytest.mark.parametrize(
  ("classes", "settings", "answers"),
  [
    (CLASSES, {"kind": "question", "question": ""}, slice(0, 3)),
    (("yes", "no"), {"kind": "question", "question": "bar"}, slice(5, 7)),
    (("smooth", "artifact"), {"kind": "column"}, [0, 2]),
    # Of those with a yes and a no nobody knows which one is meant.
    (("yes", "no"), {"kind": "column"}, None),
    (("spiral", "disk"), {"kind": "column"}, None),
    # Shares of volunteers are no votes.
    (CLASSES, {"kind": "shares"}, None),
  ],
)
def test_the_votes_of_the_classes_are_those_of_their_question(
  classes, settings, answers
):
  kind = settings["kind"]
  counts = np.random.default_rng(0).poisson(4.0, (9, len(GZ2.answers)))
  shares = np.full(counts.shape, 0.33)
  votes = from_counts(GZ2, shares if kind == "shares" else counts)
  config = SimpleNamespace(
    labels=SimpleNamespace(**settings), flips=SimpleNamespace(column="label")
  )
  found = audit_votes.class_votes(
    SimpleNamespace(
      dataset=SimpleNamespace(votes=votes),
      classes=classes,
      config=config,
      is_repair=True,
    )
  )
  if answers is None:
    assert found is None
  else:
    assert found.may_judge
    np.testing.assert_array_equal(found.counts, counts[:, answers])


def test_what_did_not_learn_the_votes_speaks_of_the_classes_alone(folder):
  _run(folder, "audit", **FEATURES)
  table = _consensus(folder)
  _check(table)
  assert list(table.columns) == COLUMNS
  assert set(table["question"]) == {"classes"}
  assert set(table["network"]) <= set(CLASSES)
  experiment = _experiment(folder, **FEATURES)
  asked = experiment.dataset.votes.counts[:, GZ2.slices[0]].sum(axis=1)
  assert len(table) == (asked > 0).sum()
  # Of the labels that its features have learned it sets no target.
  assert experiment.problem.review.target is None
  summary = json.loads((folder / "run/audit/summary.json").read_text())
  assert summary["labels"] == len(experiment.split)
