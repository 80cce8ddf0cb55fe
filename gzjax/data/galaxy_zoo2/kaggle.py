"""The training set of the Kaggle challenge: its table and its images."""

from pathlib import Path
import zipfile

import numpy as np

from gzjax.data.downloads import archives, records, tables
from gzjax.data.galaxy_builder import Galaxies
from gzjax.errors import UserError
from gzjax.morphology.campaigns import GZ2_KAGGLE
from gzjax.morphology.trees import violation
from gzjax.progress import say

ORIGIN = "kaggle.com/c/galaxy-zoo-the-galaxy-challenge"
_BUNDLE = "galaxy-zoo-the-galaxy-challenge.zip"
_TABLE = ("training_solutions_rev1.zip", "training_solutions_rev1.csv")
_IMAGES = (
  "images_training_rev1.zip",
  "images_training_rev1",
  "images_train_rev1.zip",
  "images_train_rev1",
)
# The values are rounded: in whole files no sum is off by more than 2e-6.
_TOLERANCE = 1e-5
_MOST_BROKEN = 0.01


def read_challenge(folder: Path, files: archives.Files) -> Galaxies:
  """Reads and checks the files of the challenge.

  The folder has them as they were downloaded, zipped or not, or all of them in
  one zip. Records are `id_str` and `fractions`, f32[37], cumulative.

  Raises:
    UserError: naming the file or the row and the mend.
  """
  places: list[archives.AnyPath] = [folder]
  if (folder / _BUNDLE).exists():
    places.append(zipfile.Path(files.open_zip(folder / _BUNDLE)))
  path = archives.find(places, _TABLE, ORIGIN)
  ids, fractions = _read_table(path, files)
  images = files.open_images([archives.find(places, _IMAGES, ORIGIN)])
  return records.galaxies(
    images,
    ids,
    {"id_str": ids, "fractions": fractions.astype(np.float32)},
    {
      "votes that break the decision tree": _broken(path, ids, fractions),
      "no image": ~images.has_most(ids, ids, str(path)),
    },
  )


def _read_table(path, files):
  table = tables.read_table(
    files.open_file(path),
    str(path),
    ["GalaxyID"],
    {"votes": tables.Numbers(GZ2_KAGGLE.kaggle_columns(), np.float64)},
  )
  ids = table["GalaxyID"]
  tables.check_ids(str(path), ids)
  twice = np.flatnonzero(tables.repeated(ids))
  if len(twice):
    raise UserError(
      f"{path}, row {twice[0] + 1} repeats the id {ids[twice[0]]} "
      f"({len(twice)} such rows): use the file as it was downloaded."
    )
  return ids, table["votes"]


def _broken(path, ids, fractions):
  """Which rows do not obey the sums of the tree, bool[N]."""
  off = np.abs(violation(GZ2_KAGGLE, fractions))
  broken = off.max(axis=1) > _TOLERANCE
  if not broken.any():
    return broken
  i = int(broken.argmax())
  what = (
    f"{path}, row {i + 1} (id {ids[i]}): the answers of question "
    f"{off[i].argmax() + 1} do not sum to what the decision tree wants "
    f"({broken.sum()} such rows)"
  )
  if broken.mean() > _MOST_BROKEN:
    raise UserError(f"{what}: use the file as it was downloaded.")
  say(f"{what}: left out.")
  return broken
