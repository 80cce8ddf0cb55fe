"""Methods on arrays: every driver ends in a network and a report."""

import jax
import numpy as np
import optax
import pytest

from gzjax.evaluation import health
from gzjax.objectives import losses
from gzjax.training import train
from gzjax.types import Method
from gzjax.unlearning import (
  METHODS,
  Driver,
  Row,
  diagnosis,
  register,
  run,
  transforms,
)
from tests import problems


@pytest.fixture(scope="module")
def problem():
  return problems.make()


@pytest.fixture(scope="module")
def original(problem):
  return train(problem, recipe=problems.RECIPE)


@pytest.fixture(scope="module")
def goal(problem, original):
  return diagnosis.make_goal(problem, original)


def _same(a, b):
  return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize(
  ("name", "settings"),
  [
    ("scrub", {"learning_rate": 0.01}),
    ("ssd", {"threshold": 1.0}),
    ("fisher_forgetting", {"budget": 10.0, "cap": 10.0}),
    ("cuts", {"learning_rate": 1e-3}),
    ("msg", {"learning_rate": 0.01}),
  ],
)
def test_a_method_gives_a_network_and_a_report(
  name, settings, problem, original, goal
):
  before = jax.device_get(original.params)
  found = run(problem, METHODS[name], original, goal=goal, **settings)
  assert (found.name, found.role) == (name, "method")
  assert not _same(found.params, before)
  assert _same(original.params, before)
  report = found.report
  assert report["verdict"] in health.VERDICTS
  assert report["wall_seconds"] == found.cost.wall_seconds > 0
  assert report["moved_over_weights"] > 0
  if METHODS[name].strength:
    setting = METHODS[name].strength.setting
    search = report["search"]
    assert search["setting"] == setting
    safe = [x[setting] for x in search["trials"] if x["decision"] != "rewind"]
    assert search["found"] in safe or not safe
  else:
    assert "search" not in report


def test_damage_by_the_first_steps_is_taken_back(problem, original, goal):
  found = run(
    problem,
    METHODS["gradient_ascent"],
    original,
    goal=goal,
    learning_rate=3.0,
    radius=100.0,
    name="wild",
  )
  assert found.name == "wild"
  assert _same(found.params, original.params)
  assert found.report["moved_over_weights"] == 0


@pytest.mark.parametrize("name", ["finetune", "ssd", "constant", "retrain"])
def test_a_setting_that_a_method_does_not_have(name, problem, original, goal):
  with pytest.raises(TypeError, match="nonsense"):
    run(problem, METHODS[name], original, goal=goal, nonsense=1)


def test_a_retain_set_smaller_than_a_batch(original):
  rows = problems.make().sets.train
  problem = problems.make(forget=rows[:-10])
  with pytest.raises(ValueError, match="retain set has 10 galaxies"):
    run(problem, METHODS["finetune"], original)


def test_a_method_of_ones_own(monkeypatch, problem, original, goal):
  def mine(task, *, rate: float = 0.5):
    chain = optax.chain(transforms.add_forget_gradients(1.0), optax.sgd(rate))
    return Method(chain, None, losses.complement, ())

  monkeypatch.setattr(METHODS, "_rows", dict(METHODS))
  register("mine", Row(mine, {"rate": 0.0}, Driver(epochs=2)))
  found = run(problem, METHODS["mine"], original, goal=goal)
  assert found.name == "mine"
  loss = found.report["forget_loss"]
  assert loss["after"] > loss["before"]
  still = run(problem, METHODS["mine"], original, goal=goal, rate=0.0)
  assert _same(still.params, original.params)
