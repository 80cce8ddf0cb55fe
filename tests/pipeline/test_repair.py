"""A person's own labels: audited as they are, reviewed, and taken back."""

import contextlib
import hashlib
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from configs import demo
import gzjax
from gzjax.errors import UserError
from gzjax.files import read_json, read_text_table
from gzjax.pipeline import audit, reviews, stages
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from tests.data.catalogs import CLASSES, write_catalog

COUNT = 120
PLANTED = np.arange(0, COUNT, 11)  # rows of the catalogue with wrong labels
FOLDS = 2
COLUMNS = [
  "id_str", "file", "split", "given_label", "suggested_label",
  "probability_wrong", "label_score", "is_label_issue", "mean_loss", "margin",
  "neighbours", "verdict", "corrected_label", "note",
]  # fmt: skip
CHANGES = {
  "data.builder": "galaxy_catalog",
  "data.classes": CLASSES,
  "data.split_by": "id",
  "flips.kind": "none",
  "train.epochs": 4,
  "audit.kind": "folds",
  "audit.folds": FOLDS,
  "audit.train": {"epochs": 3},
  "audit.reviewed": 12,
  "audit.false_discovery": 0.5,  # so small a network knows little
  "unlearn.methods": ("negative_learning",),
  "unlearn.negative_learning.epochs": 1,
  "evaluate.relearn_epochs": 0,
  "report.gallery": 3,
}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
  """A table of galaxies of which every eleventh has the label of the next."""
  path = write_catalog(tmp_path_factory.mktemp("mine"), COUNT)
  table = pd.read_csv(path, dtype=str)
  for row in PLANTED:
    table.loc[row, "label"] = _next(table["label"][row])
  table.to_csv(path, index=False)
  return path


def _next(name):
  return CLASSES[(CLASSES.index(name) + 1) % len(CLASSES)]


class Mine:
  """A run on the catalogue in a folder of its own."""

  def __init__(self, path, catalogue):
    self.path, self.catalogue = path, catalogue

  def config(self, **changes):
    config = demo.get_config("tiny")
    own = {"data.catalog": str(self.catalogue), **CHANGES, **changes}
    config.update_from_flattened_dict(own)
    return config

  def run(self, stage="all", forget=None, overwrite=False, **changes):
    """Runs a stage; returns what the terminal shows."""
    with (
      contextlib.redirect_stdout(io.StringIO()) as out,
      contextlib.redirect_stderr(io.StringIO()) as err,
    ):
      stages.run(
        self.config(**changes),
        str(self.path),
        stage,
        overwrite=overwrite,
        forget=forget and str(forget),
        data_dir=str(self.catalogue.parent / "tfds"),
      )
    return out.getvalue() + err.getvalue()

  def pretend(self, stage):
    """Files of a stage that a test has changed are as it wrote them."""
    one = stages.STAGES[stage]
    Workdir(self.path).finish(stage, one.outputs, one.needs)

  def experiment(self, **changes):
    return Experiment(self.config(**changes), Workdir(self.path))

  def table(self, name):
    return read_text_table(self.path / name)

  def json(self, name):
    return read_json(self.path / name)

  def files(self):
    return {
      str(path.relative_to(self.path)): _digest(path)
      for path in self.path.rglob("*")
    }

  def ids(self, split, *, planted):
    """Galaxies of a split, with wrong labels or right ones."""
    table = pd.read_parquet(self.path / "split.parquet")
    wrong = table["id_str"].isin([str(1000 + row) for row in PLANTED])
    chosen = (table["split"] == split) & (wrong == planted)
    return table["id_str"][chosen].tolist()

  def review(self, name, said):
    """suspects.csv with verdicts: {id: (verdict, corrected label)}."""
    table = self.table("audit/suspects.csv").set_index("id_str")
    for galaxy, (verdict, label) in said.items():
      table.loc[galaxy, ["verdict", "corrected_label"]] = verdict, label
    path = self.path.parent / name
    table.reset_index().to_csv(path, index=False)
    return path


def _digest(path):
  if not path.is_file():
    return ""
  return hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns


@pytest.fixture(scope="module")
def audited(tmp_path_factory, catalogue, on_one_device, unpainted):
  """A run that was asked for `all`, and nobody has reviewed."""
  mine = Mine(tmp_path_factory.mktemp("audited") / "run", catalogue)
  mine.said = mine.run()
  return mine


