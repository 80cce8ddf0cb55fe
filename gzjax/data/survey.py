"""A look at all images: which are empty, and which are the same."""

import hashlib
from typing import NamedTuple

import numpy as np

from gzjax.data.pixels import Images

_ROWS = 1024  # that are read at once


class Survey(NamedTuple):
  """What there is to know of N images before anything is learned of them."""

  constant: np.ndarray  # bool[N], of one colour only
  first: np.ndarray  # i64[N], the first image with the same pixels

  @property
  def twins(self) -> np.ndarray:
    """Images with the same pixels as one before them, bool[N]."""
    return self.first < np.arange(len(self.first))


def look(image: Images) -> Survey:
  """Reads u8[N,S,S,3] once, in pieces."""
  count = len(image)
  constant, first = np.zeros(count, bool), np.arange(count)
  seen: dict[bytes, int] = {}
  for start in range(0, count, _ROWS):
    part = np.asarray(image[np.arange(start, min(start + _ROWS, count))])
    constant[start : start + len(part)] = np.all(
      part == part[:, :1, :1], axis=(1, 2, 3)
    )
    for row, picture in enumerate(part, start):
      digest = hashlib.blake2b(picture.tobytes(), digest_size=16)
      first[row] = seen.setdefault(digest.digest(), row)
  return Survey(constant, first)
