"""What a network was made from, so that it is not taken for another one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gzjax import digests
from gzjax.errors import UserError
from gzjax.files import first_difference, read_json, to_json
from gzjax.pipeline import defaults
from gzjax.problem import Entries, Rows

if TYPE_CHECKING:
  from gzjax.pipeline.experiment import Experiment

NAME = "origin.json"


def of(experiment: "Experiment", name: str) -> dict[str, Any]:
  """What the network of a name learns, starts from and how.

  Settings as they are, all else as digests.
  """
  row, sets = experiment.row(name), experiment.sets
  if row.role == "original":
    learned = galaxies(experiment, sets.train, experiment.learned_first)
    return {"training set": learned, "recipe": _recipe(experiment, name)}
  columns = experiment.problem.columns
  if row.make:
    learned = galaxies(experiment, experiment.learned_by(name), columns.given)
    known = "training set" if row.keeps_all else "retain set"
    return {known: learned, "recipe": _recipe(experiment, name)}
  unlearn = experiment.config.unlearn.to_dict()
  keys = ("batch_size", "forget_batch_size", name)
  return {
    "retain set": galaxies(experiment, sets.retain, columns.given),
    "forget set": galaxies(experiment, sets.forget, columns.given),
    "corrections": galaxies(experiment, sets.forget, columns.mended),
    "original network": experiment.digest("original"),
    "settings": to_json({key: unlearn[key] for key in keys}),
  }


def _recipe(experiment: "Experiment", name: str) -> dict[str, Any]:
  config = experiment.config
  recipe = experiment.recipe(experiment.place(name).name)
  own = {**recipe._asdict(), **recipe.settings}
  del own["settings"]
  return to_json(
    {"seed": config.seed, "model": config.model.to_dict(), "train": own}
  )


def check(place: Path, now: Mapping[str, Any]) -> None:
  """Raises UserError for a network that was made from something else."""
  before = read_json(place / NAME) or now
  config = defaults.as_json()
  usual = {"recipe": config, "settings": config["unlearn"]}
  for key, value in now.items():
    if isinstance(value, dict) and isinstance(before.get(key), str):
      continue  # a digest, of before settings were kept as they are
    difference = first_difference(before.get(key), value, usual=usual.get(key))
    if difference:
      which = f"other {key}" if key == "settings" else f"another {key}"
      what = f" ({difference})" if isinstance(value, dict) else ""
      raise UserError(
        f"{place} was made from {which}{what}: delete that folder to make it "
        "anew, or choose another --workdir."
      )


def galaxies(experiment: "Experiment", rows: Rows, entries: Entries) -> str:
  """Digest of some galaxies and of what is learned of them."""
  ids = experiment.split["id_str"].to_numpy()[rows].astype(str)
  learned = {key: x[rows] for key, x in entries.items()}
  # Names as bytes: their width is that of the longest one.
  return digests.of_arrays(
    {
      "id_str": np.frombuffer("\n".join(ids).encode(), np.uint8),
      "data set": np.frombuffer(experiment.dataset.fingerprint.encode(), "u1"),
      **learned,
    }
  )
