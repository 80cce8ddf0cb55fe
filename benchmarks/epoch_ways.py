"""Whole epochs over pixels that live on the device, ready to run.

As the package takes them (`gzjax.batches`), in chunks of steps as one program
or with a program for each step: a training, gradient ascent, and the Fisher
diagonal of a whole set.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.ways import CLASSES, Problem, Way, sgd
from gzjax.batches import Batches, go_through, join
from gzjax.compilation import Compilation
from gzjax.data import augment
from gzjax.data.feed import BatchRows, Feed, ordered_rows
from gzjax.fisher import diagonal
from gzjax.objectives import losses
from gzjax.training.step import init_state, make_train_step
from gzjax.types import UnlearnBatch
from gzjax.unlearning import gradient_methods
from gzjax.unlearning.step import make_unlearn_step
from gzjax.unlearning.table import Task

# As the configs of galaxies have it.
VIEWS = augment.Augmentation(rotation=180.0, flip=True, zoom=1.1, shift=0.05)


class Galaxies(NamedTuple):
  """Random pixels and labels on the devices, and the rows of an epoch."""

  feed: Feed
  rows: list[BatchRows]

  def batches(
    self, augmentation: augment.Augmentation = augment.NO_AUGMENTATION
  ) -> Batches:
    """Of the epoch."""
    return self.feed.batches(
      self.rows, key=jax.random.key(2), augmentation=augmentation
    )


def make_galaxies(count: int, size: int, batch: int, mesh: Any) -> Galaxies:
  """So many of S x S pixels."""
  rng = np.random.default_rng(1)
  image = np.frombuffer(rng.bytes(count * size**2 * 3), np.uint8)
  label = rng.integers(0, CLASSES, count).astype(np.int32)
  feed = Feed(
    image.reshape(count, size, size, 3),
    {"label": label},
    mesh,
    device_budget_bytes=np.inf,
  )
  return Galaxies(feed, ordered_rows(np.arange(count), batch))


def training(problem: Problem, galaxies: Galaxies, *, in_chunks: bool) -> Way:
  """An epoch of a training; the result is its losses."""
  step = make_train_step(
    problem.setting.apply_fn(), losses.cross_entropy, sgd()
  )

  def run():
    state = init_state(problem.params, problem.batch_stats, sgd())
    batches = galaxies.batches(VIEWS)
    found = go_through(step, state, batches, in_chunks=in_chunks)
    _, outputs = jax.block_until_ready(found)
    return [float(output["loss"]) for output in outputs]

  return _way(run, galaxies)


def ascent(problem: Problem, galaxies: Galaxies, *, in_chunks: bool) -> Way:
  """An epoch of gradient ascent; the result is its losses."""
  steps = len(galaxies.rows)
  method = gradient_methods.gradient_ascent(
    Task(jax.random.key(0), steps, galaxies.feed.size, 0, ())
  )
  step = make_unlearn_step(problem.setting.apply_fn(), method)

  def run():
    state = init_state(problem.params, problem.batch_stats, method.transform)
    batches = join(
      _to_forget,
      galaxies.batches(VIEWS),
      mesh=galaxies.feed.mesh,
      count=steps,
      shared={"reference_params": problem.params},
    )
    found = go_through(step, state, batches, in_chunks=in_chunks)
    _, outputs = jax.block_until_ready(found)
    return [float(output["forget_loss"]) for output in outputs]

  return _way(run, galaxies)


def _to_forget(extras, batch):
  return UnlearnBatch({}, batch), extras


def first_view(problem: Problem, galaxies: Galaxies) -> Problem:
  """The problem with the first batch of an epoch."""
  return problem._replace(batch=next(iter(galaxies.batches(VIEWS))))


def fisher(problem: Problem, galaxies: Galaxies, *, in_chunks: bool) -> Way:
  """The exact Fisher diagonal of all galaxies."""
  spec, mesh = diagonal.Spec(), galaxies.feed.mesh
  step = diagonal.make_accumulate(problem.setting.apply_fn(), spec, mesh)
  zeros, total = diagonal.make_sums(spec, mesh)
  fixed = problem.params, problem.batch_stats, jax.random.key(0)

  def run():
    sums, _ = go_through(
      step,
      zeros(problem.params),
      galaxies.batches(),
      *fixed,
      in_chunks=in_chunks,
    )
    return jax.block_until_ready(total(sums))[:2]

  return _way(run, galaxies)


def _way(run: Callable[[], Any], galaxies: Galaxies) -> Way:
  with Compilation() as compilation:
    run()
  count = sum(int(valid.sum()) for _, valid in galaxies.rows)
  return Way(run, count, run, compile_seconds=compilation.seconds)