def _copy(mine, folder):
  shutil.copytree(mine.path, folder / "run")
  return Mine(folder / "run", mine.catalogue)


def _first_round(mine):
  """Verdicts of all kinds, on labels of all splits."""
  wrong = mine.ids("train", planted=True)
  right = mine.ids("train", planted=False)
  held_out = [
    galaxy
    for split in ("validation", "test")
    for galaxy in mine.ids(split, planted=False)[:3]
  ]
  given = mine.table("audit/suspects.csv").set_index("id_str")["given_label"]
  return {
    wrong[0]: ("wrong", _next(given[wrong[0]])),
    **dict.fromkeys(wrong[1:4], ("wrong", "")),
    right[0]: ("right", ""),
    right[1]: ("unsure", ""),
    held_out[0]: ("wrong", ""),
    held_out[1]: ("wrong", _next(given[held_out[1]])),
    held_out[2]: ("right", ""),
    held_out[3]: ("wrong", ""),
    held_out[4]: ("wrong", _next(given[held_out[4]])),
    held_out[5]: ("unsure", ""),
  }


@pytest.fixture(scope="module")
def reviewed(audited, tmp_path_factory):
  """The same after a round of review, unlearned and retrained."""
  mine = _copy(audited, tmp_path_factory.mktemp("reviewed"))
  mine.first = _first_round(mine)
  methods = {"unlearn.methods": ("retrain", "negative_learning")}
  path = mine.review("first.csv", mine.first)
  mine.said = mine.run("unlearn", path, **methods)
  return mine


def _stages(said):
  return re.findall(r"^stage (\w+)$", said, re.MULTILINE)


def test_all_ends_where_a_person_is_needed(audited):
  assert _stages(audited.said) == ["prepare", "train", "audit", "report"]
  assert "labels about" in audited.said
  split = pd.read_parquet(audited.path / "split.parquet")
  assert list(split.columns) == ["id_str", "split", "train_label", "set"]
  table = pd.read_csv(audited.catalogue, dtype=str)
  given = dict(zip(table["id_str"], table["label"], strict=True))
  assert split["train_label"].tolist() == [given[x] for x in split["id_str"]]
  for name in ("scoreboard.csv", "unlearn", "evaluate", "retrain", "reviews"):
    assert not (audited.path / name).exists()
  assert {"benchmark"}.isdisjoint(audited.json("audit/summary.json"))


def test_every_label_is_audited(audited):
  table = audited.table("audit/suspects.csv")
  assert list(table.columns) == COLUMNS
  split = pd.read_parquet(audited.path / "split.parquet").set_index("id_str")
  assert sorted(table["id_str"]) == sorted(split.index)
  for name, column in (("split", "split"), ("given_label", "train_label")):
    wanted = split[column].loc[table["id_str"]].tolist()
    assert table[name].tolist() == wanted
  assert (table["given_label"] != table["suggested_label"]).all()
  score = table["label_score"].astype(float)
  assert score.is_monotonic_increasing
  assert table["probability_wrong"].astype(float).is_monotonic_decreasing
  assert (table[["verdict", "corrected_label", "note"]] == "").all(axis=None)
  planted = {str(1000 + row) for row in PLANTED}
  assert len(planted & set(table["id_str"][: len(planted)])) > 6


def test_each_label_is_judged_by_a_network_that_did_not_learn_it(audited):
  held_out = []
  for number in range(FOLDS):
    folder = audited.path / "audit" / "folds" / str(number)
    with np.load(folder / "found.npz") as found:
      held_out.append(found["rows"])
    assert not (folder / "checkpoints").exists()
  rows = np.concatenate(held_out)
  np.testing.assert_array_equal(np.sort(rows), np.arange(COUNT))
  scores = pd.read_parquet(audited.path / "audit" / "scores.parquet")
  for number, part in enumerate(held_out):
    assert (scores["fold"].iloc[part] == number).all()
  assert scores.notna().all(axis=None)


def _visible(page):
  page = re.sub(r"<(script|style|pre).*?</\1>", " ", page, flags=re.DOTALL)
  return re.sub(r"<[^>]*>", " ", page)


def _texts(value):
  """All keys and all text of a JSON value."""
  if isinstance(value, dict):
    return [*value, *(x for part in value.values() for x in _texts(part))]
  if isinstance(value, list):
    return [x for part in value for x in _texts(part)]
  return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", ["audited", "reviewed"])
