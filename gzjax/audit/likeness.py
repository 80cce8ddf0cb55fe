"""Which galaxies look alike to a network, and which like no other."""

from typing import NamedTuple

import numpy as np

from gzjax.audit import suspicion


class Alike(NamedTuple):
  """The k galaxies that look most like one; the likest first."""

  index: np.ndarray  # i64[k], rows
  cosine: np.ndarray  # f64[k], of the angle between the features, -1 to 1


def most_alike(features: np.ndarray, row: int, k: int = 10) -> Alike:
  """The galaxies whose features f[N,F] have the smallest angle to a row's.

  Without the row itself; at most N - 1.
  """
  from sklearn.metrics import pairwise  # slow to import

  features = np.asarray(features, np.float64)
  (cosine,) = pairwise.cosine_similarity(features[[row]], features)
  cosine[row] = -np.inf
  index = np.argsort(-cosine, kind="stable")[: min(k, len(features) - 1)]
  return Alike(index, cosine[index])


def oddity(features: np.ndarray, k: int = 10) -> np.ndarray:
  """How unlike its k nearest each galaxy is, f64[N], 0 to 2.

  See `suspicion.neighbours`; features f[N,F].
  """
  nothing = np.zeros(len(features))
  k = min(k, len(features) - 1)
  return suspicion.neighbours(features, nothing, k=k).oddity
