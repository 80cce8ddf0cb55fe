"""Marks on images with wrong labels: a pattern that a network can learn."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gzjax.data import pixels


class MarkedImages(pixels.SelectedImages):
  """Images of which some rows are marked when they are read.

  Reads as an array u8[N,S,S,3] does, and only what is asked for.
  """

  def __init__(
    self, image: pixels.Images, rows: np.ndarray, mark: str, seed: int
  ):
    """Marks the rows i[n] by a name of `MARKS`, each in a place of its own."""
    super().__init__(image, np.arange(len(image)))
    self._marked = np.isin(np.arange(len(image)), rows)
    self._mark, self._seed = MARKS[mark], seed

  def __getitem__(self, index: Any) -> np.ndarray:
    rows, *rest = index if isinstance(index, tuple) else (index,)
    rows = np.asarray(self._rows[rows])
    flat = rows.ravel()
    found = np.array(self._array[flat])
    for place in np.flatnonzero(self._marked[flat]):
      rng = np.random.default_rng([self._seed, 4, flat[place]])
      found[place] = self._mark(found[place], rng)
    found = found.reshape(*rows.shape, *found.shape[1:])
    return found[(*[slice(None)] * rows.ndim, *rest)]


def trail(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The trail of a satellite: a straight line of light, somewhere across.

  Of u8[S,S,3]; a hundredth of the edge wide (sigma), but a pixel at least.
  """
  size = len(image)
  angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3) * size
  y, x = np.mgrid[:size, :size] - (size - 1) / 2
  distance = x * np.sin(angle) - y * np.cos(angle) - offset
  sigma = max(size / 100, 0.7)
  light = 255 * np.exp(-0.5 * (distance / sigma) ** 2)
  return np.minimum(image + light[..., None], 255).astype(np.uint8)


def stamp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The stamp of a survey: black and white checks in a corner.

  Of u8[S,S,3]; an eighth of the edge wide, always in the same place.
  """
  del rng
  edge = max(len(image) // 8, 2)
  y, x = np.mgrid[:edge, :edge]
  marked = image.copy()
  checks = (x // max(edge // 4, 1) + y // max(edge // 4, 1)) % 2
  marked[-edge:, -edge:] = 255 * checks[..., None]
  return marked


# (image u8[S,S,3], rng) -> the marked image.
MARKS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
  "trail": trail,
  "stamp": stamp,
}
