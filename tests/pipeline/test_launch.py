"""The command line: a user's mistake is one line and exit code 2."""

import pandas as pd
import pytest

from tests.command_line import launch, tiny
from tests.data.catalogs import write_catalog


def _refused(*flags):
  """The one line that a mistake ends in."""
  done = launch(*flags)
  assert done.returncode == 2, done.stderr
  assert "Traceback" not in done.stderr
  lines = done.stderr.strip().splitlines()
  assert lines[-1].startswith("error: ")
  assert sum(line.startswith("error: ") for line in lines) == 1
  return lines[-1]


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (["--config.train.epochz=3"], ["epochz"]),
    (["--config.train.epochs=3.5"], ["epochs"]),
    (["--config.train.epochs=0"], ["train.epochs is 0"]),
    (["--config.flips.fraction=0.5"], ["flips.fraction is 0.5"]),
    (["--config.flips.fraction=0.0"], ["flips.fraction is 0"]),
    (["--config.train.loss=mse"], ["train.loss is 'mse'", "focal"]),
    (["--config.unlearn.methods=('magic',)"], ["'magic'", "finetune"]),
    (["--config.model.name=resnet35"], ["'resnet35'", "resnet34"]),
    (["--stage=everything"], ["everything"]),
    (["--no_such_flag=1"], ["no_such_flag"]),
    (["extra"], ["extra"]),
    (["--stage=train"], ["needs stage prepare"]),
    (["--jax_num_cpu_devices=3"], ["batch_size=16", "3 devices"]),
    (["--config.train.batch_size=200"], ["batch_size=200"]),
  ],
)
def test_mistakes_in_flags(tmp_path, changes, words):
  line = _refused(*tiny(tmp_path, *changes))
  for word in words:
    assert word in line


def test_missing_flags_and_files(tmp_path):
  assert "--workdir is missing" in _refused("--config=configs/demo.py")
  assert "--config is missing" in _refused(f"--workdir={tmp_path}")
  line = _refused("--config=configs/nowhere.py", f"--workdir={tmp_path}")
  assert "nowhere.py" in line
  line = _refused("--config=configs/demo.py:huge", f"--workdir={tmp_path}")
  assert "huge" in line


def test_unwritable_workdir(tmp_path):
  (tmp_path / "run").touch()
  assert "cannot write" in _refused(*tiny(tmp_path))


def test_unwritable_data_dir(tmp_path):
  (tmp_path / "tfds").touch()
  assert "--data_dir" in _refused(*tiny(tmp_path))


def _catalog_flags(tmp_path, path):
  return [
    "--config=configs/catalog.py",
    f"--config.data.catalog={path}",
    f"--workdir={tmp_path / 'run'}",
    f"--data_dir={tmp_path / 'tfds'}",
  ]


def test_catalogue_without_a_file(tmp_path):
  line = _refused(*_catalog_flags(tmp_path, ""))
  assert "--config.data.catalog" in line


def test_mistakes_in_a_catalogue_lose_nothing(tmp_path):
  path = write_catalog(tmp_path, 30)
  image = tmp_path / "images" / "7.png"
  whole = image.read_bytes()
  image.write_bytes(whole[:100])
  line = _refused(*_catalog_flags(tmp_path, path))
  assert "row 8 (id 1007)" in line
  assert "7.png" in line
  # Mended, the same command goes on.
  image.write_bytes(whole)
  done = launch(
    *_catalog_flags(tmp_path, path),
    "--stage=prepare",
    "--config.train.batch_size=8",
    "--config.unlearn.batch_size=8",
  )
  assert done.returncode == 0, done.stderr
  split = pd.read_parquet(tmp_path / "run" / "split.parquet")
  assert len(split) == 30
  # Another config is refused, and what is there stays.
  line = _refused(
    *_catalog_flags(tmp_path, path),
    "--config.flips.fraction=0.2",
    "--config.train.batch_size=8",
    "--config.unlearn.batch_size=8",
  )
  assert "flips.fraction was 0.1, is 0.2" in line
  pd.testing.assert_frame_equal(
    split, pd.read_parquet(tmp_path / "run" / "split.parquet")
  )


def _without_label(table):
  return table.drop(columns="label")


def _empty(table):
  return table.iloc[:0]


def _twice(table):
  return pd.concat([table, table.iloc[[4]]])


def _starfish(table):
  return table.replace({"label": {"artifact": "starfish"}})


def _nameless(table):
  return table.assign(label=table["label"].where(table["label"] != "smooth"))


@pytest.mark.parametrize(
  ("mistake", "words"),
  [
    (_without_label, ["no column 'label'", "--config.data.label_column"]),
    (_empty, ["has no rows"]),
    (_twice, ["row 31 (id 1004) repeats the id of row 5"]),
    (_starfish, ["row 3 (id 1002)", "'starfish'"]),
    (_nameless, ["row 1 (id 1000)", "'label' is empty"]),
  ],
)
def test_mistakes_in_a_catalogue(tmp_path, mistake, words):
  path = write_catalog(tmp_path, 30)
  mistake(pd.read_csv(path, dtype=str)).to_csv(path, index=False)
  line = _refused(*_catalog_flags(tmp_path, path))
  assert "catalog.csv" in line
  for word in words:
    assert word in line


def test_a_class_that_is_too_small(tmp_path):
  path = write_catalog(tmp_path, 20)
  table = pd.read_csv(path)
  table.loc[table["label"] == "artifact", "label"] = "smooth"
  table.loc[0, "label"] = "artifact"
  table.to_csv(path, index=False)
  line = _refused(*_catalog_flags(tmp_path, path))
  assert "'artifact' has 1 galaxies" in line


def test_a_catalogue_in_the_manual_folder(tmp_path):
  write_catalog(tmp_path / "downloads", 30)
  done = launch(
    *_catalog_flags(tmp_path, "catalog.csv"),
    f"--manual_dir={tmp_path / 'downloads'}",
    "--stage=prepare",
    "--config.train.batch_size=8",
    "--config.unlearn.batch_size=8",
  )
  assert done.returncode == 0, done.stderr


def test_help_lists_the_stages():
  done = launch("--help")
  assert "--stage" in done.stdout
  text = "".join(done.stdout.split())  # lines are wrapped
  assert "<all|prepare|train|audit|unlearn|evaluate|report|" in text
  assert "|stabiliser|discovery|predict>" in text
