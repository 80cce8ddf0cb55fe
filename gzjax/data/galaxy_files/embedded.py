"""Galaxies whose images lie inside of files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gzjax.data import bad_images, frames
from gzjax.morphology import campaigns


class Images(NamedTuple):
  """N images inside of files."""

  # Rows i64[n] in ascending order -> n items as they lie there, read piece by
  # piece.
  read: Callable[[np.ndarray], Iterable[Any]]
  # An item -> its encoded image; BadImageError names its row and file.
  encode: Callable[[Any], bytes]
  sizes: np.ndarray  # i64[N], about how many bytes each has
  files: Sequence[Path]


class Embedded(NamedTuple):
  """N galaxies of a file or a folder, checked.

  The frame has the columns of `catalog.Catalog` but for those of files, and
  perhaps other numbers; its index says which of the images each row has.
  """

  path: Path
  frame: pd.DataFrame
  classes: tuple[str, ...]  # (): there are no labels
  tree: str  # its name; "": none
  images: Images
  notes: tuple[str, ...]  # what was recognised, a sentence each
  left_out: Mapping[str, int] = {}  # reason: number of galaxies


def without_bad_images(galaxies: Embedded) -> Embedded:
  """The galaxies without those whose images cannot be used.

  Raises:
    UserError: if no galaxy is left.
  """
  images, count = galaxies.images, len(galaxies.frame)
  items = images.read(galaxies.frame.index.to_numpy())
  bad = bad_images.which(images.encode, items, count)
  if not bad.any():
    return galaxies
  return galaxies._replace(
    frame=galaxies.frame[~bad], left_out={bad_images.REASON: int(bad.sum())}
  )


def fingerprint(galaxies: Embedded) -> str:
  """Twelve hex digits that name all that is recorded, see `frames`."""
  files = galaxies.images.files
  names = tuple(file.name for file in files)
  kept = galaxies.frame.index.to_numpy().tobytes()
  known = (galaxies.classes, *campaigns.known_by(galaxies.tree), names, kept)
  return frames.fingerprint(known, galaxies.frame, files)
