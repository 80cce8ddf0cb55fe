"""prepare: from tables and votes to split.parquet, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from gzjax import sharding
from gzjax.data import augment, dataset
from gzjax.errors import UserError
from gzjax.files import read_json
from gzjax.morphology import campaigns
from gzjax.pipeline import defaults, labels_and_flips, stages, weights
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from tests.data import zoo_files
from tests.data.catalogs import CLASSES, add_columns, write_catalog

COUNT = 60


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  """A catalogue with the votes of GZD-5, a split and labels as given.

  Galaxies 0, 10, 20, ... were seen by two volunteers; those whose number ends
  with 5 divide the volunteers; the last of all was never asked.
  """
  path = write_catalog(tmp_path_factory.mktemp("catalog"), COUNT)
  number = np.arange(COUNT)
  first = np.full((COUNT, 3), 3)
  first[number, number % 3] = 34
  first[number % 10 == 5] = (15, 15, 10)
  first[number % 10 == 0] //= 17
  first[-1] = 0
  counts = np.zeros((COUNT, len(campaigns.GZD_5.answers)), int)
  counts[:, :3] = first
  counts[:, 15] = first[:, 0]  # all that are smooth are round
  given = number % 3
  given[12:24] = (given[12:24] + 1) % 3
  add_columns(
    path,
    {
      **dict(zip(campaigns.GZD_5.answers, counts.T, strict=True)),
      "part": np.select(
        [number < 36, number < 48], ["Train", "val"], default="TEST"
      ),
      "as_given": np.asarray(CLASSES)[given],
      "ra": 10.5 + number / 7,
      "dec": number / 9 - 3,
    },
  )
  return path


def _prepare(tmp_path, path, **changes):
  return _run(tmp_path, **{"data.catalog": str(path), **changes})


def _run(tmp_path, manual_dir=None, name="run", **changes):
  config = defaults.get_config()
  settings = {
    "data.size": 16,
    "data.crop": 0,
    "train.batch_size": 8,
    "unlearn.batch_size": 8,
    "unlearn.forget_batch_size": 8,
    **changes,
  }
  config.update_from_flattened_dict(settings)
  place = tmp_path / name
  stages.run(
    config,
    str(place),
    "prepare",
    data_dir=str(tmp_path / "tfds"),
    manual_dir=manual_dir and str(manual_dir),
  )
  return Experiment(config, Workdir(place)), read_json(
    place / "stages" / "dataset.json"
  )


VOTES = {"data.tree": "gzd_5", "labels.kind": "question"}
BY_LABEL = {"data.label_column": "label"}  # no votes are looked for


def test_galaxies_without_a_clear_label_are_left_out_counted_and_told(
  tmp_path, path, capsys
):
  experiment, note = _prepare(
    tmp_path,
    path,
    **VOTES,
    **{"labels.min_votes": 5, "labels.threshold": 0.5},
  )
  assert note["left_out"] == {
    "fewer than 5 volunteers": 7,
    "nobody answered smooth-or-featured": 0,
    "uncertain: no class reaches its threshold": 6,
  }
  split = experiment.split
  number = split["id_str"].astype(int) - 1000
  assert len(split) == 47
  assert not set(number % 10) & {0, 5}
  assert list(split["true_label"]) == [CLASSES[k] for k in number % 3]
  told = capsys.readouterr().err
  assert "left out 7: fewer than 5 volunteers" in told
  assert "kept 47 galaxies: smooth 16, featured 16, artifact 15" in told
  assert "note: " not in told
  # Pixels and votes are those of the galaxies that were kept.
  data = experiment.dataset
  assert data.image.shape == (47, 16, 16, 3)
  everything = dataset.load(
    experiment.workdir.root.parent / note["folder"], crop=0, size=16
  )
  np.testing.assert_array_equal(
    np.asarray(data.image), everything.image[number]
  )
  np.testing.assert_array_equal(
    data.votes.counts, everything.votes.counts[number]
  )
  np.testing.assert_allclose(data.table["ra"], 10.5 + number / 7)
  assert list(data.table["id_str"]) == list(split["id_str"])


def test_what_is_found_in_the_table_is_in_the_config(tmp_path, path, capsys):
  table = pd.read_csv(path, dtype=str).drop(columns="label")
  table.to_csv(tmp_path / "votes.csv", index=False)
  changes = {"data.images": str(path.parent)}
  experiment, note = _prepare(tmp_path, tmp_path / "votes.csv", **changes)
  data = experiment.config.data
  assert (data.tree, data.vote_form, data.label_column) == (
    "gzd_5",
    "counts",
    "",
  )
  assert (data.ra_column, data.split_column) == ("ra", "")
  assert experiment.config.labels.kind == "question"
  assert note["left_out"]["nobody answered smooth-or-featured"] == 1
  said = capsys.readouterr()
  assert "votes.csv: 60 galaxies" in said.out
  assert "labels.kind=question" in said.err
  record = read_json(experiment.workdir / "config.json")["config"]
  assert record["data"]["tree"] == "gzd_5"
  assert record["labels"]["kind"] == "question"
  assert "auto" not in record["data"].values()


def test_galaxies_without_a_label_are_left_out(tmp_path, path):
  table = pd.read_csv(path, dtype=str)
  table.loc[::5, "label"] = ""
  table.to_csv(tmp_path / "some.csv", index=False)
  changes = {
    **{"data.images": str(path.parent), "data.split_by": "id"},
    "flips.kind": "none",
  }
  experiment, note = _prepare(
    tmp_path, tmp_path / "some.csv", **changes, **BY_LABEL
  )
  assert note["left_out"] == {"no label (predicted, not audited)": 12}
  # The split is by the id: with all labels every galaxy is where it was.
  everything, _ = _prepare(tmp_path / "all", path, **changes, **BY_LABEL)
  splits = [
    x.split.set_index("id_str")["split"] for x in (experiment, everything)
  ]
  assert len(splits[0]) == COUNT - 12
  pd.testing.assert_series_equal(splits[0], splits[1].loc[splits[0].index])
  assert len(experiment.whole.table) == COUNT


def test_the_votes_are_studied(tmp_path, path):
  experiment, note = _prepare(tmp_path, path, **VOTES)
  table = pd.read_csv(
    experiment.workdir / "data" / "correlations.csv", index_col=0
  )
  assert tuple(table.columns) == tuple(table.index) == campaigns.GZD_5.answers
  votes = experiment.dataset.votes.cumulative
  assert table.iloc[0, 1] == pytest.approx(
    np.corrcoef(votes[:, 0], votes[:, 1])[0, 1]
  )
  splits = pd.read_csv(experiment.workdir / "data" / "splits.csv")
  train = votes[experiment.sets.train, 0].mean()
  assert splits["mean_train"][0] == pytest.approx(train)
  assert note["questions"]["merging"] == [30, 34]


def test_the_split_of_the_catalogue_is_honoured(tmp_path, path):
  experiment, _ = _prepare(tmp_path, path, **{"data.split_column": "part"})
  np.testing.assert_array_equal(experiment.sets.train, np.arange(36))
  np.testing.assert_array_equal(experiment.sets.test, np.arange(48, 60))


def test_flips_are_the_labels_that_were_given(tmp_path, path):
  experiment, _ = _prepare(
    tmp_path,
    path,
    **{
      "data.split_column": "part",
      "flips.kind": "column",
      "flips.column": "as_given",
    },
  )
  split = experiment.split
  np.testing.assert_array_equal(
    np.flatnonzero(split["flipped"]), np.arange(12, 24)
  )
  table = pd.read_csv(path, dtype=str)
  train = split["split"] == "train"
  assert list(split["train_label"][train]) == list(table["as_given"][train])
  assert list(split["true_label"]) == list(table["label"])


def test_flips_are_what_most_volunteers_said(tmp_path, path):
  experiment, _ = _prepare(
    tmp_path,
    path,
    **{
      "data.tree": "gzd_5",
      "data.split_column": "part",
      "flips.kind": "column",
      "flips.column": "votes",
    },
  )
  split = experiment.split
  # Divided volunteers say smooth first, whatever the galaxy is.
  flipped = np.flatnonzero(split["flipped"])
  assert list(flipped) == [5, 25, 35]
  assert set(split["train_label"].iloc[flipped]) == {"smooth"}


def test_ambiguous_galaxies_are_flipped_by_their_votes(tmp_path, path):
  experiment, _ = _prepare(
    tmp_path,
    path,
    **VOTES,
    **{"flips.kind": "ambiguity", "flips.fraction": 0.2},
  )
  split = experiment.split
  assert split["flipped"].sum() == round(
    0.2 * (split["split"] == "train").sum()
  )
  shares = labels_and_flips.find_labels(
    experiment.config, experiment.dataset
  ).shares
  flipped = np.flatnonzero(split["flipped"])
  new = experiment.labels("train_label")[flipped]
  assert np.all(shares[flipped, new] > 0)


def test_some_classes_only(tmp_path, path):
  experiment, note = _prepare(
    tmp_path, path, **VOTES, **{"labels.classes": ("featured", "smooth")}
  )
  assert experiment.classes == ("featured", "smooth")
  assert set(experiment.split["true_label"]) == {"featured", "smooth"}
  assert note["left_out"]["of a class that was not asked for"] == 17


def test_normalisation_of_the_training_set(tmp_path, path):
  experiment, _ = _prepare(tmp_path, path, **{"data.normalise": "training"})
  train = experiment.sets.train
  wanted = experiment.dataset.image[train] / 255
  mean, std = wanted.mean((0, 1, 2)), wanted.std((0, 1, 2))
  feed = experiment.feed_of(experiment.dataset.image)
  (batch,) = feed.batches([(train[:8], np.ones(8, np.float32))])
  np.testing.assert_allclose(
    batch["image"], (wanted[:8] - mean) / std, atol=1e-4
  )


@pytest.mark.parametrize(
  ("budget", "spare", "on_device"),
  [(-1, 1e9, True), (-1, 10, False), (0, 1e9, False), (1, 0, True)],
)
def test_pixels_that_do_not_fit_an_accelerator_come_from_the_host(
  tmp_path, path, budget, spare, on_device, monkeypatch, capfd
):
  """And it is said, once."""
  changes = {"data.device_budget_gib": float(budget)}
  experiment, _ = _prepare(tmp_path, path, **changes)
  monkeypatch.setattr(sharding, "are_cpus", lambda mesh: False)
  monkeypatch.setattr(sharding, "spare_bytes", lambda mesh: spare)
  for _ in range(2):
    assert experiment.problem.feed.on_device == on_device
  said = capfd.readouterr().err
  assert said.count("they come from the host") == (not on_device)
  # Those that are seen once never stay.
  assert not experiment.feed_of(experiment.dataset.image).on_device


@pytest.mark.parametrize(
  ("changes", "wanted"),
  [
    ({}, "imagenet"),
    ({"model.weights": "resnet34.pth"}, "imagenet"),
    # Whose file beside the weights names ImageNet's, and who never uses it.
    ({"model.weights": "zoobot:convnext_nano"}, "unit"),
    ({"data.normalise": "unit"}, "unit"),
    (
      {"model.weights": "zoobot:resnet18", "data.normalise": "imagenet"},
      "imagenet",
    ),
  ],
)
def test_preprocessing_comes_with_the_weights(
  tmp_path, path, changes, wanted, monkeypatch
):
  monkeypatch.setattr(weights, "check", lambda config: None)  # there are none
  experiment, _ = _prepare(tmp_path, path, **changes)
  mean, std = augment.NORMALISATIONS[wanted]
  image = experiment.dataset.image
  feed = experiment.feed_of(image)
  (batch,) = feed.batches([(np.arange(8), np.ones(8, np.float32))])
  np.testing.assert_allclose(
    batch["image"], (image[:8] / 255 - mean) / std, atol=1e-4
  )


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (
      {**BY_LABEL, "labels.kind": "question"},
      "needs votes, and this data set has none",
    ),
    ({"data.tree": "gzd_5", "labels.kind": "five"}, "labels.kind is 'five'"),
    (
      {"labels.threshold": 0.9},
      "labels.threshold is 0.9, which labels.kind=column",
    ),
    (
      {"labels.min_votes": 5},
      "labels.min_votes is 5, which labels.kind=column",
    ),
    ({**VOTES, "labels.threshold": 80.0}, "a number from 0 to 1"),
    ({**VOTES, "labels.classes": ("smooth",)}, "two or more different"),
    ({**VOTES, "labels.classes": ("smooth", "smooth")}, "two or more"),
    ({"data.classes": ("smooth", "smooth")}, "two or more different classes"),
    ({"data.classes": (0, 1)}, "give text"),
    ({"data.split": ("a", "b", "c")}, "three positive shares"),
    ({"data.crop": -5}, "data.crop is -5"),
    ({"seed": -4}, "seed is -4"),
    ({"flips.column": "as_given"}, "which flips.kind=uniform does not have"),
    ({**VOTES, "labels.debiased": True}, "no debiased fractions"),
    ({**VOTES, "labels.threshold": 0.99}, "'smooth' has 2 galaxies"),
    ({"data.tree": "gzd_5", "data.label_column": ""}, "votes and no labels"),
    (
      {**BY_LABEL, "flips.kind": "ambiguity"},
      "needs the votes behind the labels",
    ),
    ({"flips.kind": "column"}, "flips.column is ''"),
    (
      {"flips.kind": "column", "flips.column": "expert"},
      "no column 'expert'",
    ),
    (
      {**BY_LABEL, "flips.kind": "column", "flips.column": "votes"},
      "neither votes nor",
    ),
    ({"flips.kind": "matrix"}, "flips.matrix is ()"),
    ({"flips.kind": "matrix", "flips.matrix": ((1, 2), (3,))}, "flips.matrix"),
    ({"flips.kind": "matrix", "flips.matrix": (0.9, 0.1)}, "flips.matrix"),
    ({"flips.kind": "matrix", "flips.matrix": (("a",),)}, "flips.matrix"),
  ],
)
def test_mistakes_are_told_in_one_line(tmp_path, path, changes, words):
  with pytest.raises(UserError) as caught:
    _prepare(tmp_path, path, **changes)
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run" / "split.parquet").exists()


def test_files_of_galaxy_zoo_become_labels(tmp_path):
  manual = tmp_path / "manual"
  table = zoo_files.write_kaggle(manual, COUNT)
  kaggle = {"data.builder": "galaxy_zoo2/kaggle", "labels.kind": "question"}
  experiment, _ = _run(tmp_path, manual, **kaggle)
  first = table[["Class1.1", "Class1.2", "Class1.3"]].astype(float)
  wanted = [CLASSES[k] for k in first.to_numpy().argmax(axis=1)]
  assert list(experiment.split["true_label"]) == wanted
  assert list(experiment.split["id_str"]) == list(table["GalaxyID"])
  # A folder with other files is another data set, not the old one again.
  more = tmp_path / "more"
  zoo_files.write_kaggle(more, COUNT + 3)
  experiment, _ = _run(tmp_path, more, "second", **kaggle)
  assert len(experiment.split) == COUNT + 3


@pytest.mark.parametrize("campaign", ["volunteers_5", "volunteers_1_and_2"])
def test_files_of_decals_become_labels(tmp_path, campaign):
  tree = {
    "volunteers_5": campaigns.GZD_5,
    "volunteers_1_and_2": campaigns.GZD_1_2,
  }[campaign]
  manual = tmp_path / "manual"
  zoo_files.write_decals(manual, tree, f"gz_decals_{campaign}", COUNT)
  (manual / "gz_decals_dr5_png_part3.zip").unlink()
  changes = {
    "data.builder": f"galaxy_zoo_decals/{campaign}",
    "labels.kind": "question",
    "data.verify": False,
    "train.batch_size": 4,
    "unlearn.batch_size": 4,
  }
  experiment, note = _run(tmp_path, manual, **changes)
  assert note["left_out"]["no image"] == COUNT // 2
  assert len(experiment.split) == COUNT // 2
  assert experiment.dataset.votes.tree is tree
  with pytest.raises(UserError, match=r"verify=False"):
    _run(tmp_path / "new", manual, **{**changes, "data.verify": True})


def test_hart16_takes_the_samples_that_are_asked_for(tmp_path):
  manual = tmp_path / "manual"
  table = zoo_files.write_hart16(manual, COUNT)
  changes = {
    "data.builder": "galaxy_zoo2/hart16",
    "labels.kind": "question",
    "data.verify": False,
  }
  for samples in (("original",), ("original", "extra")):
    experiment, _ = _run(
      tmp_path, manual, samples[-1], **changes, **{"data.samples": samples}
    )
    kept = table[table["sample"].isin(samples)]
    assert list(experiment.split["id_str"]) == list(kept["dr7objid"])


def test_files_that_changed_in_place_are_read_again(tmp_path):
  manual = tmp_path / "manual"
  zoo_files.write_kaggle_table(manual, zoo_files.write_kaggle(manual, COUNT))
  kaggle = {"data.builder": "galaxy_zoo2/kaggle", "labels.kind": "question"}
  _run(tmp_path, manual, **kaggle)
  # Of the same size: two columns change their names.
  path = manual / zoo_files.KAGGLE_TABLE
  text = path.read_text().replace("Class1.1,Class1.2", "Class1.2,Class1.1")
  path.write_text(text)
  with pytest.raises(UserError, match="do not sum to what the decision tree"):
    _run(tmp_path, manual, "second", **kaggle)


def test_a_prepare_that_failed_can_be_mended_in_the_same_workdir(
  tmp_path, path
):
  with pytest.raises(UserError, match=r"labels\.question is 'x'"):
    _prepare(tmp_path, path, **VOTES, **{"labels.question": "x"})
  experiment, _ = _prepare(tmp_path, path, **VOTES)
  assert len(experiment.split) == COUNT - 1
  with pytest.raises(UserError, match="another config"):
    _prepare(tmp_path, path, **VOTES, **{"labels.min_votes": 5})


def test_a_given_split_needs_every_class_everywhere(tmp_path, path):
  table = pd.read_csv(path, dtype=str)
  table.loc[table["label"] == "artifact", "part"] = "test"
  other = path.with_name("other.csv")
  table.to_csv(other, index=False)
  split = {"data.split_column": "part"}
  with pytest.raises(UserError, match=r"'artifact' in train: put some"):
    _prepare(tmp_path, other, **split)
  experiment, _ = _prepare(
    tmp_path, other, **split, **{"labels.classes": ("smooth", "featured")}
  )
  assert set(experiment.split["true_label"]) == {"smooth", "featured"}


def test_each_galaxys_own_crop_is_not_cut_again(tmp_path, path):
  table = pd.read_csv(path, dtype=str).assign(extent="12")
  table.to_csv(path.with_name("crops.csv"), index=False)
  changes = {"data.crop_column": "extent", "data.size": 12}
  own, _ = _prepare(tmp_path, path.with_name("crops.csv"), **changes)
  both, _ = _prepare(
    tmp_path / "b", path.with_name("crops.csv"), **changes, **{"data.crop": 6}
  )
  np.testing.assert_array_equal(own.dataset.image, both.dataset.image)


def test_an_unknown_builder_and_no_files_are_told(tmp_path):
  for i, builder in enumerate(("galaxy_zoo3", "galaxy_zoo2", "galaxy_zoo2/x")):
    with pytest.raises(UserError, match="choose one of galaxy_zoo2/kaggle, "):
      _run(tmp_path, name=str(i), **{"data.builder": builder})
  kaggle = {"data.builder": "galaxy_zoo2/kaggle", "labels.kind": "question"}
  with pytest.raises(UserError, match=r"images_training_rev1\.zip"):
    _run(tmp_path, **kaggle)


SKY = {
  "data.builder": "galaxy_synthetic",
  "data.galaxies": 200,  # the sky of the tiny demo
  "data.class_fractions": (0.4, 0.4, 0.2),
  "data.split": (0.6, 0.2, 0.2),
}


def test_the_synthetic_sky_has_votes_to_learn_from(tmp_path, sky):
  (tmp_path / "tfds").symlink_to(sky)
  experiment, note = _run(tmp_path, **SKY)
  votes = experiment.dataset.votes
  assert votes.tree is campaigns.GZ2
  assert note["questions"]["spiral-arm-count"] == [31, 37]
  assert {"redshift", "arm_pitch"} <= set(experiment.dataset.table.columns)
  given, _ = _run(
    tmp_path,
    name="given",
    **SKY,
    **{"flips.kind": "column", "flips.column": "votes"},
  )
  said = votes.counts[:, :3].argmax(axis=1)
  train = given.sets.train
  np.testing.assert_array_equal(given.labels("train_label")[train], said[train])
  assert 0 < np.mean(given.split["flipped"]) < 0.2


def test_the_volunteers_of_the_synthetic_sky_vote_through_a_tree(tmp_path):
  experiment, note = _run(tmp_path, **SKY, **{"data.tree": "gzd_5"})
  assert experiment.dataset.votes.tree is campaigns.GZD_5
  assert note["questions"]["merging"] == [30, 34]
  with pytest.raises(UserError, match=r"^data\.tree is 'gzd_1_2': "):
    _run(tmp_path, name="other", **SKY, **{"data.tree": "gzd_1_2"})
