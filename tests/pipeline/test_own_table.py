"""A table of one's own on the command line: `gzjax [STAGE] TABLE`."""

import shutil

import numpy as np
import pandas as pd
from PIL import Image
import pytest

import gzjax
from gzjax.errors import UserError
from gzjax.pipeline import runs, stages
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.remembered import Sources
from gzjax.pipeline.workdir import Workdir
from tests.command_line import run_here
from tests.data.catalogs import CLASSES

COUNT = 60
TINY = [
  *("--config.train.batch_size=8", "--config.unlearn.batch_size=8"),
  *("--config.model.name=resnet_tiny", "--config.model.width=8"),
  *("--config.data.size=16", "--config.train.epochs=1"),
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, on_one_device):
  """A folder with mine.csv and cutouts: ids and labels by other names."""
  monkeypatch.chdir(tmp_path)
  write(tmp_path, "mine.csv", "cutouts")


def write(folder, name, images, first=1000):
  ids = [f"0{first + i}" for i in range(COUNT)]
  label = np.arange(COUNT) % 3
  rng = np.random.default_rng(0)
  (folder / images).mkdir()
  for id_str, k in zip(ids, label, strict=True):
    pixels = rng.normal(60 + 70 * k, 25, (16, 16, 3)).clip(0, 255)
    image = Image.fromarray(pixels.astype(np.uint8))
    image.save(folder / images / f"{id_str}.png")
  names = np.asarray([*CLASSES, ""])[label]
  names[:4] = ""
  table = pd.DataFrame({"Galaxy": ids, "z": rng.random(COUNT), "Morph": names})
  table.to_csv(folder / name, index=False)


@pytest.mark.parametrize(
  "arguments",
  [
    ["audit", "mine.csv", "--images=cutouts", "--workdir=run"],
    ["--images", "cutouts", "mine.csv", "--workdir", "run", "audit"],
    ["mine.csv", "--workdir=run", "--stage=audit", "--images=cutouts"],
    [
      "audit",
      "mine.csv",
      "--config=catalog",
      "--images=cutouts",
      "--workdir=w",
    ],
  ],
)
def test_a_table_is_a_run_of_its_own(tmp_path, no_run, arguments):
  run_here(*arguments)
  ((config, _, stage), named), *more = no_run
  assert not more
  assert stage == "audit"
  assert config.data.catalog == str(tmp_path / "mine.csv")
  assert config.data.images == str(tmp_path / "cutouts")
  assert config.flips.kind == "none"
  assert config.data.split_by == "id"
  assert named["with_needed"]
  assert named["config_file"] == "catalog"
  run_here("mine.csv", "--workdir=run", "--config.data.id_column=Galaxy")
  (config, _, stage), _ = no_run[-1]
  assert (stage, config.data.images) == ("all", "")
  assert config.data.id_column == "Galaxy"


def _remember(no_run, *arguments):
  """What the stages would write of a command."""
  run_here(*arguments)
  (config, workdir, stage), named = no_run.pop()
  sources = Sources(*(named[name] for name in Sources._fields))
  stages.remember(config, Workdir(workdir), stage, sources)
  return config


def test_a_run_remembers_its_table(tmp_path, no_run, refused):
  _remember(no_run, "mine.csv", "--images=cutouts", "--workdir=run", *TINY)
  run_here("train", "mine.csv", "--workdir=run")
  (config, *_), named = no_run.pop()
  assert config.data.images == str(tmp_path / "cutouts")
  assert config.data.size == 16
  assert named["with_needed"]
  run_here("train", "--workdir=run", "--images=elsewhere")
  (config, *_), named = no_run.pop()
  assert config.data.images == str(tmp_path / "elsewhere")
  assert not named["with_needed"]
  (tmp_path / "mine.csv").unlink()  # the run may be past it
  run_here("audit", "mine.csv", "--workdir=run")
  write(tmp_path, "other.csv", "others")
  line = refused("audit", "other.csv", "--workdir=run")
  assert f"run holds a run of {tmp_path}/mine.csv, not of other.csv" in line
  assert "another --workdir" in line


