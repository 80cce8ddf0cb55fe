"""Folders in which nobody may write: those that are whole can be used."""

import os
from pathlib import Path
import shutil
import subprocess

import pandas as pd
import pytest

from tests.attacks.conftest import Outcome
from tests.command_line import launch

pytestmark = pytest.mark.slow

# Root may write everywhere, but for a root without this.
_ORDINARY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def ordinary():
  """What makes a command one of a user to whom permissions apply."""
  if os.geteuid():
    return ()
  if not shutil.which("setpriv") or subprocess.call([*_ORDINARY, "true"]):
    pytest.skip("root may write everywhere, and setpriv cannot change that")
  return _ORDINARY


def _launch(prefix, *flags):
  done = launch(*flags, prefix=prefix)
  return Outcome(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def freeze():
  """Takes the right to write away from all in a folder, until the end."""
  frozen: list[Path] = []

  def take(folder):
    for path in (folder, *folder.rglob("*")):
      if not path.is_symlink():
        frozen.append(path)
        path.chmod(0o555 if path.is_dir() else 0o444)

  yield take
  for path in frozen:
    path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_finished_run_is_read(target, ordinary, freeze):
  before = target.state()
  freeze(target.folder)
  for more in ((), ("--verify",)):
    done = _launch(ordinary, *target.flags, *more)
    assert done.code == 0, done.said
    assert "all of this is done" in done.said
  assert target.state() == before


@pytest.mark.parametrize(
  "more",
  [
    ("--overwrite",),
    ("--stage=predict",),
    ("--stage=unlearn", "--forget={folder}/more.txt"),
  ],
  ids=" ".join,
)
def test_what_would_write_is_one_line(target, ordinary, freeze, more):
  before = target.state()
  split = pd.read_parquet(target.run / "split.parquet")
  (target.folder / "more.txt").write_text("\n".join(split["id_str"].head(12)))
  freeze(target.folder)
  more = [flag.format(folder=target.folder) for flag in more]
  done = _launch(ordinary, *target.flags, *more)
  assert done.code == 2, done.said
  assert str(target.run) in done.line and "write" in done.line
  assert target.state() == before


def test_galaxies_of_others_are_shared(target, ordinary, freeze, tmp_path):
  freeze(target.folder)
  other = f"--workdir={tmp_path / 'other'}"
  done = _launch(ordinary, "prepare", *target.flags, other)
  assert done.code == 0, done.said
  assert (tmp_path / "other" / "split.parquet").exists()
  more = (other, "--config.data.size=24", "--overwrite")
  done = _launch(ordinary, "prepare", *target.flags, *more)
  assert done.code == 2, done.said
  assert str(target.folder / "tfds") in done.line and "write" in done.line
