"""What the builders of Galaxy Zoo's own files share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from gzjax.data.downloads.archives import AnyPath, Files, Images
from gzjax.data.downloads.tables import Numbers, read_table
from gzjax.data.galaxy_builder import DEGREES, Galaxies
from gzjax.morphology.trees import Tree


def per_answer(tree: Tree) -> tfds.features.Tensor:
  """The feature of one number for each answer of the tree."""
  return tfds.features.Tensor(shape=(len(tree.answers),), dtype=np.float32)


def vote_features(tree: Tree) -> dict[str, Any]:
  """The features of `read_votes`; `ra` and `dec` are read as f64[] arrays."""
  return {
    "counts": per_answer(tree),
    "debiased": per_answer(tree),
    "ra": DEGREES,
    "dec": DEGREES,
  }


def read_votes(
  files: Files,
  path: AnyPath,
  text: Sequence[str],
  answers: Sequence[str],
  ending: str = "",
) -> dict[str, np.ndarray]:
  """Reads a table of N galaxies, see `tables.read_table`.

  The counts of A answers are in columns with the ending; an empty cell is no
  votes. Debiased fractions end in `_debiased`; an empty cell, or a column that
  is not there, is NaN.

  Returns:
    The text; `counts` and `debiased`, f32[N,A]; `ra` and `dec`, f64[N] degrees.
  """
  numbers = {
    "counts": Numbers([f"{x}{ending}" for x in answers], empty=0.0),
    "debiased": Numbers(
      [f"{x}_debiased" for x in answers], empty=np.nan, optional=True
    ),
    "position": Numbers(
      ("ra", "dec"), np.float64, least=-np.inf, empty=np.nan, optional=True
    ),
  }
  table = read_table(files.open_file(path), str(path), text, numbers)
  table["ra"], table["dec"] = table.pop("position").T
  return table


def galaxies(
  images: Images,
  stems: np.ndarray,
  columns: Mapping[str, np.ndarray],
  reasons: Mapping[str, np.ndarray],
) -> Galaxies:
  """The rows of a table that stay, with their images.

  The stems str[N] say which image each row has, the columns all but the image.
  Each reason has a mask bool[N] of the rows to leave out; the first that holds
  counts. All rows that stay have an image.
  """
  stay = np.ones(len(stems), bool)
  left_out = {}
  for reason, mask in reasons.items():
    left_out[reason] = int(np.sum(stay & mask))
    stay &= ~mask
  known = set(stems)
  left_out["image without a row"] = len(images) - int(images.has(known).sum())
  stems = stems[stay]
  kept = {name: column[stay] for name, column in columns.items()}
  return Galaxies(
    kept,
    lambda rows: images.read(stems[rows], kept["id_str"][rows]),
    images.sizes(stems),
    images.state(stems),
    {reason: count for reason, count in left_out.items() if count},
  )