def test_retraining_is_remembered_until_it_is_taken_back(tmp_path, no_run):
  config = _remember(no_run, "mine.csv", "--workdir=run", "--retrain")
  methods = config.unlearn.methods
  assert methods[0] == "retrain" and "retrain" not in methods[1:]
  config = _remember(no_run, "unlearn", "--workdir=run")
  assert config.unlearn.methods == methods
  config = _remember(no_run, "unlearn", "--workdir=run", "--noretrain")
  assert config.unlearn.methods == methods[1:]


def test_a_frame_that_was_mended_is_read_anew(tmp_path, no_run):
  table = pd.read_csv(tmp_path / "mine.csv", dtype=str)
  for frame in (table, table[5:].reset_index(drop=True)):
    with pytest.raises(UserError, match="holds no run"):  # none is run here
      gzjax.find_wrong_labels(frame, images="cutouts", workdir="run")
    (config, *_), _ = no_run.pop()
    kept = pd.read_parquet(config.data.catalog)
    pd.testing.assert_frame_equal(kept, frame)


def test_tables_to_predict(tmp_path, no_run, refused):
  _remember(no_run, "mine.csv", "--images=cutouts", "--workdir=run")
  write(tmp_path, "new.csv", "new", first=5000)
  run_here("predict", "new.csv", "--images=new", "--workdir=run")
  (config, _, stage), named = no_run.pop()
  assert stage == "predict"
  assert config.predict.catalog == str(tmp_path / "new.csv")
  assert config.predict.images == str(tmp_path / "new")
  assert config.data.catalog == str(tmp_path / "mine.csv")
  assert not named["with_needed"]
  run_here("predict", "new.csv", "--workdir=run")
  assert no_run.pop()[0][0].predict.images == ""
  line = refused("predict", "new.csv", "--workdir=fresh")
  assert "fresh holds no run to go on with" in line


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["mien.csv"], ["no table mien.csv", "did you mean mine.csv?"]),
    (["audit", "x/y.parquet"], ["no table x/y.parquet", "give CSV"]),
    (["mine.csv", "nowhere.csv"], ["two tables, mine.csv and nowhere.csv"]),
    (["audit", "cutouts"], ["cutouts is a folder", "--images=cutouts"]),
    (["audti", "mine.csv"], ["'audti'", "did you mean audit?"]),
    (["mine", "--config=catalog"], ["unknown stage 'mine'", "name a table"]),
    (["audit", "train", "mine.csv"], ["two stages, audit and train"]),
    (["--images=cutouts"], ["--config is missing"]),
    (["--images=cutouts", "--config=demo"], ["--images=cutouts", "for catal"]),
    (["mine.csv", "--config=demo"], ["table mine.csv", "galaxy_synthetic"]),
    (
      ["mine.csv", "--config=catalog", "--config.data.catalog=a.csv"],
      ["two tables, mine.csv and --config.data.catalog=a.csv"],
    ),
    (["--config.data.catalog", "mine.csv"], ["--config is missing"]),
    (
      ["prepare", "mine.csv", "--images=x"],
      ["data.images is", "no such folder"],
    ),
  ],
)
def test_mistakes(refused, arguments, words):
  line = refused(*arguments, "--workdir=run")
  for word in words:
    assert word in line
  assert refused("mine.csv").startswith("error: --workdir is missing")


def test_the_config_of_a_table_can_be_printed(tmp_path, no_run, capsys):
  run_here("mine.csv", "--print_config")
  printed = capsys.readouterr().out
  assert f"--config.data.catalog={tmp_path / 'mine.csv'}" in printed
  assert "--config.flips.kind=none" in printed
  assert not no_run


def _files(folder):
  return {
    path: path.stat().st_mtime_ns
    for path in folder.rglob("*")
    if path.is_file()
  }


@pytest.fixture
def trained(capsys):
  """The command of a run that is trained; its output is there to be read."""
  command = ["mine.csv", "--images=cutouts", "--workdir=run", "--data_dir=tfds"]
  run_here("train", *command, *TINY)
  return command


