"""Profiles of a training, a Fisher and methods on a small problem."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gzjax import fisher
from gzjax.data import feed
from gzjax.models import layers
from gzjax.problem import Problem
from gzjax.profiling import measure, operations, programs, traces
from gzjax.profiling.ceilings import Ceilings
from gzjax.training import Recipe
from gzjax.unlearning import METHODS

BATCH, SIZE, CHANNELS, CLASSES = 8, 8, 4, 3


class Net(nn.Module):
  """A convolution, BatchNorm, a pooling and a head."""

  @nn.compact
  def __call__(self, image, train):
    x = layers.conv(
      CHANNELS, 3, form="native", dtype=jnp.float32, name="stem_conv"
    )(image)
    x = layers.norm(train, epsilon=1e-5, dtype=jnp.float32)(name="norm")(x)
    return nn.Dense(CLASSES, name="head")(layers.mean_pool(nn.relu(x)))


@pytest.fixture(scope="module")
def problem():
  rng = np.random.default_rng(0)
  true = rng.integers(0, CLASSES, 120)
  return Problem.from_arrays(
    Net(),
    rng.integers(0, 255, (120, SIZE, SIZE, 3), np.uint8),
    np.where(rng.random(120) < 0.3, (true + 1) % CLASSES, true),
    true_label=true,
    batch_size=BATCH,
  )


def _profile(problem, what, folder, steps=3):
  given = problem.columns.given
  if what == "train":
    program = programs.of_training(problem, Recipe(batch_size=BATCH), given)
  elif what == "resist":
    recipe = Recipe(batch_size=BATCH, loss="early_learning")
    program = programs.of_training(problem, recipe, given)
  elif what == "fisher":
    program = programs.of_fisher(problem, fisher.Spec())
  else:
    program = programs.of_method(problem, METHODS[what])
  return measure.profile(program, folder, steps)


def _forward(examples):
  """FLOPs of the convolution and of the head, by hand: 2 a multiplication."""
  pairs = (3 * SIZE - 2) ** 2  # the border sees fewer pixels
  return (
    2 * examples * pairs * 3 * CHANNELS,
    2 * examples * CHANNELS * CLASSES,
  )


def test_a_training_step(problem, tmp_path):
  before = jax.tree.map(np.array, problem.fresh)
  found = _profile(problem, "train", tmp_path / "trace")
  assert set(found.seconds) == set(operations.KINDS)
  assert sum(found.shares.values()) == pytest.approx(1)
  for kind in ("forward", "weight_gradient", "optimizer", "feed", "host"):
    assert found.shares[kind] > 0, kind
  assert found.shares["sums"] == 0
  assert found.shares["other"] < 0.05
  # The image has no gradient.
  convolution, head = _forward(BATCH)
  assert found.product_flops == 2 * convolution + 3 * head
  assert found.examples == BATCH
  assert 0 <= found.mixed_seconds < sum(found.seconds.values())
  assert found.memory.peak >= found.memory.arguments > 0
  assert min(found.bytes, found.compile_seconds, found.step_seconds) > 0
  assert list((tmp_path / "trace").rglob("*.trace.json.gz"))
  table = pd.read_csv(tmp_path / "trace" / "operations.csv")
  assert table["ms"].is_monotonic_decreasing
  ours = table[table["program"] == "jit_step"]
  assert ours["runs"].max() == problem.feed.mesh.size  # on each device once
  whole = sum(found.seconds.values()) * 1e3
  assert 0 < table["ms"].sum() < whole
  text = (tmp_path / "trace" / "program.txt").read_text()
  assert set(ours["operation"]) <= set(operations.operations(text))
  jax.tree.map(np.testing.assert_array_equal, before, problem.fresh)


def test_a_record_is_json_beside_its_ceilings(problem, tmp_path):
  found = _profile(problem, "train", tmp_path)
  record = json.loads(json.dumps(found.record(Ceilings(1e9, 2e9, "float32"))))
  assert record["of_matrix_product"] == pytest.approx(
    found.product_flops / found.step_seconds / 1e9
  )
  assert record["of_memory"] == pytest.approx(
    found.bytes / found.step_seconds / 2e9
  )
  assert record["memory"]["peak"] == found.memory.peak
  assert sum(record["shares"].values()) == pytest.approx(1)


def test_a_fisher(problem, tmp_path):
  found = _profile(problem, "fisher", tmp_path)
  assert sum(found.shares.values()) == pytest.approx(1)
  for kind in ("forward", "weight_gradient", "sums"):
    assert found.shares[kind] > 0, kind
  assert found.shares["optimizer"] == 0


def test_pixels_that_the_host_gathers_are_the_feeds(problem, tmp_path):
  away = feed.Feed(
    np.zeros((120, SIZE, SIZE, 3), np.uint8),
    problem.columns.given,
    problem.feed.mesh,
    device_budget_bytes=0,
  )
  _profile(problem._replace(feed=away), "train", tmp_path)
  names = [event.name for event in traces.read(tmp_path)]
  assert names.count(feed.GATHER) >= 3


@pytest.mark.parametrize(
  ("name", "examples"),
  [("finetune", BATCH), ("scrub", 2 * BATCH), ("ssd", 0), ("resist", BATCH)],
)
def test_methods_and_losses(problem, tmp_path, name, examples):
  found = _profile(problem, name, tmp_path, steps=2)
  assert found.examples == examples
  assert sum(found.shares.values()) == pytest.approx(1)
  # An edit alone has no network in it.
  assert (found.product_flops > 0) == (examples > 0)
  assert found.shares["optimizer"] > 0


@pytest.mark.parametrize("name", [x for x, row in METHODS.items() if row.make])
def test_what_takes_no_steps_is_refused(problem, name):
  with pytest.raises(ValueError, match="no chain of steps"):
    programs.of_method(problem, METHODS[name])
