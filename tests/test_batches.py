"""A chunk of steps as one program, against the same steps one by one."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax import batches as passes
from gzjax import fisher, sharding
from gzjax.batches import Batches, go_through, join, peeked
from gzjax.compilation import Compilation
from gzjax.data import feed
from gzjax.data.augment import Augmentation
from gzjax.models import make_predict_step, predict
from gzjax.objectives import losses
from gzjax.training.step import (
  init_state,
  make_train_step,
  mean_gradient,
  renew_batch_stats,
)
from gzjax.unlearning import plan
from gzjax.unlearning.methods import METHODS
from gzjax.unlearning.step import make_unlearn_step
from gzjax.unlearning.table import Task
from tests import networks

N, BATCH = 56, 16
RNG = np.random.default_rng(5)
IMAGE = RNG.integers(0, 256, (N, networks.SIZE, networks.SIZE, 3), np.uint8)
LABEL = RNG.integers(0, networks.CLASSES, N).astype(np.int32)
VIEWS = Augmentation(rotation=180.0, flip=True, zoom=1.1, shift=0.05)


@pytest.fixture(params=["one device", "all devices"], scope="module")
def some_mesh(request, mesh):
  return mesh if request.param == "all devices" else one_device()


def one_device():
  return sharding.make_mesh(jax.devices()[:1])


def galaxies(mesh, budget=0.0, seed=0, **options):
  source = feed.Feed(IMAGE, {"label": LABEL}, mesh, device_budget_bytes=budget)
  order = np.random.default_rng(seed).permutation(N)
  rows = feed.ordered_rows(order, BATCH)
  return source.batches(
    rows, key=jax.random.key(3), augmentation=VIEWS, **options
  )


def start(mesh, tx):
  _, params, stats = networks.tiny()
  return sharding.replicate(mesh, init_state(params, stats, tx))


def adam():
  return optax.with_extra_args_support(optax.adam(1e-3))


def training(mesh, budget=0.0):
  step = make_train_step(networks.tiny()[0], losses.cross_entropy, adam())
  return step, start(mesh, adam()), galaxies(mesh, budget)


def unlearning(name):
  def make(mesh, budget=0.0):
    task = Task(jax.random.key(0), 4, 10, N, ())
    method = METHODS[name].build(task, **METHODS.settings(name))
    apply_fn, params, stats = networks.tiny()
    extras = {"reference_params": params, "reference_batch_stats": stats}
    forget = galaxies(mesh, budget)
    streams = [galaxies(mesh, budget, 1)] if method.retain_objective else []

    combine = plan._Combine(bool(streams), True)
    both = join(
      combine, *streams, forget, mesh=mesh, count=len(forget), shared=extras
    )
    return (
      make_unlearn_step(apply_fn, method),
      start(mesh, method.transform),
      both,
    )

  return make


CASES = {
  "train": training,
  "gradient_ascent": unlearning("gradient_ascent"),
  "scrub": unlearning("scrub"),
}


@pytest.fixture
def in_chunks(monkeypatch):
  """As on an accelerator."""
  monkeypatch.setattr(passes, "_pays", lambda mesh: True)


def close(got, expected):
  # XLA compiles a step in a loop in another order than alone.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(
      x, y, rtol=1e-3, atol=1e-4 * max(1e-3, np.abs(y).max())
    ),
    jax.device_get(got),
    jax.device_get(expected),
  )


def one_by_one(step, state, batches):
  outputs = []
  for batch in batches:
    state, output = step(state, batch)
    outputs.append(output)
  return state, outputs


@pytest.mark.parametrize("budget", [0, 1e9], ids=["streamed", "on the device"])
@pytest.mark.parametrize("case", CASES)
def test_a_chunk_is_its_steps_one_by_one(case, budget, some_mesh, in_chunks):
  step, state, batches = CASES[case](some_mesh, budget)
  expected = one_by_one(step, sharding.copied(state), batches)
  told = []
  found = go_through(step, state, batches, advance=told.append)
  close(found, expected)
  assert sum(told) == len(batches) == 4


@pytest.mark.parametrize("case", CASES)
def test_on_cpus_steps_are_those_of_a_loop_bit_for_bit(case, some_mesh):
  """The default there."""
  step, state, batches = CASES[case](some_mesh)
  expected = one_by_one(step, sharding.copied(state), batches)
  found = go_through(step, state, batches)
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get(found),
    jax.device_get(expected),
  )


def test_chunks_of_any_length_are_one_program(monkeypatch, in_chunks, mesh):
  """And the same numbers, bit for bit: a killed run goes on exactly."""
  step, state, batches = training(mesh)
  found = []
  with Compilation() as compilation:
    for seconds in (0, 1e9):  # few steps in a chunk, then as many as there are
      monkeypatch.setattr(passes, "_SECONDS", seconds)
      told = []
      _, batches = training(mesh)[1:]
      end, outputs = go_through(
        step, sharding.copied(state), batches, advance=told.append
      )
      found.append(jax.device_get((end, outputs)))
      assert sum(told) == 4
      assert max(told) == (1 if not seconds else 2)
    first, _ = go_through(step, sharding.copied(state), batches[:1])
    then, _ = go_through(step, first, batches[1:])
  jax.tree.map(np.testing.assert_array_equal, *found)
  expected, _ = found[0]
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(then), expected)
  assert compilation.programs.count("jit(run)") == 1


def test_another_epoch_is_the_same_program(in_chunks, mesh):
  """Of an unlearning method, whose batches are joined anew in each."""
  step, state, _ = CASES["scrub"](mesh)
  with Compilation() as compilation:
    for _ in range(2):
      _, _, batches = CASES["scrub"](mesh)
      state, _ = go_through(step, state, batches)
  assert compilation.programs.count("jit(run)") == 1


LOOPS = {
  "predict": lambda net, state, batches: predict(
    make_predict_step(net), state, batches
  ),
  "mean_gradient": mean_gradient,
  "renew_batch_stats": renew_batch_stats,
}


@pytest.mark.parametrize("name", LOOPS)
def test_sums_in_chunks_are_those_of_batches(name, some_mesh, in_chunks):
  apply_fn, _, _ = networks.tiny()
  state, batches = start(some_mesh, adam()), galaxies(some_mesh)
  if name == "renew_batch_stats":
    batches = batches[:3]  # full ones
  got, expected = (
    LOOPS[name](apply_fn, state, x) for x in (batches, list(batches))
  )
  close(got, expected)


def test_a_fisher_in_chunks_is_that_of_batches(some_mesh, in_chunks):
  apply_fn, params, batch_stats = networks.tiny()
  variables = {"params": params, "batch_stats": batch_stats}
  batches = galaxies(some_mesh)
  got, expected = (
    fisher.fisher_diagonal(apply_fn, variables, x, mesh=some_mesh)
    for x in (batches, list(batches))
  )
  close(got, expected)


def test_no_chunk_runs_far_ahead(monkeypatch, in_chunks, mesh):
  """At most two are under way: the second is made while the first runs."""
  events = []
  fetch = sharding.fetch
  monkeypatch.setattr(
    sharding, "fetch", lambda x: events.append("read") or fetch(x)
  )
  run = jax.jit(lambda carry, fixed, shared, own, count: (carry, (), count))

  def watched(*args):
    events.append("start")
    return run(*args)

  monkeypatch.setattr(passes, "_chunk_of", lambda step, make: watched)
  monkeypatch.setattr(passes, "_SECONDS", 0)
  go_through(None, (), galaxies(mesh))
  assert events == ["start", *["start", "read"] * 3, "read"]


def test_a_chunk_takes_as_long_as_a_person_waits(monkeypatch, in_chunks):
  """Few steps where they are slow, many where they are fast."""
  clock = iter([0.0, 1.0, 1.1, 5.0])
  monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
  mesh = one_device()
  many = Batches(mesh, 100, lambda shared, own: own, (), np.int32)
  chunks = passes._Chunks(many)
  counts = []
  for _ in range(3):
    _, count = chunks.take()
    counts.append(int(count))
    chunks.adapt(count)
  counts.append(int(chunks.take()[1]))
  # A second for one step; .1 s for one, so 5 would fit, 4 times as many are
  # tried; 3.9 s for 4.
  assert counts == [1, 1, 4, 1]
  assert chunks.left == 93


def test_errors_of_the_host_reach_the_caller(in_chunks, mesh):
  def own(position):
    if position:
      raise OSError("the disk is gone")
    return np.zeros(BATCH, np.float32)

  bad = Batches(mesh, 3, lambda shared, own: own, (), own)
  with pytest.raises(OSError, match="the disk is gone"):
    go_through(jax.jit(lambda carry, batch: (carry, batch)), (), bad)


def _sum_of_ids(shared, one, other):
  return shared + one["id"] + other["id"]


def test_some_of_many_batches(mesh):
  batches = galaxies(mesh)
  every = [np.asarray(batch["id"]) for batch in batches]
  some = [np.asarray(batch["id"]) for batch in batches[1:3]]
  np.testing.assert_array_equal(some, every[1:3])
  both = join(_sum_of_ids, batches, batches, mesh=mesh, count=4, shared=5)
  some = [np.asarray(batch) for batch in both[1:3]]
  np.testing.assert_array_equal(some, [2 * x + 5 for x in every[1:3]])
  first, whole = peeked(iter(every))
  np.testing.assert_array_equal(first, every[:1])
  np.testing.assert_array_equal(list(whole), every)


@pytest.mark.parametrize("chunks", [True, False])
def test_joined_streams_without_batches(chunks, mesh):
  """Of a method that looks at no galaxy: its steps are still counted."""
  nothing = join(lambda shared: shared, mesh=mesh, count=3, shared=np.ones(2))
  step = jax.jit(lambda carry, batch: (carry + batch.sum(), carry))
  carry, outputs = go_through(step, jnp.zeros(()), nothing, in_chunks=chunks)
  assert float(carry) == 6
  np.testing.assert_array_equal(outputs, [0, 2, 4])


def test_nothing_to_go_through(in_chunks, mesh):
  carry, outputs = go_through(None, 5, galaxies(mesh)[:0])
  assert (carry, outputs) == (5, [])