def test_from_a_table_to_a_trained_network(tmp_path, trained, capsys):
  said = capsys.readouterr()
  for words in (
    *("mine.csv: 60 galaxies", "Galaxy", "{id}.png", "usual name"),
    *("featured 19, artifact 19, smooth 18", "no label 4"),
  ):
    assert words in said.out
  assert "left out 4: no label (predicted, not audited)" in said.err
  assert said.err.index("stage prepare") < said.err.index("stage train")
  run = runs.load("run")
  assert run.config.data.label_column == "Morph"
  assert run.config.data.classes == ("featured", "artifact", "smooth")
  experiment = Experiment(run.config, Workdir("run"), "tfds")
  table = experiment.dataset.table
  assert list(experiment.split["id_str"]) == [f"0{1004 + i}" for i in range(56)]
  assert list(table["file"]) == [f"{x}.png" for x in table["id_str"]]
  assert len(experiment.whole.table) == COUNT
  # All that follows needs neither the table nor the images.
  shutil.rmtree(tmp_path / "cutouts")
  (tmp_path / "mine.csv").unlink()
  before = _files(tmp_path / "run")
  run_here("train", *trained)
  run_here("train", "--workdir=run")
  catalog = [f"--config.data.catalog={tmp_path / 'mine.csv'}", *TINY]
  given = ["--config=catalog", "--data_dir=tfds", "--workdir=run"]
  run_here("train", *given, *catalog, f"--images={tmp_path / 'moved'}")
  assert "mine.csv: " not in capsys.readouterr().out
  after = _files(tmp_path / "run")
  assert set(after) == set(before)
  kept = {path for path in after if after[path] == before[path]}
  assert {path.name for path in set(after) - kept} <= {"config.json"}


def test_a_table_that_changed_is_told_and_read_when_asked(
  tmp_path, trained, capsys, refused
):
  table = pd.read_csv("mine.csv", dtype=str, keep_default_na=False)
  table["Morph"] = table["Morph"].replace("smooth", "round")
  table.to_csv("mine.csv", index=False)
  capsys.readouterr()
  run_here("train", *trained)
  said = capsys.readouterr().err
  assert f"{tmp_path / 'mine.csv'} has changed since it was prepared" in said
  assert runs.load("run").config.data.classes[-1] == "smooth"
  line = refused("prepare", *trained, "--overwrite")
  assert "label 'round' is none of the classes" in line
  classes = "--config.data.classes=()"
  run_here("prepare", *trained, "--overwrite", classes)
  assert runs.load("run").config.data.classes[-1] == "round"


def test_a_mistake_in_the_table_is_mended_and_the_same_command_goes_on(
  tmp_path, refused
):
  table = pd.read_csv("mine.csv", dtype=str, keep_default_na=False)
  wrong = table.copy()
  wrong.loc[7, "Galaxy"] = wrong.loc[6, "Galaxy"]
  wrong = wrong.rename(columns={"Galaxy": "id"})
  wrong.to_csv("mine.csv", index=False)
  command = ["prepare", "mine.csv", "--images=cutouts", "--workdir=run"]
  line = refused(*command, *TINY, "--data_dir=tfds")
  assert "row 8 (id 01006) repeats the id of row 7" in line
  table.to_csv("mine.csv", index=False)
  run_here(*command)
  assert runs.load("run").config.data.id_column == "Galaxy"


def test_other_tables_are_predicted_whatever_their_columns(
  tmp_path, trained, refused
):
  write(tmp_path, "new.csv", "new", first=5000)
  table = pd.read_csv("new.csv", dtype=str)
  table = table.rename(columns={"Galaxy": "objid"}).drop(columns="Morph")
  table.assign(pic=[f"old/{x}.png" for x in table["objid"]]).to_csv(
    "new.csv", index=False
  )
  run_here("predict", "new.csv", "--images=new", "--workdir=run")
  found = pd.read_csv("run/predictions.csv", dtype=str)
  assert list(found["id_str"]) == list(table["objid"])
  shutil.move("new", "moved")
  line = refused("predict", "new.csv", "--images=new", "--workdir=run")
  assert f"predict.images is '{tmp_path / 'new'}': there is no such" in line
  assert "--config.predict.images=DIR" in line
  run_here("predict", "new.csv", "--images=moved", "--workdir=run")
  again = pd.read_csv("run/predictions.csv", dtype=str)
  pd.testing.assert_frame_equal(again, found)