def test_nobody_speaks_of_true_labels(name, request):
  mine = request.getfixturevalue(name)
  words = [mine.said]
  for path in mine.path.rglob("*"):
    if "stages" in path.parts or path.name == "config.json":
      continue  # keys of the config, whoever needs them
    if path.suffix == ".csv":
      words.append(path.read_text().splitlines()[0])
    elif path.suffix == ".parquet":
      words += [*pd.read_parquet(path).columns]
    elif path.suffix == ".json":
      words += _texts(json.loads(path.read_text()))
    elif path.name in ("report.html", "review.html"):
      words.append(_visible(path.read_text()))
  text = "\n".join(words)
  assert len(text) > 3000
  found = re.search(r".{0,40}(?<![a-z])true(?![a-z]).{0,40}", text, re.I)
  assert not found, found[0]
  assert "enchmark" not in text


def test_the_report_of_an_audit_alone(audited):
  text = _visible((audited.path / "report.html").read_text())
  assert "Labels that are probably wrong" in text
  assert "Each label was judged by what had not learned it" in " ".join(
    text.split()
  )
  assert "Scoreboard" not in text


def test_the_report_names_the_labels_to_forget(reviewed):
  text = _visible((reviewed.path / "report.html").read_text())
  assert "Wrong labels, found and unlearned" in text
  assert reviewed.json("evaluate/recommendation.json")["sentence"] in text
  assert "reviewed accuracy" in text


def test_the_scoreboard_has_what_can_be_known(reviewed):
  assert _stages(reviewed.said) == ["unlearn", "evaluate", "report"]
  table = pd.read_csv(reviewed.path / "scoreboard.csv")
  assert "corrected_accuracy" not in table
  known = ["reviewed_accuracy", "confirmed_accuracy"]
  assert list(table.columns[-2:]) == known
  assert table[known].notna().all(axis=None)
  assert list(table["method"]) == [
    "constant", "original", "retrain", "negative_learning",
  ]  # fmt: skip
  assert table["gap_to_retrain"].notna().all()
  assert reviewed.json("evaluate/recommendation.json")["sentence"] in " ".join(
    reviewed.said.split()
  )


def test_verdicts_become_sets_and_labels(audited, reviewed):
  problem = reviewed.experiment().problem
  first, split = reviewed.first, reviewed.experiment().split
  row = dict(zip(split["id_str"], range(COUNT), strict=True))

  def rows(verdict, corrected, *splits):
    found = [
      row[galaxy]
      for galaxy, (said, label) in first.items()
      if said == verdict and (label != "") == corrected
      if split["split"][row[galaxy]] in splits
    ]
    return sorted(found)

  forget = rows("wrong", False, "train") + rows("wrong", True, "train")
  np.testing.assert_array_equal(problem.sets.forget, sorted(forget))
  np.testing.assert_array_equal(problem.wrong, sorted(forget))
  assert len(problem.sets.forget) == 4
  assert len(problem.sets.train) == (split["split"] == "train").sum()
  # Held-out labels that are wrong count by the correction, or not at all.
  for part in ("validation", "test"):
    wanted = np.flatnonzero(split["split"] == part)
    wanted = np.setdiff1d(wanted, rows("wrong", False, part))
    np.testing.assert_array_equal(getattr(problem.sets, part), wanted)
  given = split["train_label"].tolist()
  for galaxy, (_, label) in first.items():
    given[row[galaxy]] = label or given[row[galaxy]]
  assert [CLASSES[k] for k in problem.true] == given
  review, held_out = problem.review, ("validation", "test")
  np.testing.assert_array_equal(review.corrected, rows("wrong", True, "train"))
  np.testing.assert_array_equal(
    review.confirmed,
    sorted(rows("wrong", True, *held_out) + rows("right", False, *held_out)),
  )
  scores = pd.read_parquet(reviewed.path / "audit" / "scores.parquet")
  same = (scores["predicted"] == scores["given_label"]).to_numpy()
  assert review.target == same[problem.sets.forget].mean()
  # What is to be learned instead: as a person says, else as the audit does.
  mended = [CLASSES[k] for k in problem.columns.mended["label"]]
  suggested = reviewed.experiment().suspects["suggested_label"]
  for galaxy, i in row.items():
    label = first.get(galaxy, ("", ""))[1]
    assert mended[i] == (label or suggested[i])
  before, after = (
    (mine.path / "split.parquet").read_bytes() for mine in (audited, reviewed)
  )
  assert before == after


