"""Columns that nobody has named: found by prepare, shown and remembered."""

from pathlib import Path
from typing import Any

import ml_collections
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gzjax import digests
from gzjax.data import builders
from gzjax.data.galaxy_catalog import guess, image_files
from gzjax.errors import naming
from gzjax.files import read_json, to_json, write_json
from gzjax.pipeline import checks, own_table, prepare
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say

_WIDTH = 100  # characters, where there is no terminal


def find(experiment: Experiment) -> None:
  """Finds what of a catalogue the config leaves open, shows it and notes it.

  From here on the config has it. UserError where something cannot be found.
  """
  config, data = experiment.config, experiment.config.data
  if data.builder != own_table.READER:
    return
  path, images = prepare.catalog_files(experiment, "data")
  note_path = experiment.workdir / "stages" / "columns.json"
  given, note = _settings(config), read_json(note_path)
  if note and note["table"] == _digest(path):
    # What `recall` took from there, nobody gave.
    before, found = note["given"], note["found"]
    given = {
      key: before[key] if x == found[key] else x for key, x in given.items()
    }
  settings = builders.READERS.take(own_table.READER, data)
  if guess.is_needed(settings):
    with naming("data"):
      found = guess.guess(path, images, settings)
    _show(path, found)
    own_table.fit(config, found.galaxies)
    by_tree = data.label_column == guess.AUTO and not found.classes
    data.update(found.settings)
    if by_tree:
      own_table.label_by_votes(config)
  write_json(
    note_path,
    {
      "given": given,
      "found": _settings(config),
      "table": _digest(path),
      "images": image_files.state(images),
    },
  )


def recall(config: ml_collections.ConfigDict, place: Workdir) -> None:
  """Takes what a finished prepare found, where the config leaves it open.

  Images that are no more where they were may be anywhere: what is prepared
  needs neither them nor the table. Says if that is another one now.
  """
  note = read_json(place / "stages" / "columns.json")
  if not note:
    return
  given, found, now = note["given"], note["found"], _settings(config)
  if now["data.catalog"] != given["data.catalog"]:
    return
  path = Path(given["data.catalog"]).expanduser()
  is_other = path.exists() and _digest(path) != note["table"]
  if is_other and not place.is_finished("prepare"):
    return
  if not Path(given["data.images"]).expanduser().exists():
    now["data.images"] = given["data.images"]
  config.update_from_flattened_dict(
    {key: _tuple(found[key]) for key in found if now.get(key) == given[key]}
  )
  images = Path(given["data.images"] or path.parent).expanduser()
  before = note.get("images")
  others = images.is_dir() and before not in (None, image_files.state(images))
  for changed in (*[path] * is_other, *[images] * others):
    say(
      f"note: {changed} has changed since it was prepared; the run goes on "
      f"with what it was. gzjax prepare --workdir={place.root} --overwrite "
      "reads it anew."
    )


def _settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The keys that may be found, and those that say in what, as JSON."""
  names = [
    f"data.{name}" for name in builders.READERS.settings(own_table.READER)
  ]
  keys = [*names, "labels.kind", *own_table.FOR_FEW]
  return {key: to_json(checks.get(config, key)) for key in keys}


def _tuple(value):
  return tuple(value) if isinstance(value, list) else value


def _digest(path: Path) -> str | None:
  return digests.of_file(path) if path.is_file() else None


def _show(path: Path, found: guess.Guess) -> None:
  """Prints what was found in a table, and why."""
  title = f"{path.name}: {found.galaxies:,} galaxies"
  table = Table(title=title, title_justify="left")
  for name in ("key of config.data", "found", "because"):
    table.add_column(name, overflow="fold")
  for key, value, because in found.findings:
    if key == "classes" and found.classes:
      value = _class_sizes(found)
    if because:
      table.add_row(*(Text(str(x)) for x in (key, value, because)))
  console = Console()
  if not console.is_terminal:
    console = Console(width=_WIDTH)
  console.print(table)


def _class_sizes(found: guess.Guess) -> str:
  sizes = [f"{name} {n:,}" for name, n in found.classes.items()]
  if unlabelled := found.galaxies - sum(found.classes.values()):
    sizes.append(f"no label {unlabelled:,}")
  return ", ".join(sizes)
