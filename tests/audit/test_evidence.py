"""Networks are asked for labels that they did not learn."""

import jax
import numpy as np
import pytest

from gzjax import problem as problems_
from gzjax.audit import evidence
from gzjax.errors import SettingError, UserError
from gzjax.objectives import targets
from gzjax.problem import Network
from gzjax.training import Recipe
from tests import problems

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.01)
HELD_OUT = np.arange(1, problems.COUNT, 3)


@pytest.fixture(scope="module")
def problem():
  return problems.make()


def _ask(problem, label, neighbours=4):
  return evidence.ask_fold(
    problem,
    HELD_OUT,
    recipe=RECIPE,
    entries={"label": label},
    name="fold",
    neighbours=neighbours,
  )


@pytest.fixture(scope="module")
def fold(problem):
  return _ask(problem, problem.given)


def test_folds_hold_out_each_label_once_and_spread_each_class():
  label = np.repeat([0, 1, 2], [40, 23, 7])
  fold = evidence.folds(label, 5, seed=3)
  for k in range(3):
    counts = np.bincount(fold[label == k], minlength=5)
    assert counts.max() - counts.min() <= 1
  np.testing.assert_array_equal(fold, evidence.folds(label, 5, seed=3))
  assert np.any(fold != evidence.folds(label, 5, seed=4))


def test_a_class_with_fewer_labels_than_folds_is_named():
  label = np.repeat([0, 1, 2], [40, 23, 7])
  evidence.check_folds(label, 7)
  words = "^folds is 8: class 'ring' has 7 galaxies, fewer than folds"
  with pytest.raises(SettingError, match=words):
    evidence.folds(label, 8, 0, ("smooth", "spiral", "ring"))
  with pytest.raises(SettingError, match="class 2 has 7"):
    evidence.folds(label, 8, 0)


def test_a_held_out_label_changes_nothing_that_is_said_of_it(problem, fold):
  poisoned = problem.given.copy()
  poisoned[HELD_OUT] = (poisoned[HELD_OUT] + 1) % 3
  found = _ask(problem, poisoned)
  np.testing.assert_array_equal(found.probabilities, fold.probabilities)
  np.testing.assert_array_equal(found.neighbours, fold.neighbours)
  np.testing.assert_array_equal(found.means, fold.means)
  learned = np.setdiff1d(np.arange(problem.size), HELD_OUT)
  np.testing.assert_array_equal(found.loss[learned], fold.loss[learned])
  # What is made of label and prediction does change.
  assert np.all(found.loss[HELD_OUT] != fold.loss[HELD_OUT])
  # And so does everything if a label changes that is learned.
  learned_label = problem.given.copy()
  learned_label[0] = (learned_label[0] + 1) % 3
  other = _ask(problem, learned_label)
  assert np.any(other.probabilities != fold.probabilities)


def test_what_a_fold_says_agrees_with_itself(problem, fold):
  np.testing.assert_array_equal(fold.rows, HELD_OUT)
  given = problem.given
  assert not np.isin(fold.neighbours, HELD_OUT).any()
  near = given[fold.neighbours] != given[HELD_OUT][:, None]
  np.testing.assert_allclose(fold.disagreement, near.mean(axis=1))
  assert fold.neighbours.shape == (len(HELD_OUT), 4)
  assert fold.concentration.shape == (len(HELD_OUT), 0)
  np.testing.assert_allclose(fold.shares, fold.probabilities, rtol=1e-6)
  # It has learned something that it was not told.
  right = fold.probabilities.argmax(axis=1) == problem.true[HELD_OUT]
  assert right.mean() > 0.6


def test_there_are_at_most_as_many_neighbours_as_galaxies(problem):
  found = _ask(problem, problem.given, neighbours=1000)
  assert found.neighbours.shape[1] == problem.size - len(HELD_OUT)


def test_a_training_that_went_astray_is_told(problem, monkeypatch):
  def astray(problem, network, rows, views=1):
    return ask(problem, network, rows)._replace(
      probabilities=np.full((len(rows), 3), np.nan)
    )

  ask = problems_.ask
  monkeypatch.setattr(problems_, "ask", astray)
  with pytest.raises(UserError, match="fold says no number"):
    _ask(problem, problem.given)


def _fake(rows, n, seed, law=False):
  rng = np.random.default_rng(seed)
  m = len(rows)
  return evidence.Fold(
    np.asarray(rows),
    rng.dirichlet(np.ones(3), m),
    rng.dirichlet(np.ones(3), m),
    rng.random((m, 3)) + 1 if law else np.zeros((m, 0)),
    rng.integers(n, size=(m, 2)),
    *rng.random((3, m)),
    rng.random(n),
    rng.normal(size=n),
    rng.dirichlet(np.ones(3), n),
  )