def test_more_rounds_add_up_and_lose_nothing(reviewed, tmp_path):
  mine = _copy(reviewed, tmp_path)
  first, more = _first_round(mine), mine.ids("train", planted=True)[4:6]
  # The same again, in another order, says nothing new.
  again = mine.review("again.csv", dict(reversed(first.items())))
  table = read_text_table(again)
  table.iloc[::-1].to_csv(again, index=False)
  before = mine.files()
  both = {"unlearn.methods": ("retrain", "negative_learning")}
  said = mine.run("unlearn", again, **both)
  assert "says nothing new: going on with round 1" in said
  assert _stages(said) == []
  assert mine.files() == before
  # Only that another label is right: unlearning stands as it was.
  kept = {
    k: v for k, v in before.items() if k.startswith(("unlearn", "retrain"))
  }
  right = mine.ids("validation", planted=False)[3]
  said = mine.run(
    "unlearn", mine.review("right.csv", {right: ("right", "")}), **both
  )
  assert _stages(said) == ["evaluate", "report"]
  assert kept.items() <= mine.files().items()
  # A verdict is taken back, and others are added.
  back = next(k for k, v in first.items() if v == ("wrong", ""))
  second = {back: ("right", ""), **dict.fromkeys(more, ("wrong", ""))}
  said = mine.run("unlearn", mine.review("second.csv", second))
  assert "review, round 3" in said
  assert _stages(said) == ["unlearn", "evaluate", "report"]
  train = set(mine.ids("train", planted=True))
  wanted = {k for k, (said, _) in first.items() if said == "wrong"} & train
  assert set(_forgotten(mine)) == (wanted - {back}) | set(more)
  results = mine.path / "reviews" / "1" / "results"
  for name in ("scoreboard.csv", "report.html", "evaluate"):
    assert (results / name).exists()
  results = mine.path / "reviews" / "2" / "results"
  for name in ("scoreboard.csv", "retrain", "unlearn/negative_learning"):
    assert (results / name).exists()
  text = (results / "scoreboard.csv").read_text()
  assert "retrain" in text
  assert mine.files()["split.parquet"][0] == before["split.parquet"][0]


def test_a_review_may_find_no_wrong_label(audited, tmp_path):
  mine = _copy(audited, tmp_path)
  one, two = mine.ids("train", planted=False)[:2]
  said = mine.run(
    "unlearn", mine.review("r.csv", {one: ("right", ""), two: ("unsure", "")})
  )
  assert "review, round 1: 1 right, 1 unsure" in said
  assert "calls no label wrong that the network learned" in said
  assert "Scoreboard" not in said
  assert len(mine.table("reviews/1/reviewed.csv")) == 2
  assert (mine.path / "report.html").exists()
  # A held-out label was not learned, and so cannot be forgotten either.
  held_out = mine.ids("test", planted=False)[0]
  said = mine.run("all", mine.review("s.csv", {held_out: ("wrong", "")}))
  assert "calls no label wrong that the network learned" in said
  assert held_out not in mine.experiment().sets.test


def _cut(mine, **changes):
  """Ids of the training labels that the audit would call wrong."""
  table = mine.experiment(**changes).suspects
  chosen = table["is_label_issue"] & (table["split"] == "train")
  return table["id_str"][chosen].tolist()


def _forgotten(mine, **changes):
  experiment = mine.experiment(**changes)
  ids = experiment.split["id_str"].to_numpy()
  return ids[experiment.sets.forget].tolist()


def test_suspects_are_forgotten_without_a_person(audited, tmp_path):
  mine = _copy(audited, tmp_path)
  cut = _cut(mine)
  said = mine.run("unlearn", mine.review("r.csv", {cut[0]: ("right", "")}))
  assert _stages(said) == ["report"]
  # They may be those of an audit that is still to come.
  (mine.path / "stages" / "audit.json").unlink()
  said = mine.run("all", "suspects")
  assert _stages(said) == ["audit", "unlearn", "evaluate", "report"]
  # What a person has said stands.
  assert _forgotten(mine) == cut[1:]
  assert "says nothing new" in mine.run("all", "suspects")


