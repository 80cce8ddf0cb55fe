"""BatchNorm statistics that are estimated anew, and what is said with them."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from gzjax.data import feed
from gzjax.evaluation import batch_stats, metrics, score
from gzjax.pipeline.checkpoint import FolderStore
from gzjax.problem import probabilities
from gzjax.training import train
from gzjax.unlearning import METHODS, run
from tests import problems


class Normed(nn.Module):
  @nn.compact
  def __call__(self, image, train):
    x = nn.Dense(32, name="stem")(image.reshape(len(image), -1))
    x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
    return nn.Dense(3, name="head")(nn.relu(x))


@pytest.fixture(scope="module")
def problem():
  return problems.make(Normed())


@pytest.fixture(scope="module")
def original(problem):
  return train(problem, recipe=problems.RECIPE._replace(epochs=8))


def _moved(network):
  """With other stored statistics, of the same kind."""
  moved = jax.tree.map(lambda x: 3 * x + 2, network.batch_stats)
  return network._replace(name="moved", batch_stats=moved)


def test_they_are_those_of_the_retain_set(problem, original):
  found = batch_stats.renewed(problem, _moved(original)).batch_stats["norm"]
  size, retain = problem.batch_size, problem.sets.retain
  rows = feed.training_rows(retain, size, problem.seed, epoch=0)
  stem = jax.device_get(original.params["stem"])
  seen = [
    np.asarray(batch["image"]).reshape(size, -1) @ stem["kernel"] + stem["bias"]
    for batch in problem.feed.batches(rows)
  ]
  wanted = np.mean([x.mean(axis=0) for x in seen], axis=0)
  np.testing.assert_allclose(found["mean"], wanted, rtol=1e-3, atol=1e-4)
  assert batch_stats.cost(problem) == pytest.approx(size * len(rows) / 3)
  assert size * len(rows) <= len(retain)


def test_a_network_without_any_stays_as_it_is():
  problem = problems.make()
  original = train(problem, recipe=problems.RECIPE._replace(epochs=1))
  assert batch_stats.renewed(problem, original) is original
  (row,) = score(problem, [original])
  assert row["renewed_forget_accuracy"] == row["forget_accuracy"]
  assert row["renewed_corrected_accuracy"] == row["corrected_accuracy"]


def test_the_scoreboard_has_what_is_said_with_them(problem, original):
  moved = _moved(original)
  *_, row = score(problem, [original, moved])
  wrong = problem.wrong
  for prefix, network in (
    ("", moved),
    ("renewed_", batch_stats.renewed(problem, moved)),
  ):
    said = probabilities(problem, network, wrong).argmax(axis=1)
    for name, label in (("forget", problem.given), ("corrected", problem.true)):
      share = np.mean(said == label[wrong])
      assert row[f"{prefix}{name}_accuracy"] == pytest.approx(share)
    test = problem.sets.test
    said = probabilities(problem, network, test).argmax(axis=1)
    hits = metrics.hit_weights(problem.true[test]) @ (
      said == problem.true[test]
    )
    found = row[f"{prefix}test_balanced_accuracy"]
    assert found == pytest.approx(hits)


def test_a_method_may_renew_them_at_its_end(problem, original, tmp_path):
  how = {"epochs": 2, "name": "mine"}
  live = run(problem, METHODS["finetune"], original, **how)
  how["batch_stats"] = "renewed"
  wanted = run(problem, METHODS["finetune"], original, **how)
  again = batch_stats.renewed(problem, live)
  jax.tree.map(np.testing.assert_array_equal, wanted.params, live.params)
  jax.tree.map(
    np.testing.assert_array_equal, wanted.batch_stats, again.batch_stats
  )
  more = wanted.cost.gradients - live.cost.gradients
  assert more == pytest.approx(batch_stats.cost(problem))
  report = wanted.report
  assert (
    report["with_renewed_batch_stats"]["forget_accuracy"]
    == (report["forget_accuracy"])
  )
  for _ in range(2):  # made, then read
    with FolderStore(tmp_path) as store:
      found = run(problem, METHODS["finetune"], original, store=store, **how)
    jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)
    jax.tree.map(
      np.testing.assert_array_equal, found.batch_stats, wanted.batch_stats
    )
    assert found.cost.gradients == wanted.cost.gradients
