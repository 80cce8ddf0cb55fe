"""How soon networks learn their wrong labels again."""

import pytest

from gzjax.problem import Network
from gzjax.training import train
from gzjax.unlearning import METHODS, run
from gzjax.unlearning.relearn import Relearn
from tests import problems


@pytest.fixture(scope="module")
def problem():
  return problems.make()


@pytest.fixture(scope="module")
def original(problem):
  return train(problem, recipe=problems.RECIPE)


def test_the_original_is_quick_and_a_fresh_network_is_not(problem, original):
  relearn = Relearn(problem, original, epochs=3)
  epoch = -(-len(problem.wrong) // problem.batch_size)
  found = relearn.steps(original)
  assert found == {"relearn_steps": epoch, "relearned": True}
  found = relearn.steps(Network("fresh", *problem.fresh))
  assert found == {"relearn_steps": 3 * epoch, "relearned": False}


def test_a_network_of_another_kind_learns_nothing(problem, original):
  constant = run(problem, METHODS["constant"], original)
  assert Relearn(problem, original, epochs=1).steps(constant) == {}
