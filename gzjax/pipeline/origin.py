"""What a network was made from, so that it is not taken for another one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gzjax import digests
from gzjax.errors import UserError
from gzjax.files import read_json, to_json
from gzjax.problem import Entries, Rows

if TYPE_CHECKING:
  from gzjax.pipeline.experiment import Experiment

NAME = "origin.json"


def of(experiment: "Experiment", name: str) -> dict[str, str]:
  """Digests of what the network of a name learns, starts from and how."""
  row, sets = experiment.row(name), experiment.sets
  if row.role == "original":
    learned = galaxies(experiment, sets.train, experiment.learned_first)
    return {"training set": learned, "recipe": _recipe(experiment, name)}
  columns = experiment.problem.columns
  retain = {"retain set": galaxies(experiment, sets.retain, columns.given)}
  if row.make:
    return {**retain, "recipe": _recipe(experiment, name)}
  unlearn = experiment.config.unlearn
  how = [unlearn[key] for key in ("batch_size", "forget_batch_size", name)]
  return {
    **retain,
    "forget set": galaxies(experiment, sets.forget, columns.given),
    "corrections": galaxies(experiment, sets.forget, columns.mended),
    "original network": experiment.digest("original"),
    "settings": digests.of_json(to_json(how)),
  }


def _recipe(experiment: "Experiment", name: str) -> str:
  config = experiment.config
  recipe = experiment.recipe(experiment.place(name).name)
  how = [recipe._asdict(), config.model.to_dict(), config.seed]
  return digests.of_json(to_json(how))


def check(place: Path, now: Mapping[str, str]) -> None:
  """Raises UserError for a network that was made from something else."""
  before = read_json(place / NAME)
  changed = [key for key, x in now.items() if before and before.get(key) != x]
  if changed:
    raise UserError(
      f"{place} was made from another {changed[0]}: delete that folder to make "
      "it anew, or choose another --workdir."
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
