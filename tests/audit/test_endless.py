"""What a large crowd would say, beside draws of crowds."""

import numpy as np
import pytest
from scipy import optimize

from gzjax.audit import endless, volunteers
from tests.audit.simulated_crowds import crowds


def test_the_favourite_is_the_largest_share_of_draws():
  rng = np.random.default_rng(0)
  alpha = np.array([[0.3, 2.0, 1.0], [5.0, 4.0, 0.1], [40.0, 42.0, 3.0]])
  draws = rng.gamma(alpha, size=(100_000, 3, 3)).argmax(axis=2)
  expected = (draws[..., None] == np.arange(3)).mean(axis=0)
  found = endless.favourite(alpha)
  np.testing.assert_allclose(found, expected, atol=0.01)
  np.testing.assert_allclose(found.sum(axis=1), 1)


def test_two_equal_answers_are_equally_favoured():
  np.testing.assert_allclose(endless.favourite(np.full((1, 4), 3.0)), 0.25)


def test_the_gradient_is_that_of_the_loss():
  counts, p, _ = crowds(0, 50)
  x = np.r_[0.3, 0.4, np.random.default_rng(1).normal(size=9)]
  log_p = np.log(p)
  error = optimize.check_grad(
    lambda x: endless._loss(x, counts, log_p)[0],
    lambda x: endless._loss(x, counts, log_p)[1],
    x,
  )
  assert error < 1e-5


def test_sums_of_probabilities_are_expected_numbers():
  wrong = expected = 0.0
  for seed in range(4):
    counts, p, truth = crowds(seed)
    found = endless.favourites(counts, p)
    given = counts.argmax(axis=1)
    wrong += np.sum(given != truth)
    expected += np.sum(1 - found[np.arange(len(given)), given])
    assert np.mean(found.argmax(axis=1) == truth) > np.mean(given == truth)
    # As it is not in the weights of the consensus.
    weighed = volunteers.consensus(counts, p).posterior
    assert np.sum(1 - weighed[np.arange(len(given)), given]) > 1.5 * wrong / (
      seed + 1
    )
  assert expected == pytest.approx(wrong, rel=0.15)


def test_many_votes_decide():
  counts, p, truth = crowds(0, votes=400)
  found = endless.favourites(counts, p)
  assert np.mean(found.argmax(axis=1) == counts.argmax(axis=1)) > 0.99
  assert np.mean(found.argmax(axis=1) == truth) > 0.97


def test_where_nobody_was_asked_the_network_says_what_it_can():
  counts, p, _ = crowds(0)
  counts[:5] = 0
  found = endless.favourites(counts, p)
  np.testing.assert_array_equal(found[:5].argmax(axis=1), p[:5].argmax(axis=1))


def test_votes_that_cannot_be_are_refused():
  with pytest.raises(ValueError, match="fractions of votes"):
    endless.favourites(np.array([[0.5, 1]]), np.array([[0.5, 0.5]]))
