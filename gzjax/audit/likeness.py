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
  from sklearn.metrics import pairwise  # slow to import

  features = np.asarray(features, np.float64)
  (cosine,) = pairwise.cosine_similarity(features[[row]], features)
  cosine[row] = -np.inf
  index = np.argsort(-cosine, kind="stable")[: min(k, len(features) - 1)]
  return Alike(index, cosine[index])


def oddity(features: np.ndarray, k: int = 10) -> np.ndarray:
  """How unlike its k nearest each galaxy is, f64[N], 0 to 2.

  One less the mean cosine of the features f[N,F] with those of the k most alike
  (the outlier score of Ramaswamy et al. 2000 in its mean form, Angiulli &
  Pizzuti 2002, with the cosine for the distance).
  """
  from sklearn import neighbors  # slow to import

  search = neighbors.NearestNeighbors(
    n_neighbors=min(k, len(features) - 1), metric="cosine", algorithm="brute"
  )
  distance, _ = search.fit(features).kneighbors()
  return distance.mean(axis=1, dtype=np.float64)
