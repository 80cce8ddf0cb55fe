"""A run on disk: what it remembers, and how it is opened in Python."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import tempfile
from typing import Any, NamedTuple

import ml_collections
import pandas as pd

from gzjax import digests
from gzjax.data.galaxy_catalog import tables
from gzjax.errors import DamagedError, UserError
from gzjax.files import read_json, write_table
from gzjax.pipeline import config_files, defaults
from gzjax.pipeline.suspect_table import Suspects, suspect_table
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say


class Sources(NamedTuple):
  """What a run comes from, beside its config."""

  # NAME[:variant], see `config_files.identity`.
  config_file: str | None = None
  data_dir: str | None = None
  manual_dir: str | None = None


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
  found = read(folder / "config.json")
  if found is None:
    raise UserError(f"{folder} holds no run: there is no config.json in it.")
  return Run(folder, *found)


def read(path: Path) -> tuple[ml_collections.ConfigDict, Sources] | None:
  """What a run was started with; None without one, UserError if damaged."""
  try:
    record = read_json(path)
    if record is None:
      return None
    if digests.unsigned(record) is None:
      raise DamagedError(path, "its digest is another one")
    sources = Sources(*(record.get(name) for name in Sources._fields))
    values = _tuples(record["config"])
    return _restore(values, sources.config_file, path), sources
  except (OSError, DamagedError, AttributeError, KeyError, TypeError) as e:
    why = e.what if isinstance(e, DamagedError) else str(e)
    raise UserError(
      f"{path} is not what a run remembers ({why}): start it with "
      "--config=NAME again."
    ) from e


def _restore(
  values: dict[str, Any], source: str | None, path: Path
) -> ml_collections.ConfigDict:
  """The config as it was before it became JSON.

  Its own file is run again, because it may register methods, and because it
  knows which sections are one and the same; the values are those of the run.
  """
  is_comparison = "systems" in values
  config = _shared(values) if is_comparison else defaults.get_config()
  if source:
    name = source.split(":", 1)[0]
    try:
      config_files.find(name)
    except UserError:
      say(f"note: {name}, which {path} was started with, is gone.")
    else:
      found = config_files.load(source)
      config = found if ("systems" in found) == is_comparison else config
  with config.unlocked():
    config.update(values)
  return config


def _shared(values):
  """A comparison whose sections of all systems are one again."""
  config = ml_collections.ConfigDict(values)
  for system in config.systems.values():
    for name, section in config.items():
      if isinstance(section, ml_collections.ConfigDict) and name in system:
        system[name] = section
  return config


def _tuples(value: Any) -> Any:
  """JSON has lists only; our configs have tuples only."""
  if isinstance(value, dict):
    return {name: _tuples(item) for name, item in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