def test_another_cut_replaces_the_one_before(audited, tmp_path, capsys):
  mine = _copy(audited, tmp_path)
  cut = _cut(mine)
  assert _add(mine, reviews.SUSPECTS) == cut
  scores = mine.path / "audit" / "scores.parquet"
  table = pd.read_parquet(scores)
  table["is_label_issue"] &= table["id_str"] != cut[1]
  table.to_parquet(scores)
  assert _add(mine, reviews.SUSPECTS) == [cut[0], *cut[2:]]
  # What a person has said stands, and is not lost where it is in the table.
  said = mine.review("r.csv", {cut[1]: ("wrong", ""), cut[2]: ("right", "")})
  shutil.copy(said, mine.path / "audit" / "suspects.csv")
  with pytest.raises(UserError, match="take them up first, with --forget="):
    _add(mine, reviews.SUSPECTS)
  whole = [cut[0], cut[1], *cut[3:]]
  assert _add(mine, mine.path / "audit" / "suspects.csv") == whole
  assert _add(mine, reviews.SUSPECTS) == whole
  capsys.readouterr()
  _add(mine, mine.review("s.csv", {cut[2]: ("wrong", ""), cut[1]: ("", "")}))
  assert "are empty here and stand" in capsys.readouterr().err
  assert set(_forgotten(mine)) == set(cut)


def _add(mine, path):
  """Records a review; returns the ids to forget."""
  reviews.add(mine.experiment(), str(path), lambda first, folder: None)
  return _forgotten(mine)


