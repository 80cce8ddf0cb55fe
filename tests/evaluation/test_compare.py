"""Rows of the scoreboard against a few lines of NumPy and of Python."""

import math
import weakref

import jax
import numpy as np
import pytest

from gzjax import problem as problems_of
from gzjax.evaluation import attacks, compare, score
from gzjax.problem import Network, probabilities
from gzjax.training import train
from gzjax.types import Cost
from gzjax.unlearning import METHODS, run
from tests import problems


@pytest.fixture(scope="module")
def problem():
  return problems.make()


@pytest.fixture(scope="module")
def networks(problem):
  original = train(problem, recipe=problems.RECIPE)
  return [
    run(problem, METHODS["constant"], original),
    original,
    run(problem, METHODS["retrain"], original, recipe=problems.RECIPE),
    Network("fresh", *problem.fresh),
  ]


@pytest.fixture(scope="module")
def rows(problem, networks):
  return {row["method"]: row for row in score(problem, networks)}


def test_every_network_is_a_row(rows):
  assert list(rows) == ["constant", "original", "retrain", "fresh"]
  assert [row["role"] for row in rows.values()] == [
    "baseline",
    "original",
    "reference",
    "method",
  ]
  assert rows["original"]["forget_accuracy"] > 0.9
  assert rows["original"]["seed"] == 0
  assert rows["constant"]["verdict"] == "collapsed"
  # What cost no time is not efficient.
  assert "run_time_efficiency" not in rows["fresh"]
  assert rows["retrain"]["run_time_efficiency"] == 1


def _numbers(problem, network):
  """(test, retain and forget accuracy, attack), p of test and forget set."""
  p = probabilities(problem, network, np.arange(problem.size))
  said, given, true = p.argmax(axis=1), problem.given, problem.true
  test, wrong, right = problem.sets.test, problem.wrong, problem.right
  member = p[wrong, given[wrong]]
  other = p[problem.unseen.rows, problem.unseen.label]
  wins = [(a > b) + (a == b) / 2 for a in member for b in other]
  return (
    np.array(
      [
        np.mean(said[test] == true[test]),
        np.mean(said[right] == given[right]),
        np.mean(said[wrong] == given[wrong]),
        np.mean(wins),
      ]
    ),
    (p[test], p[wrong]),
  )


def _divergence(p, q):
  middle = (p + q) / 2
  found = [
    sum(a * math.log(a / m) for a, m in zip(x, y) if a) / 2
    for one in (p, q)
    for x, y in zip(one, middle)
  ]
  return 2 * np.mean(found)


@pytest.mark.parametrize("name", ["constant", "original", "retrain", "fresh"])
def test_distances_to_retraining(name, problem, networks, rows):
  by_name = {network.name: network for network in networks}
  numbers, said = _numbers(problem, by_name[name])
  wanted, retrained = _numbers(problem, by_name["retrain"])
  row = rows[name]
  columns = ("test", "retain", "forget")
  found = [row[f"{x}_accuracy"] for x in columns] + [row["attack_auc"]]
  np.testing.assert_allclose(found, numbers)
  gap = np.mean(np.abs(numbers - wanted))
  np.testing.assert_allclose(row["gap_to_retrain"], gap)
  js = np.mean([_divergence(p, q) for p, q in zip(said, retrained)])
  np.testing.assert_allclose(row["js_to_retrain"], js, atol=1e-12)


def test_a_network_that_says_nothing_has_no_numbers(problem, networks):
  lost = jax.tree.map(lambda x: x * np.nan, networks[1].params)
  broken = networks[1]._replace(name="broken", role="method", params=lost)
  *others, row = score(problem, [*networks[:3], broken])
  assert row["verdict"] == "non-finite"
  told = {k for k, x in row.items() if isinstance(x, float) and x == x}
  assert told == {*Cost._fields, "cost_vs_retrain", "run_time_efficiency"}
  assert all(x["test_accuracy"] > 0 for x in others)


def test_without_retraining_nothing_is_compared(problem, networks):
  (row,) = score(problem, networks[1:2])
  assert "gap_to_retrain" not in row


def test_without_the_original_there_is_no_scoreboard(problem, networks):
  with pytest.raises(ValueError, match="no original"):
    score(problem, networks[2:])


def test_shadow_attacks_are_a_loop_over_runs():
  rng = np.random.default_rng(0)
  runs, count = 4, 7
  wrong = rng.integers(0, 3, count)
  said = rng.dirichlet(np.ones(3), (2, runs, count))
  # Unlearned networks know more of their wrong labels than retrained ones.
  said[0] = (said[0] + 2 * np.eye(3)[wrong]) / 3
  found = attacks.shadow_attacks(*said, wrong)
  p = said[:, :, np.arange(count), wrong]
  logit = np.log(p) - np.log(1 - p)

  def density(x, shadows):
    mean = sum(shadows) / len(shadows)
    variance = sum((s - mean) ** 2 for s in shadows) / (len(shadows) - 1)
    variance = max(variance, 1e-2)
    return -((x - mean) ** 2) / variance / 2 - math.log(variance) / 2

  for i in range(runs):
    others = [k for k in range(runs) if k != i]
    right = []
    for kind in (0, 1):
      for n in range(count):
        unlearned, retrained = (
          density(logit[kind, i, n], [x[k, n] for k in others]) for x in logit
        )
        right.append((unlearned > retrained) == (kind == 0))
    np.testing.assert_allclose(found[i], np.mean(right))


def test_one_network_is_held_beside_the_two_it_is_compared_with(
  problem, networks, monkeypatch
):
  """However many there are: what the others said is let go."""
  held, most = [], []

  def ask(problem, network, rows, views=1):
    found = problems_of.ask(problem, network, rows, views)
    if len(rows) == problem.size:
      held.append(weakref.ref(found.probabilities))
      most.append(sum(x() is not None for x in held))
    return found

  monkeypatch.setattr(compare, "ask", ask)
  fresh = networks[-1]
  many = [*networks, *(fresh._replace(name=f"fresh_{i}") for i in range(4))]
  found = score(problem, many)
  assert len(held) == len(many)
  assert max(most) <= 4  # the two, one, and the one that takes its place
  assert [x["method"] for x in found] == [x.name for x in many]
  assert found[-1]["js_to_retrain"] == found[3]["js_to_retrain"]
