"""The one loop of training and unlearning, and its clock."""

from collections.abc import Callable, Iterable
import time
from typing import Any, NamedTuple

import jax

from gzjax import sharding
from gzjax.progress import progress
from gzjax.training.step import Step
from gzjax.types import PyTree, TrainState


class Clock(NamedTuple):
  """Seconds spent, device-synchronised; compilation is kept apart."""

  wall: float = 0.0
  compile: float = 0.0

  def seconds(self) -> dict[str, float]:
    """As the scoreboard names them."""
    return {"wall_seconds": self.wall, "compile_seconds": self.compile}


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
  after_epoch: Callable[[int, TrainState, list[PyTree], Clock], bool],
  clock: Clock,
) -> tuple[TrainState, Clock]:
  """Runs `step` over epochs: the one loop of training and unlearning.

  Args:
    state: donated to the first step.
    step: see `Step`; jitted.
    batches: epoch -> its batches, a pure function of the epoch, so that a
      resumed run sees what an unbroken one would have seen.
    steps: batches in one epoch.
    epochs: the epochs still to do.
    title: for the progress bar.
    after_epoch: called with the epoch, the state, the outputs of its steps (on
      the host) and the clock; it evaluates and saves, and says whether to go
      on. Its own time is counted, too.
    clock: what earlier, interrupted runs spent.

  Returns:
    The last state and the clock.
  """
  if not epochs:
    return state, clock
  run, seconds = compiled(step, state, next(iter(batches(epochs.start))))
  start = time.perf_counter() - clock.wall
  clock = clock._replace(compile=clock.compile + seconds)
  for epoch in epochs:
    outputs = []
    name = f"{title} epoch {epoch + 1}/{epochs.stop}"
    for batch in progress(batches(epoch), steps, name):
      state, output = run(state, batch)
      outputs.append(output)
      # Let the device run one step ahead of the progress bar, not more.
      jax.block_until_ready(outputs[-2:-1])
    outputs = sharding.fetch(outputs)
    clock = clock._replace(wall=time.perf_counter() - start)
    if not after_epoch(epoch, state, outputs, clock):
      break
    clock = clock._replace(wall=time.perf_counter() - start)
  return state, clock
