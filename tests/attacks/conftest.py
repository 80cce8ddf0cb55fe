"""A finished run to attack: two kinds, of one device."""

import contextlib
import hashlib
import io
from pathlib import Path
import shutil
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from tests.command_line import run_here
from tests.data.catalogs import write_catalog

_SMALL = (
  "--config.model.name=resnet18",
  "--config.model.width=4",
  "--config.model.small_stem=True",
  "--config.data.size=16",
  "--config.train.epochs=2",
  "--config.train.batch_size=8",
  "--config.train.learning_rate=0.002",
  "--config.unlearn.batch_size=8",
  "--config.unlearn.forget_batch_size=8",
  "--config.unlearn.least_learned=0",
  "--config.unlearn.finetune.max_damage=1",
  "--config.unlearn.relabel.max_damage=1",
  "--config.audit.folds=2",
  "--config.unlearn.methods=('retrain','finetune','relabel')",
  "--compilation_cache=off",
)


class Outcome(NamedTuple):
  """What a command ended in."""

  code: int
  said: str  # on both outputs

  @property
  def line(self) -> str:
    """The one line of a mistake."""
    lines = [x for x in self.said.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, self.said
    assert "Traceback" not in self.said
    assert self.said.rstrip().splitlines()[-1] == lines[0]
    return lines[0]


class Target(NamedTuple):
  """A folder with a catalogue and a run of it."""

  folder: Path

  @property
  def run(self) -> Path:
    return self.folder / "run"

  @property
  def catalogue(self) -> Path:
    return self.folder / "catalog.csv"

  @property
  def flags(self) -> tuple[str, ...]:
    """Of the run, as its user gave them."""
    return (
      *(str(self.catalogue), f"--workdir={self.run}"),
      f"--data_dir={self.folder / 'tfds'}",
      *_SMALL,
    )

  def launch(self, *more: str, stage: str = "all") -> Outcome:
    """Runs a command in this process."""
    code: int | str | None = 0
    with (
      contextlib.redirect_stdout(io.StringIO()) as out,
      contextlib.redirect_stderr(out),
    ):
      try:
        run_here(stage, *self.flags, *more)
      except SystemExit as stopped:
        code = stopped.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue())

  def numbers(self) -> dict[str, pd.DataFrame]:
    """What every network says of every galaxy."""
    return {
      path.name: pd.read_parquet(path)
      for path in sorted((self.run / "evaluate").glob("*.parquet"))
    }

  def state(self) -> dict[str, str]:
    """Digest of each file of the run, but for its lock."""
    return {
      str(path.relative_to(self.run)): hashlib.sha256(
        path.read_bytes()
      ).hexdigest()
      for path in sorted(self.run.rglob("*"))
      if path.is_file() and path.name != ".lock"
    }

  def networks(self) -> dict[str, str]:
    """The files of all checkpoints."""
    return {k: x for k, x in self.state().items() if "checkpoints/" in k}


def assert_same(got: Target, wanted: Target) -> None:
  """Both runs say the same of every galaxy."""
  found, right = got.numbers(), wanted.numbers()
  assert found.keys() == right.keys()
  for name, table in right.items():
    pd.testing.assert_frame_equal(found[name], table, check_exact=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
  """A run of one's own table: audited, forgotten, retrained, reported."""
  target = Target(tmp_path_factory.mktemp("attacked"))
  write_catalog(target.folder, 90)
  first = target.launch()
  assert first.code == 0, first.said
  ids = pd.read_parquet(target.run / "split.parquet")
  train = ids["id_str"][ids["split"] == "train"]
  wrong = np.random.default_rng(0).permutation(train)[:8]
  (target.folder / "ids.txt").write_text("\n".join(wrong))
  second = target.launch(
    f"--forget={target.folder / 'ids.txt'}", "--retrain", stage="unlearn"
  )
  assert second.code == 0, second.said
  assert (target.run / "report.html").exists()
  return target


@pytest.fixture
def target(finished):
  """A copy of it at the same place, so that nothing has moved."""
  kept = finished.folder.with_name(f"{finished.folder.name}.kept")
  if not kept.exists():
    shutil.copytree(finished.folder, kept, symlinks=True)
  yield finished
  shutil.rmtree(finished.folder)
  shutil.copytree(kept, finished.folder, symlinks=True)


@pytest.fixture(scope="session")
def whole(finished):
  """As the run was before any attack."""
  kept = finished.folder.with_name(f"{finished.folder.name}.whole")
  shutil.copytree(finished.folder, kept, symlinks=True)
  return Target(kept)
