"""The one loop of training and unlearning, and what it costs."""

from collections.abc import Callable, Iterable
import time
from typing import Any

import jax

from gzjax.batches import Step, go_through, lowered
from gzjax.progress import counting
from gzjax.types import Cost, PyTree, TrainState


def timed(function: Callable, *args: Any) -> tuple[Any, float]:
  """`function(*args)`, and the seconds that it took the devices."""
  start = time.perf_counter()
  found = jax.block_until_ready(function(*args))
  return found, time.perf_counter() - start


def compiled(step: Any, *args: Any) -> tuple[Any, float]:
  """`step` compiled for `args`, and the seconds that it took."""
  return timed(lambda: step.lower(*args).compile())


def fit(
  state: TrainState,
  step: Step,
  batches: Callable[[int], Iterable[Any]],
  *,
  steps: int,
  epochs: range,
  title: str,
  after_epoch: Callable[[int, TrainState, list[PyTree], Cost], bool],
  cost: Cost,
  reading: float = 0.0,
) -> tuple[TrainState, Cost]:
  """Runs `step` over epochs: the one loop of training and unlearning.

  Args:
    state: donated to the first step.
    step: see `Step`. Its outputs are a dictionary, whose `gradients` are added
      to the cost.
    batches: epoch -> its batches, a pure function of the epoch, so that a
      resumed run sees what an unbroken one would have seen.
    steps: batches in one epoch.
    epochs: the epochs still to do.
    title: for the progress bar.
    after_epoch: called with the epoch, the state, the other outputs of its
      steps (on the host) and the cost; it evaluates and saves, and says whether
      to go on. Its own time is counted, too.
    cost: what earlier, interrupted runs spent.
    reading: gradients that `after_epoch` is worth.

  Returns:
    The last state and the cost.
  """
  if not epochs:
    return state, cost
  first = batches(epochs.start)
  program, seconds = timed(lambda: lowered(step, state, first).compile())
  start = time.perf_counter() - cost.wall_seconds
  cost = cost.plus(Cost(compile_seconds=seconds))
  for epoch in epochs:
    with counting(steps, f"{title} epoch {epoch + 1}/{epochs.stop}") as advance:
      state, outputs = go_through(
        step, state, batches(epoch), advance=advance, program=program
      )
    work = reading + sum(float(output.pop("gradients")) for output in outputs)
    cost = cost._replace(
      wall_seconds=time.perf_counter() - start, gradients=cost.gradients + work
    )
    go_on = after_epoch(epoch, state, outputs, cost)
    cost = cost._replace(wall_seconds=time.perf_counter() - start)
    if not go_on:
      break
  return state, cost
