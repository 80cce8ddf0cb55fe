"""Compiles, times and traces a program: where its time goes, in numbers."""

from collections.abc import Iterator, Mapping
import contextlib
from pathlib import Path
import time
from typing import Any, NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache
import pandas as pd

from gzjax.files import write_table
from gzjax.profiling import operations, traces, work
from gzjax.profiling.ceilings import Ceilings
from gzjax.profiling.programs import Program
from gzjax.training.loop import compiled

_WARM_UP = 2  # steps: the first ones fill caches and start threads


class Memory(NamedTuple):
  """Bytes on each device, as `memory_analysis` of the compiled program says.

  At its peak a step holds at most `peak`: what it is given and returns (once,
  where the one takes the place of the other) and its temporary arrays.
  """

  arguments: int
  outputs: int
  donated: int  # of the outputs that take the place of arguments
  temporary: int

  @property
  def peak(self) -> int:
    """Bytes."""
    return self.arguments + self.outputs - self.donated + self.temporary


class Profile(NamedTuple):
  """Where the time of a step goes; seconds, bytes and FLOP are of one step."""

  steps: int  # that were traced
  examples: int  # in a step
  step_seconds: float  # of the wall, without a trace
  traced_step_seconds: float
  # What the threads were busy with, of `operations.KINDS`. Several threads may
  # work at once: the sum is not the step's.
  seconds: Mapping[str, float]
  mixed_seconds: float  # of operations that fuse work of several kinds
  product_flops: float  # of convolutions and matrix products, see `work`
  bytes: float  # that operations read and write; many come from caches
  compile_seconds: float  # without a store of compiled programs
  memory: Memory

  @property
  def shares(self) -> dict[str, float]:
    """Of the busy time, by kind; they sum to 1."""
    whole = sum(self.seconds.values())
    return {kind: x / whole for kind, x in self.seconds.items()}

  def record(self, ceilings: Ceilings) -> dict[str, Any]:
    """As JSON, with what follows from the numbers."""
    busy = sum(self.seconds.values())
    flops = self.product_flops / self.step_seconds
    traffic = self.bytes / self.step_seconds
    return {
      **self._asdict(),
      "memory": {**self.memory._asdict(), "peak": self.memory.peak},
      "shares": self.shares,
      "mixed_share": self.mixed_seconds / busy,
      "busy_threads": busy / self.traced_step_seconds,
      "examples_per_second": self.examples / self.step_seconds,
      "flops_per_second": flops,
      "bytes_per_second": traffic,
      "of_matrix_product": flops / ceilings.flops_per_second,
      "of_memory": traffic / ceilings.bytes_per_second,
    }


def profile(program: Program, folder: Path, steps: int) -> Profile:
  """Runs a program for a while; what it is found by goes into a folder.

  That is the trace, `program.txt` as XLA prints what it compiled, and
  `operations.csv`, the dearest operation first.

  As in `training.loop.fit` the next batch is asked for while a step runs, and
  no step runs ahead of another by more than one. The trace is for TensorBoard,
  XProf and Perfetto.
  """
  with contextlib.closing(program.batches):
    return _profile(program, folder, steps)


def _profile(program: Program, folder: Path, steps: int) -> Profile:
  first = program.state, *program.fixed, next(program.batches)
  traced = program.step.trace(*first)
  flops = work.product_flops(traced.jaxpr.jaxpr)
  with _nothing_stored():
    run, compile_seconds = compiled(program.step, *first)
  state, _ = run(*first)
  state, _ = _steps(program, run, state, _WARM_UP)
  state, seconds = _steps(program, run, state, steps)
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # it would slow down what it looks at
  with jax.profiler.trace(str(folder), profiler_options=options):
    _, traced_seconds = _steps(program, run, state, steps)
  busy = traces.busy(traces.read(folder))
  text = run.as_text()
  known = known_operations(text)
  named = attribute(busy, known)
  (folder / "program.txt").write_text(text)
  write_table(folder / "operations.csv", _table(busy, known, steps))
  memory = run.memory_analysis()
  return Profile(
    steps,
    program.examples,
    seconds / steps,
    traced_seconds / steps,
    {kind: x / steps for kind, x in named.seconds.items()},
    named.mixed_seconds / steps,
    flops,
    named.bytes / steps,
    compile_seconds,
    Memory(
      memory.argument_size_in_bytes,
      memory.output_size_in_bytes,
      memory.alias_size_in_bytes,
      memory.temp_size_in_bytes,
    ),
  )


def _steps(
  program: Program, run: Any, state: Any, count: int
) -> tuple[Any, float]:
  """Makes steps as `training.loop.fit` does; the seconds of the wall."""
  outputs: Any = ()
  start = time.perf_counter()
  for number in range(count):
    with jax.profiler.StepTraceAnnotation(traces.STEP, step_num=number):
      with jax.profiler.TraceAnnotation(traces.FEED):
        batch = next(program.batches)
      before = outputs
      state, outputs = run(state, *program.fixed, batch)
      # Some steps have no outputs to wait for.
      for_state = number == count - 1 or not jax.tree.leaves(outputs)
      jax.block_until_ready(state if for_state else before)
  return state, time.perf_counter() - start


@contextlib.contextmanager
def _nothing_stored() -> Iterator[None]:
  """Compiles anew: a stored program has the names of where it was made."""
  before = jax.config.jax_compilation_cache_dir  # pyrefly: ignore
  jax.config.update("jax_compilation_cache_dir", None)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


class Named(NamedTuple):
  """What threads were busy with, by kind; sums over all steps."""

  seconds: Mapping[str, float]  # of all of `operations.KINDS`
  mixed_seconds: float
  bytes: float


class Known(NamedTuple):
  """What the text of the program that was traced says."""

  module: str  # what traces call it
  operations: Mapping[traces.Label, operations.Operation]


def known_operations(text: str) -> Known:
  """Of the text of a compiled program."""
  module = text.split(maxsplit=2)[1].rstrip(",")
  found = operations.operations(text)
  return Known(
    module, {traces.Label(module, name): one for name, one in found.items()}
  )


def attribute(busy: traces.Busy, known: Known) -> Named:
  """Joins what a trace says with what the program's text says.

  Other programs make the batches: they are the feed, as is the time in which
  nothing runs but a batch is asked for. What the text does not have is "other".
  """
  seconds = dict.fromkeys(operations.KINDS, 0.0)
  seconds |= {"feed": busy.idle_feed, "host": busy.idle}
  mixed = 0.0
  for label, spent in busy.seconds.items():
    operation = known.operations.get(label)
    if label.program != known.module:
      seconds["feed"] += spent
    elif operation is None:
      seconds["other"] += spent
    else:
      for kind, share in operation.kinds.items():
        seconds[kind] += spent * share
      mixed += spent * operation.mixed
  traffic = sum(
    runs * known.operations[label].bytes
    for label, runs in busy.runs.items()
    if label in known.operations
  )
  return Named(seconds, mixed, traffic)


def _table(busy: traces.Busy, known: Known, steps: int) -> pd.DataFrame:
  """What each operation took, and what it is for; of all programs."""
  found = []
  for label, seconds in sorted(busy.seconds.items(), key=lambda x: -x[1]):
    one = known.operations.get(label)
    found.append(
      {
        "program": label.program,
        "operation": label.operation,
        "ms": 1e3 * seconds / steps,
        "runs": busy.runs.get(label, 0) / steps,
        "kinds": " ".join(one.kinds) if one else "",
        "from": one.origin if one else "",
      }
    )
  return pd.DataFrame(found)
