"""What was said of galaxies while a network was trained, against loops."""

import jax
import numpy as np
import pytest

from gzjax.problem import predict
from gzjax.training import Recipe, train
from gzjax.training.dynamics import Dynamics
from tests import problems

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.01)


@pytest.fixture(scope="module")
def problem():
  return problems.make()


def _margin(logits, label):
  """Pleiss et al. (2020), equation 1."""
  others = [z for k, z in enumerate(logits) if k != label]
  return logits[label] - max(others)


def test_the_margin_is_that_of_a_loop(problem):
  rng = np.random.default_rng(0)
  found = Dynamics(problem, problem.columns.given)
  seen = {}
  for row in ([3, 5, 3], [5, 7, 8]):
    logits = rng.normal(size=(3, 3)).astype(np.float32)
    found.add([{"id": np.array(row), "logits": logits}])
    for i, x in zip(row, logits, strict=True):
      seen.setdefault(i, []).append(_margin(x, problem.given[i]))
  rows = np.array(sorted(seen))
  wanted = [np.mean(seen[i]) for i in rows]
  means = found.means(rows)
  np.testing.assert_allclose(means["margin"], wanted, rtol=1e-5, atol=1e-6)


def test_what_was_never_seen_has_no_mean(problem):
  found = Dynamics(problem, problem.columns.given)
  found.add([{"id": np.array([4]), "logits": np.zeros((1, 3), np.float32)}])
  for name, values in found.means(np.array([4, 6])).items():
    assert np.isnan(values).tolist() == [False, True], name


def test_held_out_galaxies_are_asked_after_each_epoch(problem):
  given = problem.columns.given
  held_out = np.array([50, 2, 71])
  rows = np.setdiff1d(np.arange(problem.size), held_out)
  found = Dynamics(problem, given)
  ask = found.after_epochs(held_out)
  said = []

  def validate(network):
    said.append(predict(problem, network, held_out))
    return ask(network)

  train(problem, rows, recipe=RECIPE, validate=validate, dynamics=found)
  assert found.arrays["visits"][held_out].tolist() == [3, 3, 3]
  assert found.arrays["visits"][rows].max() == 3
  label = given["label"][held_out]
  p = np.asarray(jax.nn.softmax(np.stack(said[1:])))  # without the fresh one
  means = found.means(held_out)
  for i, k in enumerate(label):
    loss = -np.log(p[:, i, k]).mean()
    np.testing.assert_allclose(means["mean_loss"][i], loss, rtol=1e-4)
    margin = np.mean([_margin(np.log(x), k) for x in p[:, i]])
    np.testing.assert_allclose(means["margin"][i], margin, rtol=1e-3)
