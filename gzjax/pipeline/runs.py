"""A run on disk, as it is opened in Python."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import tempfile
from typing import Any

import ml_collections
import pandas as pd

from gzjax.data.galaxy_catalog import tables
from gzjax.errors import UserError
from gzjax.files import read_json, write_table
from gzjax.pipeline import remembered
from gzjax.pipeline.remembered import Sources
from gzjax.pipeline.suspect_table import Suspects, suspect_table
from gzjax.pipeline.workdir import Workdir


@dataclass(frozen=True)
class Run:
  """A run that was opened: its config and its tables, as they are now."""

  workdir: Path
  config: ml_collections.ConfigDict
  sources: Sources

  @property
  def split(self) -> pd.DataFrame:
    """Every galaxy: its split and its labels."""
    return pd.read_parquet(self._file("split.parquet", "prepare"))

  @property
  def scoreboard(self) -> pd.DataFrame:
    """A row for each network."""
    return pd.read_csv(self._file("scoreboard.csv", "evaluate"))

  @property
  def recommendation(self) -> str:
    """Which network to use, and why, in a sentence."""
    path = self._file("evaluate/recommendation.json", "evaluate")
    return read_json(path)["sentence"]

  def suspects(self) -> Suspects:
    """Every label, the most suspicious first; `.show()` draws them."""
    table = tables.read_text(self._file("audit/suspects.csv", "audit"))
    return suspect_table(table, self.workdir)

  def unlearn(
    self,
    forget: str | Path | pd.DataFrame | Sequence[str] = "suspects",
    method: str | Sequence[str] = "negative_learning",
    *,
    retrain: bool = False,
  ) -> "Run":
    """Forgets what a person found wrong, on the network that is there.

    Args:
      forget: a reviewed table (a file or a frame), ids, or "suspects": what the
        audit would cut without a person.
      method: one or several of `gzjax.unlearning.METHODS`.
      retrain: whether to retrain for real, too, to compare with.

    Raises:
      UserError: for a run that was not audited, or what is no review of it.
    """
    from gzjax.pipeline import stages  # which needs this module

    config = self.config.copy_and_resolve_references()
    methods = (method,) if isinstance(method, str) else tuple(method)
    config.unlearn.methods = methods
    if retrain:
      set_retraining(config, True)
    with _as_file(forget) as source:
      stages.run(
        config,
        str(self.workdir),
        "unlearn",
        forget=source,
        **self.sources._asdict(),
      )
    return load(self.workdir)

  def _file(self, name: str, stage: str) -> Path:
    path = self.workdir / name
    if not path.exists():
      raise UserError(
        f"{self.workdir} has no {name} yet: run gzjax {stage} "
        f"--workdir={self.workdir}."
      )
    return path


def set_retraining(config: ml_collections.ConfigDict, wanted: bool) -> None:
  """Makes retraining a row of the scoreboard, beside the methods, or not."""
  methods = [x for x in config.unlearn.methods if x != "retrain"]
  config.unlearn.methods = (*(["retrain"] * wanted), *methods)


@contextmanager
def _as_file(
  forget: str | Path | pd.DataFrame | Sequence[str],
) -> Iterator[str]:
  """A file with what is to be forgotten, where it is not one already."""
  if isinstance(forget, str | Path):
    yield str(forget)
    return
  if not isinstance(forget, pd.DataFrame):
    forget = pd.DataFrame({"id_str": [str(x) for x in forget]})
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "reviewed.csv"
    write_table(path, forget)
    yield str(path)


def find_wrong_labels(
  table: str | Path | pd.DataFrame,
  *,
  images: str | Path | None = None,
  workdir: str | Path,
  **changes: Any,
) -> Run:
  """Trains on a catalogue as it is, and audits every label of it.

  Args:
    table: a file of galaxies or a frame; which column is what is guessed.
    images: folder of the image files; None: that of the table.
    workdir: of the run; one that is there goes on.
    **changes: keys of the config by their full names, such as
      `**{"train.epochs": 10}`.

  Returns:
    The run: `.suspects()`, `.unlearn(...)`, `.scoreboard`.

  Raises:
    UserError: for what a person can mend in the table, the images or a key.
  """
  from gzjax.pipeline import own_table, stages  # which need this module

  folder = Path(workdir).expanduser()
  if isinstance(table, pd.DataFrame):
    path = folder / "catalogue.parquet"
    with Workdir(folder).hold():
      write_table(path, table)
    table = path
  config = own_table.get_config(Path(table), images and Path(images))
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  stages.run(
    config, str(folder), "audit", with_needed=True, config_file="catalog"
  )
  return load(folder)


def load(workdir: str | Path) -> Run:
  """Opens a run; UserError if the folder holds none."""
  folder = Path(workdir).expanduser()
  found = remembered.read(folder / "config.json")
  if found is None:
    raise UserError(f"{folder} holds no run: there is no config.json in it.")
  return Run(folder, *found)
