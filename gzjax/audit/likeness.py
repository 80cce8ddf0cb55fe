"""Which galaxies look alike to a network, and which like no other."""

from typing import NamedTuple

import numpy as np


class Alike(NamedTuple):
  """The k galaxies that look most like one; the likest first."""

  index: np.ndarray  # i64[k], rows
  cosine: np.ndarray  # f64[k], of the angle between the features, -1 to 1


def most_alike(features: np.ndarray, row: int, k: int = 10) -> Alike:
  """The galaxies whose features f[N,F] have the smallest angle to a row's.

  Without the row itself; at most N - 1.
  """
  unit = _unit(features)
  cosine = unit @ unit[row]
  cosine[row] = -np.inf
  index = np.argsort(-cosine, kind="stable")[: min(k, len(unit) - 1)]
  return Alike(index, cosine[index])


def oddity(features: np.ndarray, k: int = 10, chunk: int = 2048) -> np.ndarray:
  """How unlike its k nearest each galaxy is, f64[N], 0 to 2.

  One less the mean cosine of the features f[N,F] with those of the k most alike
  (the outlier score of Ramaswamy et al. 2000 in its mean form, Angiulli &
  Pizzuti 2002, with the cosine for the distance). `chunk` rows are compared at
  once.
  """
  unit = _unit(features).astype(np.float32)
  k = min(k, len(unit) - 1)
  found = np.empty(len(unit))
  for start in range(0, len(unit), chunk):
    cosine = unit[start : start + chunk] @ unit.T
    own = np.arange(len(cosine))
    cosine[own, start + own] = -np.inf
    nearest = np.partition(cosine, -k, axis=1)[:, -k:]
    found[start : start + chunk] = 1 - nearest.mean(axis=1, dtype=np.float64)
  return found


def _unit(features: np.ndarray) -> np.ndarray:
  """Rows of length 1, f64[N,F]; of zeros they stay."""
  x = np.asarray(features, np.float64)
  length = np.linalg.norm(x, axis=1, keepdims=True)
  return x / np.where(length > 0, length, 1)