@pytest.mark.parametrize("law", [False, True])
def test_folds_together_are_as_in_a_loop(law):
  parts = [[4, 0], [1, 6, 3], [2, 5]]
  found = [_fake(rows, 7, seed, law) for seed, rows in enumerate(parts)]
  found[0].loss[1] = np.nan  # in no batch of the first network
  found[1].loss[5] = found[0].loss[5] = np.nan
  tree = targets.classes(3).tree
  together = evidence.of_folds(found, tree)
  for row in range(7):
    (number,) = [i for i, rows in enumerate(parts) if row in rows]
    own, at = found[number], parts[number].index(row)
    others = [fold for i, fold in enumerate(found) if i != number]
    assert together.fold[row] == number
    for name in (
      *("probabilities", "neighbours", "disagreement", "oddity", "influence"),
    ):
      np.testing.assert_array_equal(
        getattr(together, name)[row], getattr(own, name)[at]
      )
    np.testing.assert_array_equal(together.votes.shares[row], own.shares[at])
    if law:
      wanted = own.concentration[at]
      np.testing.assert_array_equal(together.votes.concentration[row], wanted)
    for name, of_fold in (
      ("loss", "loss"), ("margin", "margin"), ("probabilities", "means")
    ):  # fmt: skip
      np.testing.assert_array_equal(
        getattr(together.held_out, name)[row], getattr(own, of_fold)[row]
      )
      learned = [getattr(fold, of_fold)[row] for fold in others]
      known = [x for x in learned if not np.isnan(x).any()]
      wanted = np.mean(known, axis=0) if known else np.nan
      np.testing.assert_allclose(getattr(together.in_sample, name)[row], wanted)
  assert law == (together.votes.concentration is not None)
  assert np.isnan(together.in_sample.loss[5])


def _of_features(problem, network):
  """With the means over a training in which one galaxy was in no batch."""
  train = problem.sets.train
  said = np.tile([0.2, 0.3, 0.5], (len(train), 1))
  means = evidence.Means(
    np.arange(len(train), dtype=float), np.full(len(train), -2.0), said
  )
  for values in means:
    values[3] = np.nan
  return evidence.of_features(
    problem,
    network,
    entries=problem.columns.given,
    learned=train,
    means=means,
    count=3,
    neighbours=200,
  )


def test_new_heads_judge_what_the_network_did_not_learn(problem):
  found = _of_features(problem, Network("fresh", *problem.fresh))
  n, given, train = problem.size, problem.given, problem.sets.train
  assert found.probabilities.shape == (n, 3)
  np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
  assert found.votes is None
  assert found.neighbours.shape == (n, n - 1)
  others = np.append(np.setdiff1d(np.arange(n), train), train[3])
  said = found.probabilities[others]
  assert np.mean(said.argmax(axis=1) == problem.true[others]) > 0.7
  np.testing.assert_allclose(
    found.held_out.loss[others],
    -np.log(said[np.arange(len(others)), given[others]]),
  )
  # Of the others stand the means over the training.
  learned = np.delete(train, 3)
  np.testing.assert_allclose(found.probabilities[learned][:, 2], 0.5)
  for means in (found.held_out, found.in_sample):
    wanted = np.delete(np.arange(len(train)), 3)
    np.testing.assert_array_equal(means.loss[learned], wanted)
    np.testing.assert_array_equal(means.margin[learned], -2)
  for values in found.in_sample:
    assert np.isnan(values[others]).all() and np.isfinite(values[learned]).all()


def test_a_new_head_has_not_learned_the_label(problem):
  seen = problems_.features(
    problem, Network("fresh", *problem.fresh), np.arange(problem.size)
  )
  fold = evidence.folds(problem.given, 3, 0)
  before = evidence._refit(seen, problem.given, fold, 3)
  poisoned = np.where(fold == 1, (problem.given + 1) % 3, problem.given)
  after = evidence._refit(seen, poisoned, fold, 3)
  np.testing.assert_array_equal(before[fold == 1], after[fold == 1])
  assert np.all(before[fold != 1] != after[fold != 1])


def test_features_that_are_no_numbers_are_told(problem):
  params, batch_stats = problem.fresh
  broken = jax.tree.map(lambda x: x * np.nan, params)
  with pytest.raises(UserError, match="original says no number"):
    _of_features(problem, Network("original", broken, batch_stats))
