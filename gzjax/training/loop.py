"""The one loop of training and unlearning, and what it costs."""

from collections.abc import Callable, Iterable
import time
from typing import Any

import jax

from gzjax.batches import Step, go_through
from gzjax.compilation import Compilation
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
  start, work = time.perf_counter(), 0.0
  with Compilation() as compilation:

    def spent() -> Cost:
      compiling = compilation.seconds
      running = time.perf_counter() - start - compiling
      return cost.plus(Cost(running, compiling, work))

    for epoch in epochs:
      name = f"{title} epoch {epoch + 1}/{epochs.stop}"
      with counting(steps, name) as advance:
        state, outputs = go_through(
          step, state, batches(epoch), advance=advance
        )
      work += reading + sum(float(x.pop("gradients")) for x in outputs)
      if not after_epoch(epoch, state, outputs, spent()):
        break
    return state, spent()
