"""What can be said without looking, or by a glance at the centre."""

import jax.numpy as jnp
import numpy as np

from gzjax.data.pixels import Images
from gzjax.evaluation import metrics
from gzjax.morphology import trees
from gzjax.problem import Network, Problem

# The challenge's central pixel benchmark takes a square of 10 of 424 pixels.
CENTRE, CLUSTERS = 10, 6


def mean_vector(fractions: np.ndarray) -> np.ndarray:
  """The best constant prediction, f64[A]: the mean of fractions f[N,A].

  Of those that are not NaN; 0 where all are.
  """
  return np.nan_to_num(metrics.known_mean(fractions.astype(np.float64)))


def constant(problem: Problem, name: str) -> Network:
  """A network of a bias only: it says the same of every image.

  The commonest label of the training set and the mean of its vote fractions.
  """
  train, target = problem.sets.train, problem.target
  count = len(target.classes)
  commonest = np.bincount(problem.given[train]).argmax()
  # As logits: one is sure.
  classes = np.where(np.arange(count) == commonest, 0.0, -1e9)
  shares = trees.conditional(
    target.tree, mean_vector(problem.columns.given_fractions[train])
  )
  bias = np.concatenate([classes, shares]).astype(np.float32)

  def apply_fn(params, batch_stats, image, *, train, key=None):
    del train, key
    return jnp.tile(params["bias"], (len(image), 1)), batch_stats

  return Network(
    name,
    {"bias": bias},
    {},
    role="baseline",
    apply_fn=apply_fn,
    target=target._replace(
      outputs=len(bias),
      class_logits=lambda logits: logits[..., :count],
      shares=lambda logits: logits[..., count:],
      concentration=None,
      labels=None,
    ),
  )


def central_colour(image: Images, pixels: int = CENTRE) -> np.ndarray:
  """Mean colour of the central square of each image u8[N,S,S,3], f64[N,3].

  The square has an edge of so many pixels, at most S; of a memory map nothing
  else is read.
  """
  start = (image.shape[1] - pixels) // 2
  centre = np.s_[start : start + pixels]
  return image[:, centre, centre].mean(axis=(1, 2), dtype=np.float64)


def central_pixel(
  colour: np.ndarray,
  fractions: np.ndarray,
  train: np.ndarray,
  clusters: int = CLUSTERS,
  seed: int = 0,
) -> np.ndarray:
  """The challenge's central pixel benchmark, f64[N,A].

  The training galaxies, rows i[n], are clustered by the `central_colour` f[N,3]
  (k-means; fewer clusters if there are fewer colours); every galaxy gets the
  mean of the cumulative fractions f[N,A] of the cluster whose colour is
  nearest. Only the fractions of `train` are looked at.
  """
  from sklearn import cluster  # slow to import

  known = fractions[train]
  clusters = min(clusters, len(np.unique(colour[train], axis=0)))
  fit = cluster.KMeans(clusters, n_init=4, random_state=seed)
  member = fit.fit_predict(colour[train])
  means = [mean_vector(known[member == k]) for k in range(clusters)]
  return np.stack(means)[fit.predict(colour)]
