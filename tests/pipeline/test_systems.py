"""The slides' systems through the whole pipeline, and side by side."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from configs import (
  decals,
  decals_dirichlet,
  decals_efficientnetv2,
  decals_hierarchical,
  decals_multiclass,
  decals_multilabel,
)
from gzjax.data import dataset
from gzjax.errors import UserError
from gzjax.morphology import labels, trees
from gzjax.morphology.campaigns import GZD_5, TEN_LABELS
from gzjax.pipeline import checks, labels_and_flips, stages
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.problem import predict
from tests.command_line import launch

COMPARED = ("multiclass", "multilabel", "multilabel_tree", "hierarchical")
TEN = trees.part(GZD_5, TEN_LABELS)


def _config(compared=COMPARED):
  config = decals.get_config("tiny")
  config.compared = compared
  for system in config.systems.values():
    system.unlearn.methods = ("retrain",)
  return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, on_one_device, unpainted):
  """Where a comparison on one device is finished."""
  folder = tmp_path_factory.mktemp("systems")
  stages.run(_config(), str(folder / "run"), data_dir=str(folder / "tfds"))
  return folder


def _experiment(folder, name):
  return Experiment(_config().systems[name], Workdir(folder / "run" / name))


def _split(folder, name):
  return pd.read_parquet(folder / "run" / name / "split.parquet")


def _table(folder, name, row="original"):
  return pd.read_parquet(folder / "run" / name / "evaluate" / f"{row}.parquet")


def _found(folder):
  return json.loads((folder / "run" / "systems.json").read_text())


def _row(folder, system, method="original"):
  (row,) = [
    row
    for row in _found(folder)["rows"]
    if (row["system"], row["method"]) == (system, method)
  ]
  return row


def _votes(folder, name):
  table = pd.read_parquet(folder / "run" / name / "data" / "votes.parquet")
  return table[list(GZD_5.answers)].to_numpy()


def _volunteers(folder, name):
  table = pd.read_parquet(folder / "run" / name / "data" / "votes.parquet")
  answers = GZD_5.answers[GZD_5.slices[0]]
  return table[[f"{answer}_votes" for answer in answers]].sum(axis=1).to_numpy()


def test_all_systems_have_the_same_split(folder):
  splits = {name: _split(folder, name) for name in COMPARED}
  where = {}
  for table in splits.values():
    for galaxy, split in zip(table["id_str"], table["split"], strict=True):
      assert where.setdefault(galaxy, split) == split
  assert len(splits["multiclass"]) < len(splits["hierarchical"])
  assert set(splits["multiclass"]["true_label"]) == set(labels.FOUR)


def test_labels_are_votes_over_half(folder):
  """And networks with wrong labels learn those of another galaxy."""
  experiment = _experiment(folder, "multilabel")
  split = _split(folder, "multilabel")
  shares = _votes(folder, "multilabel")[:, trees.places(GZD_5, TEN)]
  assert np.isfinite(shares).all()
  wanted = shares > 0.5
  np.testing.assert_array_equal(experiment.columns.true["votes"], wanted)
  rows = pd.Index(split["id_str"]).get_indexer(split["votes_of"])
  np.testing.assert_array_equal(experiment.columns.given["votes"], wanted[rows])
  assert split["flipped"].sum() > 5


def test_branches_are_where_the_majority_leads(folder):
  experiment = _experiment(folder, "hierarchical")
  tree = experiment.target.tree
  found = experiment.columns.true["votes"]
  shares = _votes(folder, "hierarchical")
  counts = pd.read_parquet(
    folder / "run" / "hierarchical" / "data" / "votes.parquet"
  )
  for row, galaxy in enumerate(shares):

    def most(name, galaxy=galaxy):
      part = galaxy[GZD_5.slices[GZD_5.question(name)]]
      return -1 if np.isnan(part).all() else int(part.argmax())

    def answered(name, row=row):
      answers = [a for a in GZD_5.answers if a.startswith(f"{name}_")]
      return counts[[f"{a}_votes" for a in answers]].iloc[row].sum() >= 5

    first = most("smooth-or-featured")
    face_on = first == 1 and most("disk-edge-on") == 1
    inside = {
      "smooth-or-featured": True,
      "how-rounded": first == 0,
      "disk-edge-on": first == 1,
      "has-spiral-arms": face_on,
      "merging": face_on,
    }
    for question, part in zip(tree.questions, tree.slices, strict=True):
      name = question.name
      wanted = np.zeros(len(question.answers))
      if inside[name] and answered(name):
        wanted[most(name)] = 1
      np.testing.assert_array_equal(found[row, part], wanted)
  assert found[:, tree.slices[1]].any()


def test_a_network_for_each_question_shares_nothing(folder):
  experiment = _experiment(folder, "hierarchical")
  params, _ = experiment.problem.fresh
  assert list(params["head"]) == [f"net{i}" for i in range(5)]
  sizes = [net["bias"].shape[0] for net in params["head"].values()]
  assert sizes == [len(q.answers) for q in experiment.target.tree.questions]
  shared = _config(("hierarchical_shared",)).systems.hierarchical_shared
  assert not shared.model.per_question


def test_accuracies_follow_from_the_predictions(folder):
  """Galaxy by galaxy, from the files of the run, in plain loops."""
  for name in ("multilabel_tree", "hierarchical"):
    split, table = _split(folder, name), _table(folder, name)
    tree = _experiment(folder, name).target.tree
    votes = _votes(folder, name)
    right, sure = {}, {}
    # Systems may learn from galaxies with fewer votes, but are not judged by
    # them.
    many = _volunteers(folder, name) >= 30
    for row in np.flatnonzero((split["split"] == "test") & many):
      galaxy = np.nan_to_num(votes[row, trees.places(GZD_5, tree)])
      asked = trees.asked(tree, galaxy)
      for q, part in enumerate(tree.slices):
        if asked[q] < 0.5:
          continue
        said = table[list(tree.answers[part])].iloc[row].to_numpy()
        hit = said.argmax() == galaxy[part].argmax()
        right.setdefault(tree.questions[q].name, []).append(hit)
        if galaxy[part].max() > 0.8:
          sure.setdefault(tree.questions[q].name, []).append(hit)
    rows = _row(folder, name)["questions"]
    for line in rows[:-1]:
      hits = right.get(line["question"], [])
      assert line["galaxies"] == len(hits)
      if hits:
        assert line["accuracy"] == pytest.approx(np.mean(hits))
      hits = sure.get(line["question"], [])
      assert line["confident_galaxies"] == len(hits)
    everything = np.concatenate(list(right.values()))
    assert rows[-1]["question"] == "all"
    assert rows[-1]["accuracy"] == pytest.approx(everything.mean())
    if not many.all():
      continue
    # The run's own table is on the same galaxies.
    own = pd.read_csv(
      folder / "run" / name / "evaluate" / "labels" / "questions.csv"
    )
    own = own[own["method"] == "original"]
    np.testing.assert_allclose(
      own["accuracy"].iloc[-1], rows[-1]["accuracy"], atol=1e-6
    )


def test_scores_of_labels_are_those_of_sklearn(folder):
  split, table = _split(folder, "multilabel"), _table(folder, "multilabel")
  each = pd.read_csv(
    folder / "run" / "multilabel" / "evaluate" / "labels" / "per_label.csv"
  )
  each = each[each["method"] == "original"]
  assert tuple(each["label"]) == TEN.answers
  experiment = _experiment(folder, "multilabel")
  test = np.flatnonzero(split["split"] == "test")
  truth = experiment.columns.true["votes"][test] > 0
  np.testing.assert_array_equal(each["positives"], truth.sum(axis=0))
  # The table has the shares; the labels' own probabilities are the sigmoids.
  logits = predict(experiment.problem, experiment.network("original"), test)
  p = 1 / (1 + np.exp(-logits.astype(np.float64)))
  shares = table[list(TEN.answers)].to_numpy()[test]
  np.testing.assert_allclose(
    shares[:, :3], p[:, :3] / p[:, :3].sum(axis=1, keepdims=True), atol=1e-4
  )
  for cut, name in ((0.5, "0.5"), (each["threshold"].to_numpy(), "tuned")):
    (scores,) = [
      scores
      for scores in _row(folder, "multilabel")["labels"]
      if scores["thresholds"] == name
    ]
    wanted = f1_score(truth, p >= cut, average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(wanted, abs=1e-6)
    exact = np.mean(np.all((p >= cut) == truth, axis=1))
    assert scores["exact_match"] == pytest.approx(exact)


def test_everyone_is_there_and_some_are_uncertain(folder):
  """The common validation set, straight from the records of the data set."""
  experiment = _experiment(folder, "multiclass")
  data, _ = experiment.of_splits(("validation",), 30)
  found = labels_and_flips.find_labels(experiment.config, data).label
  whole = dataset.load(folder / experiment.prepared["folder"], crop=0, size=16)
  many = whole.votes.counts[:, :3].sum(axis=1) >= 30
  where = dict(
    zip(whole.table["id_str"], experiment.split_of(whole.table), strict=True)
  )
  wanted = [
    galaxy
    for galaxy, enough in zip(whole.table["id_str"], many, strict=True)
    if enough and where[galaxy] == 1
  ]
  assert list(data.table["id_str"]) == wanted
  split = _split(folder, "multiclass").set_index("id_str")
  for galaxy, label in zip(wanted, found, strict=True):
    if label < 0:
      assert galaxy not in split.index
    else:
      assert split["true_label"][galaxy] == labels.FOUR[label]
      assert split["split"][galaxy] == "validation"
  path = folder / "run" / "multiclass" / "evaluate" / "uncertain.json"
  methods = json.loads(path.read_text())["methods"]
  assert list(methods) == ["original", "retrain"]
  common = np.array(methods["original"]["common"])
  assert common.shape == (5, 5)
  counts = np.bincount(np.where(found < 0, 4, found), minlength=5)
  np.testing.assert_array_equal(common.sum(axis=1), counts)
  assert counts[4] > 0
  balanced = np.array(methods["original"]["balanced"])
  np.testing.assert_allclose(balanced.sum(axis=1), counts[:4] > 0)


def test_classes_of_networks_that_answer_questions(folder):
  """The class with the largest share of all volunteers, by hand."""
  row = _row(folder, "multilabel_tree")
  split, table = (
    _split(folder, "multilabel_tree"),
    _table(folder, "multilabel_tree"),
  )
  four = _split(folder, "multiclass").set_index("id_str")
  hits = []
  for i in np.flatnonzero(split["split"] == "test"):
    galaxy = split["id_str"].iloc[i]
    if galaxy not in four.index:
      continue
    p = table.iloc[i]
    disk = p["smooth-or-featured_featured-or-disk"] * p["disk-edge-on_no"]
    scores = {
      "spiral": disk * p["has-spiral-arms_yes"],
      "elliptical": p["smooth-or-featured_smooth"],
      "irregular": 0.0,
      "lenticular": disk * p["has-spiral-arms_no"],
    }
    hits.append(max(scores, key=scores.get) == four["true_label"][galaxy])
  assert row["four"]["accuracy"] == pytest.approx(np.mean(hits))
  assert _found(folder)["confident"] == len(hits)


def test_the_page_says_what_the_files_say(folder):
  html = (folder / "run" / "report.html").read_text()
  words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
  found = _found(folder)
  assert f"{found['galaxies']} test galaxies" in words
  for name in COMPARED:
    assert f'href="{name}/report.html"' in html
    assert f"{_row(folder, name)['parameters']:,}" in words
  assert "multilabel published" in words
  assert "0.269" in words
  assert "multilabel_tree \N{MINUS SIGN} multilabel" in words
  assert html.count('alt="galaxy sky0-') == 8
  assert not re.search(r'(src|href)="(http|//)', html)
  own = (folder / "run" / "multiclass" / "report.html").read_text()
  assert "calls a\ngalaxy uncertain" in own
  assert "(votes " in own
  assert (
    "Level 0 (root)"
    in (folder / "run" / "hierarchical" / "report.html").read_text()
  )
  assert (
    "predicted ✓" in (folder / "run" / "multilabel" / "report.html").read_text()
  )


def test_a_finished_comparison_is_only_told_again(folder, capsys):
  before = (folder / "run" / "systems.json").read_text()
  stages.run(_config(), str(folder / "run"), data_dir=str(folder / "tfds"))
  said = capsys.readouterr().out
  assert "stage train" not in said
  assert "Systems on the same test galaxies" in said
  assert (folder / "run" / "systems.json").read_text() == before


def test_unknown_systems_are_named(tmp_path):
  with pytest.raises(UserError, match=r"'best'.*choose of .*multiclass"):
    stages.run(_config(("best",)), str(tmp_path / "run"))


def test_systems_with_splits_by_label_cannot_be_compared(tmp_path):
  config = _config(("multiclass",))
  config.data.split_by = "label"
  with pytest.raises(UserError, match=r"data\.split_by=id"):
    stages.run(config, str(tmp_path / "run"))


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model.per_question": True}, "per_question needs the questions"),
    (
      {"target.kind": "branches", "target.questions": ("bar",)},
      "five questions of its own",
    ),
    ({"model.name": "resnet18", "model.hidden": 3}, "model.hidden is 3"),
    ({"data.split_by": "name"}, "data.split_by is 'name'"),
    (
      {
        "target.kind": "answers",
        "labels.kind": "question",
        "target.questions": ("bar",),
      },
      r"bar is asked after disk-edge-on_no\): choose of .*merging",
    ),
    (
      {
        "target.kind": "branches",
        "labels.kind": "question",
        "labels.question": "bar",
      },
      "'bar', which target.kind=branches does not learn",
    ),
  ],
)
def test_what_cannot_be_learned_is_said(changes, words, tmp_path, folder):
  config = _config().systems.multiclass.copy_and_resolve_references()
  config.train.balanced_to = 0
  config.update_from_flattened_dict(changes)
  with pytest.raises(UserError, match=words):
    stages.run(
      config, str(tmp_path / "run"), "prepare", data_dir=str(folder / "tfds")
    )


@pytest.mark.parametrize(
  ("file", "variants"),
  [
    (decals_multiclass, ("", "cpu")),
    (decals_multilabel, ("", "cpu", "tree", "tree_cpu")),
    (decals_hierarchical, ("", "cpu", "shared", "shared_cpu")),
    (decals_efficientnetv2, ("", "cpu")),
    (decals_dirichlet, ("", "cpu")),
  ],
  ids=lambda x: getattr(x, "__name__", ""),
)
def test_configs_of_the_systems(file, variants):
  for variant in variants:
    config = file.get_config(variant)
    checks.check_config(config)
    small = variant.endswith("cpu")
    assert (config.data.builder == "galaxy_synthetic") == small
    assert set(config.unlearn.methods) >= {
      "retrain", "gradient_ascent", "negative_learning", "fisher_forgetting",
    }  # fmt: skip
  for wrong in ("large", "cpu_tree", "tree_", "gpu"):
    with pytest.raises(ValueError, match=f"no variant {wrong!r}"):
      file.get_config(wrong)


def test_a_change_of_the_data_is_one_for_all_systems():
  config = decals.get_config("cpu")
  config.data.galaxies, config.predict.crop, config.seed = 7, 3, 5
  for name in config.compared:
    system = config.systems[name].copy_and_resolve_references()
    found = system.data.galaxies, system.predict.crop, system.seed
    assert found == (7, 3, 5)


def test_the_recipes_are_those_of_the_slides():
  four = decals_multiclass.get_config()
  assert (four.model.name, four.model.dropout) == ("cnn", 0.25)
  assert (four.train.optimizer, four.train.learning_rate) == ("adam", 1e-4)
  assert (four.train.epochs, four.train.balanced_to) == (20, 9000)
  assert (four.labels.kind, four.evaluate.uncertain_below) == ("four", 0.6)
  assert four.data.size == 224
  ten = decals_multilabel.get_config()
  assert (ten.target.kind, ten.model.dropout) == ("labels", 0.5)
  five = decals_hierarchical.get_config()
  assert (five.target.kind, five.model.per_question) == ("branches", True)
  assert not decals_hierarchical.get_config("shared").model.per_question
  assert decals_efficientnetv2.get_config().model.name == "efficientnetv2_m"
  assert decals_dirichlet.get_config().model.name == "efficientnetv2_m"


@pytest.mark.slow
def test_the_command_runs_all_systems(tmp_path):
  done = launch(
    "--config=configs/decals.py:tiny",
    f"--workdir={tmp_path / 'run'}",
    f"--data_dir={tmp_path / 'tfds'}",
    "--config.systems.dirichlet.train.epochs=1",
  )
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / "run" / "systems.json").read_text())
  config = decals.get_config()
  assert [row["system"] for row in found["rows"][::2]] == list(config.compared)
  for name in config.compared:
    board = pd.read_csv(tmp_path / "run" / name / "scoreboard.csv")
    assert list(board["method"]) == [
      "constant", "original", "retrain", "gradient_ascent",
      "negative_learning", "fisher_forgetting",
    ]  # fmt: skip
  log = tmp_path / "run" / "dirichlet" / "train" / "metrics.jsonl"
  assert pd.read_json(log, lines=True)["epoch"].max() == 1
