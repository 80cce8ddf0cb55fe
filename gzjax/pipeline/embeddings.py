"""What the head gets to see of all galaxies, computed once and kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gzjax import digests
from gzjax.files import read_json, to_json, write_json, write_table
from gzjax.pipeline import labels_and_flips, weights
from gzjax.progress import say

if TYPE_CHECKING:
  from gzjax.pipeline.experiment import Experiment

OUTPUTS = NAME, _NOTE = ("embeddings.parquet", "embeddings.json")
_COLUMN = "feature_{}"


def run(experiment: "Experiment") -> None:
  """Writes embeddings.parquet, unless it is there."""
  galaxies, features = experiment.embeddings.shape
  path = experiment.workdir / NAME
  say(f"{path}: {features:,} features of each of {galaxies:,} galaxies")


def kept(experiment: "Experiment") -> np.ndarray:
  """`Experiment.encoded` of all galaxies of the run, f32[N,F].

  Of embeddings.parquet (`id_str` and a column for each feature, in the order of
  split.parquet), which is written anew where it is of another network, of other
  galaxies, or damaged.
  """
  path = experiment.workdir / NAME
  note, made_from = experiment.workdir / _NOTE, _made_from(experiment)
  if path.exists() and read_json(note) == _record(path, made_from):
    features = pd.read_parquet(path).drop(columns="id_str")
    return features.to_numpy(np.float32)
  image = experiment.dataset.image
  say(f"features of {len(image):,} galaxies")
  seen = experiment.encoded(image)
  write_table(path, table(experiment.split["id_str"], seen))
  write_json(note, _record(path, made_from))
  return seen


def table(ids: pd.Series, seen: np.ndarray) -> pd.DataFrame:
  """`id_str` and a column for each of the features f32[N,F]."""
  names = [_COLUMN.format(i) for i in range(seen.shape[1])]
  found = pd.DataFrame(seen, columns=names)
  found.insert(0, "id_str", ids.to_numpy())
  return found


def _record(path: Path, made_from: dict[str, Any]) -> dict[str, Any]:
  return {**made_from, "sha256": digests.of_file(path)}


def _made_from(experiment: "Experiment") -> dict[str, Any]:
  """What tells these features from those of another network or other images."""
  config, data = experiment.config, experiment.dataset
  if config.model.frozen:
    network = {
      "model": config.model.to_dict(),
      "seed": config.seed,
      "weights": weights.digest(config),
    }
  else:
    network = experiment.digest("original")
  ids = "\0".join(experiment.split["id_str"])
  marked = labels_and_flips.mark(config)
  if marked:
    flipped = experiment.split["flipped"].to_numpy()
    marked += digests.of_bytes(flipped.tobytes())
  return to_json(
    {
      "network": network,
      "normalisation": experiment.normalisation,
      "data set": data.fingerprint,
      "galaxies": digests.of_bytes(ids.encode()),
      "images": [experiment.crop, config.data.size, marked],
    }
  )