LISTS = {
  "ids.txt": "{0}\n{1}\n",
  "one.txt": "{0}\n",
  "heading.txt": "id_str\n{0}\n{1}\n\n",
  "other.csv": '"dr7objid"\n"{0}"\n"{1}"\n',
  "mark.csv": "\ufeffid_str\r\n{0}\r\n",
  "sheet.csv": "id_str;verdict;corrected_label\n{0};wrong;\n{1};right;\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_ids_is_forgotten(audited, tmp_path, name):
  mine = _copy(audited, tmp_path)
  some = mine.ids("train", planted=True)[:2]
  (tmp_path / name).write_text(LISTS[name].format(*some), encoding="utf-8")
  count = 1 if name in ("one.txt", "mark.csv", "sheet.csv") else 2
  assert sorted(_add(mine, tmp_path / name)) == sorted(some[:count])


def test_verdicts_are_of_the_labels_that_they_saw(audited, tmp_path):
  """A catalogue may be corrected and read again in the same workdir."""
  mine = _copy(audited, tmp_path)
  one, two = mine.ids("train", planted=True)[:2]
  (tmp_path / "ids.txt").write_text(f"{one}\n{two}\n")
  _add(mine, tmp_path / "ids.txt")
  path = mine.path / "split.parquet"
  split = pd.read_parquet(path)
  row = split.index[split["id_str"] == one][0]
  split.loc[row, "train_label"] = _next(split["train_label"][row])
  split.to_parquet(path)
  assert _forgotten(mine) == [two]
  # A run whose split is being made again may have a forget set.
  path.unlink()
  assert reviews.has_forget_set(Workdir(mine.path))


def test_an_audit_that_is_done_again_keeps_what_a_person_wrote(
  audited, tmp_path
):
  mine = _copy(audited, tmp_path)
  path = mine.path / "audit" / "suspects.csv"
  before = mine.table("audit/suspects.csv")
  first, second, third = before["id_str"][:3]
  _add(
    mine, mine.review("r.csv", {first: ("right", ""), third: ("unsure", "")})
  )
  # A spreadsheet has TRUE for True, and rounds ids that it takes as numbers.
  table = before.assign(is_label_issue=before["is_label_issue"].str.upper())
  table.loc[1, ["verdict", "note"]] = "wrong", "two nuclei"
  table.loc[5:, "id_str"] = "1.23E+17"
  table = table[["note", *table.columns[:-1]]]
  table.to_csv(path, index=False, sep=";")
  found = gzjax.load(mine.path).suspects()
  assert (
    found["is_label_issue"].sum() == (before["is_label_issue"] == "True").sum()
  )
  other = {"audit.score": "self_confidence"}
  table.assign(note="new").to_csv(path, index=False)
  with pytest.raises(UserError, match=r"the first is '1\.23E\+17'"):
    mine.run("audit", **other)
  table.to_csv(path, index=False, sep=";")
  mine.run("audit", **other)
  after = mine.table("audit/suspects.csv").set_index("id_str")
  assert after.loc[second, ["verdict", "note"]].tolist() == [
    "wrong",
    "two nuclei",
  ]
  assert (after["verdict"] != "").sum() == 1
  assert after["label_score"].tolist() != before["label_score"].tolist()
  # What was settled in a round is not asked again.
  text = (mine.path / "audit" / "review.html").read_text()
  data = re.search(
    r"<script[^>]*application/json[^>]*>(.*?)</", text, re.DOTALL
  )
  assert data
  shown = [row[0] for row in json.loads(data[1])["rows"]]
  assert first not in shown and third in shown
  # The folds were not trained again: a killed audit would have left its own.
  with np.load(mine.path / "audit" / "folds" / "0" / "found.npz") as one:
    name = audited.path / "audit" / "folds" / "0" / "found.npz"
    with np.load(name) as other:
      np.testing.assert_array_equal(one["loss"], other["loss"])


def _all_of(mine, name):
  table = mine.table("audit/suspects.csv")
  inside = (table["split"] == "train") & (table["given_label"] == name)
  return table["id_str"][inside].tolist()


def _everything(mine, split):
  return mine.ids(split, planted=True) + mine.ids(split, planted=False)


def _given(mine, galaxy):
  table = mine.table("audit/suspects.csv").set_index("id_str")
  return table["given_label"][galaxy]


# A mistake: what the table says, of (a wrong label, a right one, the run).
BAD = {
  "no file": (None, "there is no such file"),
  "empty": ("", "cannot be read as a table"),
  "no rows": ("id_str,verdict,corrected_label\n", "has no rows"),
  "no verdict": (lambda m, a, b: {a: ("", "")}, "has no verdict"),
  "unknown id": (f"id_str\n{1000}\n7\n", "row 2 (id 7): this run has audited"),
  "unknown first id": (f"7\n{1000}\n", "row 1 (id 7): this run has audited"),
  "another run's": ("id_str\n7\n8\n", "has no id of this run"),
  "unknown label": (
    lambda m, a, b: {a: ("wrong", "spiral")},
    "corrected_label is 'spiral': write one of the classes (smooth, featured",
  ),
  "unknown verdict": (lambda m, a, b: {a: ("no", "")}, "verdict is 'no'"),
  "corrected to itself": (
    lambda m, a, b: {a: ("wrong", _given(m, a))},
    "is the given label",
  ),
  "two verdicts": (
    "id_str,verdict,corrected_label\n1000,wrong,\n1000,right,\n",
    "row 2 (id 1000): it says 'right', but row 1 says 'wrong'",
  ),
  "a whole class": (
    lambda m, a, b: dict.fromkeys(_all_of(m, "featured"), ("wrong", "")),
    "all training galaxies of class 'featured' wrong",
  ),
  "all": (
    lambda m, a, b: dict.fromkeys(_everything(m, "train"), ("wrong", "")),
    "nothing would be left to learn",
  ),
  "almost all": (
    lambda m, a, b: {
      galaxy: ("wrong", "")
      for name in CLASSES
      for galaxy in _all_of(m, name)[2:]
    },
    "leaves 6 training galaxies, fewer than a batch of 16",
  ),
  "all of the test set": (
    lambda m, a, b: dict.fromkeys(_everything(m, "test"), ("wrong", "")),
    "calls all labels of the test set wrong and corrects none",
  ),
}


def _refused(mine, *asked, **changes):
  """The one line of what changes nothing on disk."""
  before = mine.files()
  with pytest.raises(UserError) as caught:
    mine.run(*asked, **changes)
  assert mine.files() == before
  message = str(caught.value)
  assert "\n" not in message and len(message) < 400
  return message


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_review_is_one_line_and_changes_nothing(audited, kind):
  content, words = BAD[kind]
  path = audited.path.parent / "bad.csv"
  path.unlink(missing_ok=True)
  if callable(content):
    wrong, right = (audited.ids("train", planted=x)[0] for x in (True, False))
    path = audited.review("bad.csv", content(audited, wrong, right))
  elif content is not None:
    path.write_text(content)
  message = _refused(audited, "unlearn", path)
  assert words in message
  assert str(path) in message


@pytest.mark.parametrize(
  ("asked", "changes", "words"),
  [
    (("unlearn",), {}, "nobody has said yet which labels to forget"),
    (("evaluate",), {}, "--forget=suspects"),
    (("stabiliser",), {}, "nobody has said yet"),
    (("discovery",), {}, "needs labels that were flipped on purpose"),
    (("audit", "suspects"), {}, "stages unlearn and all, not for audit"),
    (("predict", "suspects"), {}, "not for predict"),
    (("all", "suspects"), {"seeds": (0, 1)}, "for a single run"),
    # Nothing is recorded of what another config asks for.
    (("unlearn", "suspects"), {"train.epochs": 9}, "epochs was 4, is 9"),
    (("unlearn", "suspects"), {"audit.folds": 3}, "needs stage audit"),
    (
      ("unlearn", "suspects"),
      {"unlearn.methods": ("nonsense",)},
      "unlearn.methods names 'nonsense'",
    ),
  ],
)
def test_what_cannot_be_asked_is_one_line(audited, asked, changes, words):
  assert words in _refused(audited, *asked, **changes)


def test_a_review_needs_an_audit(audited, tmp_path):
  mine = Mine(tmp_path / "run", audited.catalogue)
  (tmp_path / "ids.txt").write_text("1000\n")
  for stage in ("unlearn", "all"):
    with pytest.raises(UserError, match="has not been audited with this"):
      mine.run(stage, tmp_path / "ids.txt")
  with pytest.raises(UserError, match="needs stage prepare"):
    mine.run("unlearn", "suspects")
  files = [path.name for path in mine.path.rglob("*") if path.is_file()]
  assert files == [".lock"]


def test_nothing_may_be_suspicious_enough(audited, tmp_path):
  mine = _copy(audited, tmp_path)
  path = mine.path / "audit" / "scores.parquet"
  pd.read_parquet(path).assign(is_label_issue=False).to_parquet(path)
  mine.pretend("audit")
  message = _refused(mine, "unlearn", "suspects")
  assert "no training label is suspicious enough" in message


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"audit.folds": 50}, "audit.folds is 50: class 'artifact' has"),
    ({"train.batch_size": 72}, "leaves about 59 galaxies to learn from"),
    ({"data.split": (0.98, 0.01, 0.01)}, "no galaxy falls into"),
  ],
)
def test_what_the_audit_cannot_do_is_told_before_training(
  audited, tmp_path, changes, words
):
  mine = Mine(tmp_path / "run", audited.catalogue)
  with pytest.raises(UserError, match=re.escape(words)):
    mine.run(**changes)
  assert not (mine.path / "train").exists()


