"""What features still know: against scikit-learn, and by construction."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from sklearn import linear_model

from gzjax import problem as problems
from gzjax.data import feed
from gzjax.evaluation import probe
from gzjax.problem import Network
from gzjax.training import train
from tests import problems as small


@pytest.fixture(scope="module")
def problem():
  return small.make()


@pytest.fixture(scope="module")
def original(problem):
  return train(problem, recipe=small.RECIPE)


def test_it_is_a_head_that_never_saw_a_wrong_label(problem, original):
  right, wrong = problem.right, problem.wrong
  seen, asked = (
    problems.features(problem, original, rows).astype(float)
    for rows in (right, wrong)
  )
  mean, deviation = seen.mean(axis=0), seen.std(axis=0)
  deviation[deviation == 0] = 1  # the head sees nothing there
  head = linear_model.LogisticRegression(C=0.1, max_iter=2000)
  head.fit((seen - mean) / deviation, problem.given[right])
  said = head.predict((asked - mean) / deviation)
  wanted = np.mean(said == problem.given[wrong])
  assert probe.forget_accuracy(problem, original) == pytest.approx(wanted)


def test_the_head_of_the_network_does_not_matter(problem, original):
  before = probe.forget_accuracy(problem, original)
  fresh = {**original.params, "head": problem.fresh[0]["head"]}
  headless = original._replace(params=fresh)
  assert probe.forget_accuracy(problem, headless) == before


def test_features_that_know_the_wrong_labels_tell(problem):
  """A network whose features are the given labels themselves."""
  given = jax.nn.one_hot(problem.given, 3)

  class Memory(nn.Module):
    @nn.compact
    def __call__(self, image):
      known = self.param("known", lambda key: given)
      flat = image.reshape(len(image), 1, -1)
      galaxies = jax.lax.stop_gradient(self.param("images", lambda key: images))
      near = ((flat - galaxies[None]) ** 2).sum(axis=2).argmin(axis=1)
      return nn.Dense(3, name="head")(known[near])

  every = np.arange(problem.size)
  (batch,) = problem.feed.batches(feed.ordered_rows(every, problem.size))
  images = np.asarray(batch["image"]).reshape(problem.size, -1)
  module = Memory()
  params = module.init(jax.random.key(0), batch["image"][:2])["params"]

  def apply_fn(params, batch_stats, image, *, train, key=None):
    del train, key
    return module.apply({"params": params}, image), batch_stats

  memory = Network("memory", params, {}, apply_fn=apply_fn)
  assert probe.forget_accuracy(problem, memory) == 1


def test_without_features_there_is_no_number(problem, original):
  constant = Network(
    "constant",
    {"bias": np.zeros(3, np.float32)},
    {},
    apply_fn=lambda params, stats, image, *, train, key=None: (
      jax.numpy.tile(params["bias"], (len(image), 1)),
      stats,
    ),
  )
  assert np.isnan(probe.forget_accuracy(problem, constant))
  lost = jax.tree.map(lambda x: x * np.nan, original.params)
  broken = original._replace(params=lost)
  assert np.isnan(probe.forget_accuracy(problem, broken))
