"""Whole epochs over pixels that live on the device, ready to run.

A loop of steps, as the package takes it (`gzjax.data.feed`); the same as one
program, a scan whose body gathers, turns, normalises and takes a step; an epoch
of gradient ascent; the Fisher diagonal of a whole set.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from benchmarks.ways import CLASSES, Problem, Way, planned_bytes, sgd
from gzjax.data import augment
from gzjax.data.feed import Feed, ordered_rows
from gzjax.fisher import diagonal
from gzjax.objectives import losses
from gzjax.training.loop import compiled
from gzjax.training.step import init_state, make_train_step
from gzjax.types import UnlearnBatch
from gzjax.unlearning import gradient_methods
from gzjax.unlearning.step import make_unlearn_step
from gzjax.unlearning.table import Task

# As the configs of galaxies have it.
VIEWS = augment.Augmentation(rotation=180.0, flip=True, zoom=1.1, shift=0.05)
_DRAWN_AT_ONCE = 64


class Galaxies(NamedTuple):
  """Random pixels and labels; all but the rows on the device."""

  image: jax.Array  # u8[N,S,S,3]
  label: jax.Array  # i32[N]
  rows: np.ndarray  # i32[M,B], of M batches
  valid: np.ndarray  # f32[M,B]


def make_galaxies(count: int, size: int, batch: int) -> Galaxies:
  """Pixels that are drawn on the device: none go over the bus."""

  @jax.jit
  def draw(key):
    # Some at a time: random bits take more memory than the pixels.
    image = lax.map(
      lambda key: jax.random.bits(key, (size, size, 3), jnp.uint8),
      jax.random.split(key, count),
      batch_size=min(count, _DRAWN_AT_ONCE),
    )
    return image, jax.random.randint(key, (count,), 0, CLASSES, jnp.int32)

  rows = ordered_rows(np.arange(count), batch)
  index, valid = map(np.stack, zip(*rows, strict=True))
  return Galaxies(*draw(jax.random.key(1)), index, valid)


def _start(problem):
  return init_state(problem.params, problem.batch_stats, sgd())


def _step(problem):
  return make_train_step(
    problem.setting.apply_fn(), losses.cross_entropy, sgd()
  )


def _make_feed(galaxies, mesh):
  # It copies what it is given, by way of the host.
  image, label = map(np.asarray, galaxies[:2])
  return Feed(image, {"label": label}, mesh, device_budget_bytes=np.inf)


def _batches(feed, galaxies):
  rows = list(zip(galaxies.rows, galaxies.valid, strict=True))
  return feed.batches(rows, key=jax.random.key(2), augmentation=VIEWS)


def training_loop(problem: Problem, galaxies: Galaxies, mesh: Any) -> Way:
  """An epoch as the package takes it; the result is its losses."""
  feed = _make_feed(galaxies, mesh)
  step, state = _step(problem), _start(problem)
  batch = next(_batches(feed, galaxies))
  ready, seconds = compiled(step, state, batch)

  def epoch(state):
    found = []
    for batch in _batches(feed, galaxies):
      state, outputs = ready(state, batch)
      found.append(outputs["loss"])
      jax.block_until_ready(found[-2:-1])  # as `training.loop.fit` does
    jax.block_until_ready(state)
    return found

  def run():
    return epoch(_start(problem))

  return Way(
    run, galaxies.rows.size, lambda: list(map(float, run())),
    compile_seconds=seconds,
  )  # fmt: skip


def training_scan(problem: Problem, galaxies: Galaxies) -> Way:
  """The same epoch as one program, which consumes the state."""
  step, key = _step(problem), jax.random.key(2)

  def epoch(state, image, label, rows, valid):
    def body(state, inputs):
      position, index, valid = inputs
      own = jax.random.fold_in(key, position)
      view = augment.normalise(augment.augment(own, image[index], VIEWS))
      batch = {"image": view, "label": label[index], "valid": valid}
      state, outputs = step(state, {**batch, "id": index})
      return state, outputs["loss"]

    return lax.scan(body, state, (jnp.arange(len(rows)), rows, valid))

  ready, seconds = compiled(
    jax.jit(epoch, donate_argnums=0), _start(problem), *galaxies
  )

  def run():
    return jax.block_until_ready(ready(_start(problem), *galaxies))[1]

  return Way(
    run, galaxies.rows.size, lambda: np.asarray(run()).tolist(),
    planned_bytes=planned_bytes(ready), compile_seconds=seconds,
  )  # fmt: skip


def ascent_loop(problem: Problem, galaxies: Galaxies, mesh: Any) -> Way:
  """An epoch of gradient ascent; the result is its first loss."""
  feed, steps = _make_feed(galaxies, mesh), len(galaxies.rows)
  method = gradient_methods.gradient_ascent(
    Task(jax.random.key(0), steps, len(galaxies.label), 0, ())
  )
  step = jax.jit(make_unlearn_step(problem.setting.apply_fn(), method))
  arrays = {"reference_params": problem.params}

  def start():
    return init_state(problem.params, problem.batch_stats, method.transform)

  def inputs():
    for batch in _batches(feed, galaxies):
      yield UnlearnBatch({}, batch), arrays

  ready, seconds = compiled(step, start(), next(inputs()))

  def epoch():
    state, found = start(), []
    for batch in inputs():
      state, outputs = ready(state, batch)
      found.append(outputs["forget_loss"])
      jax.block_until_ready(found[-2:-1])
    jax.block_until_ready(state)
    return found

  return Way(
    epoch, galaxies.rows.size, lambda: [float(epoch()[0])],
    compile_seconds=seconds,
  )  # fmt: skip


def first_view(problem: Problem, galaxies: Galaxies, mesh: Any) -> Problem:
  """The problem with the first batch of an epoch."""
  feed = _make_feed(galaxies, mesh)
  return problem._replace(batch=next(_batches(feed, galaxies)))


def _fisher_programs(problem, mesh):
  spec = diagonal.Spec()
  accumulate = diagonal.make_accumulate(problem.setting.apply_fn(), spec, mesh)
  zeros, total = diagonal.make_sums(spec, mesh)

  def add(sums, variables, image, label, index, valid):
    batch = {
      "image": augment.normalise(image[index]),
      "label": label[index],
      "valid": valid,
      "id": index,
    }
    return accumulate(sums, *variables, jax.random.key(0), batch)

  return add, zeros, total, (problem.params, problem.batch_stats)


def fisher_scan(problem: Problem, galaxies: Galaxies, mesh: Any) -> Way:
  """The exact Fisher diagonal of all galaxies as one program."""
  add, zeros, total, variables = _fisher_programs(problem, mesh)

  def whole(sums, variables, image, label, rows, valid):
    def body(sums, inputs):
      return add(sums, variables, image, label, *inputs), None

    return lax.scan(body, sums, (rows, valid))[0]

  ready, seconds = compiled(
    jax.jit(whole, donate_argnums=0), zeros(problem.params), variables,
    *galaxies,
  )  # fmt: skip

  def run():
    sums = total(ready(zeros(problem.params), variables, *galaxies))
    return jax.block_until_ready(sums)

  return Way(
    run, len(galaxies.label), lambda: run()[:2],
    planned_bytes=planned_bytes(ready), compile_seconds=seconds,
  )  # fmt: skip


def fisher_loop(problem: Problem, galaxies: Galaxies, mesh: Any) -> Way:
  """The same, a program for each batch."""
  add, zeros, total, variables = _fisher_programs(problem, mesh)
  one = partial(jax.jit, donate_argnums=0)(add)
  batches = list(zip(galaxies.rows, galaxies.valid, strict=True))
  ready, seconds = compiled(
    one, zeros(problem.params), variables, *galaxies[:2], *batches[0]
  )

  def run():
    sums = zeros(problem.params)
    for batch in batches:
      sums = ready(sums, variables, *galaxies[:2], *batch)
    return jax.block_until_ready(total(sums))

  return Way(
    run, len(galaxies.label), lambda: run()[:2],
    planned_bytes=planned_bytes(ready), compile_seconds=seconds,
  )  # fmt: skip