def test_a_killed_audit_goes_on_where_it_was(audited, tmp_path, monkeypatch):
  mine = _copy(audited, tmp_path)
  shutil.rmtree(mine.path / "audit")
  for name in ("audit", "report"):
    (mine.path / "stages" / f"{name}.json").unlink()
  save, number = audit.FolderStore.save, []

  def killed(self, *state):
    save(self, *state)
    number.append(state[0])
    if number == [1, 2, 3, 1, 2]:  # epochs of two folds
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(audit.FolderStore, "save", killed)
    with pytest.raises(KeyboardInterrupt):
      mine.run("audit")
  first = mine.path / "audit" / "folds" / "0" / "found.npz"
  assert not (first.parent.parent / "1" / "found.npz").exists()
  before = first.stat().st_mtime_ns
  once = first.parent.with_name(str(FOLDS))  # of more folds than now
  once.mkdir()
  number.clear()
  monkeypatch.setattr(audit.FolderStore, "save", killed)
  mine.run("audit")
  assert number == [3]
  assert first.stat().st_mtime_ns == before
  assert not once.exists()
  for name in ("suspects.csv", "summary.json", "review.html"):
    found, wanted = (x.path / "audit" / name for x in (mine, audited))
    assert found.read_bytes() == wanted.read_bytes()


