"""Galaxies with their images inside on the command line: `gzjax FOLDER`."""

import pyarrow.parquet
import pytest

from gzjax.pipeline import runs, stages
from gzjax.pipeline.remembered import Sources
from gzjax.pipeline.workdir import Workdir
from tests.command_line import run_here
from tests.data.galaxy_files import (
  galaxy10,
  write_evo,
  write_folders,
  write_hdf5,
)

_SMALL = ["--config.train.batch_size=8", "--config.unlearn.batch_size=8"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, on_one_device):
  """A folder with one of each kind."""
  monkeypatch.chdir(tmp_path)
  write_hdf5(tmp_path / "Galaxy10_DECals.h5", galaxy10(30))
  names = [f"{c}/{i}.png" for c in ("smooth", "disk") for i in range(30)]
  write_folders(tmp_path / "folders", names)
  write_evo(tmp_path / "gz_evo")


@pytest.mark.parametrize(
  ("table", "reader"),
  [
    ("Galaxy10_DECals.h5", "galaxy10_decals"),
    ("folders", "image_folders"),
    ("gz_evo", "galaxy_zoo_parquet"),
    ("gz_evo/data/test-00000-of-00001.parquet", "galaxy_zoo_parquet"),
  ],
)
def test_the_reader_is_recognised(tmp_path, no_run, capsys, table, reader):
  run_here("audit", table, "--workdir=run")
  ((config, workdir, stage), named) = no_run.pop()
  assert stage == "audit" and named["with_needed"]
  assert config.data.builder == reader
  assert config.data.catalog == str(tmp_path / table)
  assert config.labels.kind == "column"
  assert config.model.name == "resnet18"  # there are few
  assert f"is read by {reader}" in capsys.readouterr().err
  sources = Sources(*(named[name] for name in Sources._fields))
  stages.remember(config, Workdir(workdir), stage, sources)
  run_here("train", table, "--workdir=run")
  ((again, *_), _) = no_run.pop()
  assert again.to_dict() == config.to_dict()


def test_votes_alone_make_the_labels(tmp_path, no_run):
  for path in (tmp_path / "gz_evo" / "data").iterdir():
    table = pyarrow.parquet.read_table(path).drop_columns("summary")
    pyarrow.parquet.write_table(table, path)
  run_here("gz_evo", "--workdir=run", "--config.model.name=resnet34")
  ((config, *_), _) = no_run.pop()
  assert config.labels.kind == "question"
  run_here("gz_evo", "--workdir=run", "--config.labels.kind=four")
  assert no_run.pop()[0][0].labels.kind == "four"


def test_a_reader_that_is_named_stays(no_run):
  run_here(
    *("gz_evo", "--workdir=run", "--config.data.builder=image_folders"),
    *("--config=catalog", "--config.train.epochs=3"),
  )
  ((config, *_), _) = no_run.pop()
  assert config.data.builder == "image_folders"
  assert config.train.epochs == 3


def test_mistakes(tmp_path, refused):
  line = refused("folders", "--images=folders/disk", "--workdir=run")
  assert "--images=folders/disk is for tables" in line
  assert "image_folders" in line
  line = refused("gz_evo", "folders", "--workdir=run")
  assert "two tables, gz_evo and folders" in line
  path = tmp_path / "Galaxy10_DECals.h5"
  path.write_bytes(path.read_bytes()[:1000])
  line = refused("audit", "Galaxy10_DECals.h5", "--workdir=run")
  assert "Galaxy10_DECals.h5 cannot be read as HDF5" in line


def test_folders_that_are_no_galaxies_say_why(tmp_path, refused):
  (tmp_path / "nothing").mkdir()
  line = refused("prepare", "nothing", "--workdir=run", "--config=catalog")
  assert line == (
    "error: nothing is empty: give a table, or a folder with galaxies."
  )
  write_folders(tmp_path / "one", ["smooth/1.png"])
  line = refused("audit", "one", "--workdir=run", "--config=catalog")
  assert "one has one class folder with images (smooth), and two" in line


def test_from_class_folders_to_a_split(capsys):
  command = ["prepare", "folders", "--workdir=run", "--data_dir=tfds"]
  run_here(*command, "--config.data.size=16")
  assert (
    "note: folders: 2 class folders, 60 galaxies" in capsys.readouterr().err
  )
  run = runs.load("run")
  assert run.config.data.builder == "image_folders"


def test_from_parquet_with_votes_to_a_split(tmp_path, capsys):
  command = ["prepare", "gz_evo", "--workdir=run", "--data_dir=tfds"]
  run_here(*command, "--config.data.size=16", *_SMALL)
  said = capsys.readouterr().err
  assert "note: gz_evo: 4 shards, campaigns gz2 and dr5 and dr8" in said
  assert (tmp_path / "run" / "split.parquet").exists()
