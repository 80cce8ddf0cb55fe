"""Training from a problem's fresh network, whole and in two parts."""

import jax
import numpy as np
import pytest

from gzjax import sharding
from gzjax.errors import SettingError
from gzjax.problem import probabilities
from gzjax.training import Recipe, train
from gzjax.training.dynamics import Dynamics
from gzjax.training.store import Memory
from tests import problems

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.01)


@pytest.fixture(scope="module")
def problem():
  return problems.make()


class KilledError(Exception):
  """The process that trains is no more."""


class Host(Memory):
  """Keeps states on the host and goes on from the last one."""

  def __init__(self, mesh, stop):
    super().__init__()
    self.mesh, self.stop, self.last = mesh, stop, None

  def resume(self, state, extra):
    if self.last is None:
      return super().resume(state, extra)
    number, kept, clock, arrays = self.last
    for name, x in arrays.items():
      extra[name][...] = x
    return sharding.replicate(self.mesh, kept), clock, number

  def save(self, number, state, clock, score, extra):
    super().save(number, state, clock, score, extra)
    arrays = {name: x.copy() for name, x in extra.items()}
    self.last = number, jax.device_get(state), clock, arrays
    if number == self.stop:
      raise KilledError


def test_a_killed_training_goes_on_as_if_it_had_not_been(problem):
  def run(store):
    found = Dynamics(problem, problem.columns.given)
    return train(problem, recipe=RECIPE, store=store, dynamics=found), found

  whole, seen = run(Memory())
  store = Host(problem.feed.mesh, stop=1)
  with pytest.raises(KilledError):
    run(store)
  parts, seen_too = run(store)
  for a, b in (
    (whole.params, parts.params),
    (whole.batch_stats, parts.batch_stats),
    (seen.arrays, seen_too.arrays),
  ):
    jax.tree.map(np.testing.assert_array_equal, a, b)
  epochs = [line["epoch"] for line in store.lines]
  assert epochs == [1, 2, 3]
  # An epoch is four full batches of the 67; who is left out changes.
  assert seen.arrays["visits"].sum() == 3 * 4 * 16
  assert seen.arrays["visits"].max() == 3


def test_the_best_epoch_stands_where_it_is_asked_for(problem):
  losses = iter([9.0, 1.0, 2.0, 3.0])  # the first before any step
  seen = []

  def validate(network):
    seen.append(jax.device_get(network.params))
    return {"loss": next(losses)}

  found = train(
    problem, recipe=RECIPE._replace(select="best"), validate=validate
  )
  jax.tree.map(np.testing.assert_array_equal, found.params, seen[1])


def test_learns_and_leaves_the_fresh_network_as_it_was(problem):
  before = jax.device_get(problem.fresh[0])
  found = train(problem, recipe=problems.RECIPE)
  assert (found.name, found.role) == ("original", "original")
  train_set = problem.sets.train
  said = probabilities(problem, found, train_set).argmax(axis=1)
  assert np.mean(said == problem.given[train_set]) > 0.9
  jax.tree.map(np.testing.assert_array_equal, problem.fresh[0], before)


def test_a_setting_that_would_do_nothing_is_refused(problem):
  recipe = RECIPE._replace(settings={"weight_deccay": 0.1})
  with pytest.raises(ValueError, match=r"weight_deccay is no .* weight_decay"):
    train(problem, recipe=recipe)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (
      {"optimizer": "sgd", "learning_rate": 1e30},
      "learning_rate is 1e+30: in ",
    ),
    ({"learning_rate": 1e38, "warmup_epochs": 2}, "original has become NaN or"),
  ],
)
def test_a_training_that_diverges_stops_before_it_is_kept(
  problem, changes, words
):
  store = Memory()
  recipe = RECIPE._replace(epochs=8, settings={}, **changes)
  with pytest.raises(SettingError, match="epoch") as stopped:
    train(problem, recipe=recipe, store=store)
  assert words in str(stopped.value)
  kept = store.networks(best=False)
  assert kept is None or all(
    np.isfinite(x).all() for x in jax.tree.leaves(kept)
  )