def test_the_recommended_network_predicts(reviewed, tmp_path):
  mine = _copy(reviewed, tmp_path)
  table = pd.read_csv(mine.catalogue, dtype=str)
  own = {
    "predict.catalog": str(mine.catalogue),
    "unlearn.methods": ("retrain", "negative_learning"),
  }
  # A training that was killed has made no network.
  (mine.path / "retrain" / "dynamics.parquet").unlink()
  path = mine.path / "evaluate" / "recommendation.json"
  sentence = "Use negative_learning: it is good."
  choice = {"method": "negative_learning", "sentence": sentence}
  path.write_text(json.dumps(choice))
  mine.pretend("unlearn")
  mine.pretend("evaluate")
  said = mine.run("predict", **own)
  assert sentence in said
  assert "predicted 120 galaxies by negative_learning" in said
  names = ["negative_learning", "original"]
  folder = mine.path / "predictions"
  assert sorted(x.name for x in folder.iterdir()) == sorted(
    f"{name}.{ending}" for name in names for ending in ("csv", "parquet")
  )
  pd.testing.assert_frame_equal(
    pd.read_parquet(mine.path / "predictions.parquet"),
    pd.read_parquet(folder / "negative_learning.parquet"),
  )
  # Scored where the table has labels that no network was trained on.
  split = pd.read_parquet(mine.path / "split.parquet").set_index("id_str")
  held_out = split["split"].loc[table["id_str"]].to_numpy() != "train"
  scores = pd.read_csv(mine.path / "prediction_scores.csv", index_col="method")
  assert sorted(scores.index) == names
  for name in names:
    label = pd.read_parquet(folder / f"{name}.parquet")["label"]
    same = (label.to_numpy() == table["label"].to_numpy())[held_out]
    assert scores.loc[name, "galaxies"] == held_out.sum()
    assert scores.loc[name, "accuracy"] == pytest.approx(same.mean())
  # Of another table without labels nothing of this one stays.
  other = mine.catalogue.with_name("other.csv")
  table.drop(columns="label")[:5].to_csv(other, index=False)
  path.unlink()
  said = mine.run(
    "predict",
    **{"predict.catalog": str(other), "unlearn.methods": ("retrain",)},
  )
  assert "no network has been verified yet: the original answers" in said
  assert not (mine.path / "prediction_scores.csv").exists()
  assert sorted(x.name for x in folder.iterdir()) == [
    "original.csv", "original.parquet",
  ]  # fmt: skip


def test_a_notebook_finds_reviews_and_forgets(audited, tmp_path):
  mine = _copy(audited, tmp_path)
  run = gzjax.load(mine.path)
  suspects = run.suspects()
  assert list(suspects.columns) == COLUMNS
  assert suspects["probability_wrong"].dtype == float
  assert suspects["is_label_issue"].dtype == bool
  page = suspects[suspects["split"] == "train"].show(3)._repr_html_()
  assert page.count("data:image") == 3
  with pytest.raises(UserError, match=r"has no scoreboard\.csv yet"):
    _ = run.scoreboard
  some = mine.ids("train", planted=True)
  suspects.loc[suspects["id_str"].isin(some[:2]), "verdict"] = "wrong"
  found = run.unlearn(forget=suspects)
  assert list(found.scoreboard["method"])[-1] == "negative_learning"
  assert found.recommendation.startswith(("Use ", "Nothing "))
  found = run.unlearn(forget=some[2:3], method=("relabel",))
  assert list(found.scoreboard["method"])[-1] == "relabel"
  assert len(mine.experiment().sets.forget) == 3


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory, catalogue, on_one_device, unpainted):
  """A run with labels that were flipped on purpose, audited cheaply."""
  mine = Mine(tmp_path_factory.mktemp("benchmark") / "run", catalogue)
  mine.changes = {"flips.kind": "uniform", "audit.kind": "features"}
  mine.said = mine.run(**mine.changes)
  return mine


def test_a_benchmark_says_so_and_judges_its_audit(benchmark):
  assert len(_stages(benchmark.said)) == 6
  assert "benchmark: of the" in benchmark.said
  found = benchmark.json("audit/summary.json")["benchmark"]
  assert found["flipped"] > 5
  text = _visible((benchmark.path / "report.html").read_text())
  assert "Benchmark: labels made wrong on purpose" in " ".join(text.split())


def test_a_benchmark_may_forget_what_a_person_found(benchmark, tmp_path):
  mine = _copy(benchmark, tmp_path)
  changes = benchmark.changes
  flipped = mine.experiment(**changes).sets.forget
  said = mine.run("unlearn", "suspects", **changes)
  assert _stages(said) == ["unlearn", "evaluate", "report"]
  problem = mine.experiment(**changes).problem
  assert _forgotten(mine, **changes) == _cut(mine, **changes)
  np.testing.assert_array_equal(problem.wrong, flipped)
  # What was made of the planted list is kept.
  assert (mine.path / "reviews" / "0" / "results" / "scoreboard.csv").exists()
  assert "corrected_accuracy" in pd.read_csv(mine.path / "scoreboard.csv")
