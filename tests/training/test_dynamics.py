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


def test_what_was_said_is_remembered_as_by_a_loop(problem):
  rng = np.random.default_rng(1)
  found = Dynamics(problem, problem.columns.given)
  found.remember(0.7)
  kept = np.zeros((problem.size, 3))
  for epoch in range(3):
    outputs = []
    for row in ([3, 5, 9], [7, 8, 2 + epoch]):
      logits = rng.normal(size=(3, 3)).astype(np.float32)
      outputs.append({"id": np.array(row), "logits": logits})
      for i, x in zip(row, logits, strict=True):
        kept[i] = 0.7 * kept[i] + 0.3 * np.exp(x) / np.exp(x).sum()
    found.add(outputs)
  np.testing.assert_allclose(found.arrays["remembered"], kept, rtol=1e-5)


def test_a_loss_that_remembers_is_given_the_epochs_before(problem):
  recipe = RECIPE._replace(loss="early_learning", epochs=2)
  found = Dynamics(problem, problem.columns.given)
  before = []

  def validate(network):
    before.append(found.arrays["remembered"].copy())
    return {}

  train(problem, recipe=recipe, validate=validate, dynamics=found)
  fresh, first, second = before
  visited = found.arrays["visits"] > 0
  assert not fresh.any()
  np.testing.assert_allclose(
    first.sum(axis=1)[found.arrays["visits"] == 2], 0.3, rtol=1e-5
  )
  assert not np.array_equal(first, second)
  assert not second[~visited].any()
  plain = Dynamics(problem, problem.columns.given)
  usual = recipe._replace(loss="cross_entropy")
  train(problem, recipe=usual, dynamics=plain)
  # The first epoch's memory is that of the same network at first; then the
  # losses part.
  assert not np.allclose(
    plain.arrays["probability"], found.arrays["probability"], atol=1e-4
  )


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
