"""What networks say, read from a file one by one."""

import tempfile

import numpy as np
import pytest

from gzjax.evaluation import baselines
from gzjax.pipeline.said import Said
from gzjax.problem import Network, ask
from tests import problems


@pytest.fixture(scope="module")
def problem():
  return problems.make()


def test_it_is_read_as_it_was_said(problem):
  fresh = Network("fresh", *problem.fresh)
  # Of another kind: it has other logits, which mean something else.
  constant = baselines.constant(problem, "constant")
  with tempfile.TemporaryFile() as file:
    said = Said(problem, ["constant", "unasked", "fresh"], file, views=1)
    assert not said
    for network in (fresh, constant, fresh):
      said.ask(network)
    size = file.seek(0, 2)
    assert said.ask(fresh).probabilities.shape[0] == problem.size
    assert file.seek(0, 2) == size  # nobody is asked twice
    assert list(said) == ["constant", "fresh"]
    for network in (fresh, constant):
      wanted = ask(problem, network, np.arange(problem.size))
      found = said[network.name]
      np.testing.assert_array_equal(found.probabilities, wanted.probabilities)
      np.testing.assert_array_equal(found.votes.shares, wanted.votes.shares)
    with pytest.raises(KeyError):
      said["unasked"]
