"""Which operations the threads of a traced program were busy with.

JAX's profiler writes a plane for each device and one for the host, with a line
of events for each thread or stream. On CPUs an operation begins on one thread
and hands parts of itself to others, whose work bears no name; but the trace
says which task was put up where (`ThreadpoolListener::Record`) and when it ran
(`StartRegion`, `StopRegion`), so that it can be counted for the operation that
put it up.
"""

from collections.abc import Iterable, Mapping, Sequence
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import jax

from gzjax.data.feed import GATHER

# Names of what the profiled process says of itself.
STEP = "gzjax step"  # a step, on the thread that makes it
FEED = "gzjax feed"  # that thread asks for the next batch

_PUT_UP = "ThreadpoolListener::Record"
_BEGINS = "ThreadpoolListener::StartRegion"
_ENDS = "ThreadpoolListener::StopRegion"
# The executor itself, between operations; or it waits.
_EXECUTOR = "ThunkExecutor::Execute"


class Event(NamedTuple):
  """What a thread did, or that something happened on it (duration 0)."""

  thread: int
  name: str
  start: float  # ns
  duration: float  # ns
  stats: Mapping[str, Any] = {}


class Label(NamedTuple):
  """What a thread is busy with: an operation, or a name of ours."""

  program: str
  operation: str


class Busy(NamedTuple):
  """What the threads did while the traced steps were made."""

  seconds: Mapping[Label, float]  # of all threads
  runs: Mapping[Label, int]  # how often an operation began
  idle_feed: float  # s in which none did anything, and a batch was asked for
  idle: float  # other s in which none did anything
  wall: float  # s from the first step to the end of the last one


def read(folder: Path) -> list[Event]:
  """The events of the trace in a folder that `jax.profiler` wrote."""
  (path,) = folder.rglob("*.xplane.pb")
  data = jax.profiler.ProfileData.from_file(str(path))
  found, threads = [], itertools.count()
  for plane in data.planes:
    for line in plane.lines:
      thread = next(threads)
      for event in line.events:
        if not event.name.startswith("end: "):
          found.append(
            Event(
              thread,
              event.name,
              event.start_ns,
              event.duration_ns,
              dict(event.stats),
            )
          )
  return found


def busy(events: Sequence[Event]) -> Busy:
  """What the threads did between the first and the last step.

  At each moment a thread works on the innermost operation that has begun and
  not ended on it. A task of another thread counts for the operation that put it
  up, or for the task that did, for whose operation that counts. The executor
  between operations is idle.
  """
  steps = [x for x in events if x.name == STEP]
  first = min(x.start for x in steps)
  last = max(x.start + x.duration for x in steps)
  sweep = _Sweep(first, last)
  for when, what, event in _changes(events):
    sweep.advance(when)
    sweep.change(what, event)
  sweep.advance(last)
  return Busy(
    {label: ns / 1e9 for label, ns in sweep.ns.items()},
    sweep.runs,
    sweep.idle_feed / 1e9,
    sweep.idle / 1e9,
    (last - first) / 1e9,
  )


_POP, _PUSH, _RECORD, _RUN, _STOP = range(5)


def _changes(events: Iterable[Event]) -> list[tuple[float, int, Event]]:
  """When what begins and ends, in this order; at one moment ends come first."""
  found = []
  # The outer one of two that begin together first.
  for event in sorted(events, key=lambda x: (x.thread, x.start, -x.duration)):
    end = event.start + event.duration
    instant = {_PUT_UP: _RECORD, _BEGINS: _RUN, _ENDS: _STOP}.get(event.name)
    if instant is not None:
      found.append((event.start, instant, event))
    elif _is_told(event):
      found.append((event.start, _PUSH, event))
      found.append((end, _POP, event))
  return sorted(found, key=lambda x: (x[0], x[1] != _POP))


def _is_told(event: Event) -> bool:
  ours = event.name in (FEED, GATHER)
  executor = event.name.startswith(_EXECUTOR)
  return event.duration > 0 and (ours or executor or "hlo_op" in event.stats)


class _Sweep:
  """Goes through time, and adds up what each thread is at."""

  def __init__(self, first: float, last: float):
    self.first, self.last = first, last
    self.now = first
    self.ns: dict[Label, float] = {}
    self.runs: dict[Label, int] = {}
    self.idle = self.idle_feed = 0.0
    self._stacks: dict[int, list[tuple[Event, Label | None]]] = {}
    self._owners: dict[tuple[Any, Any], Label | None] = {}
    self._asks = 0  # threads that ask for a batch

  def advance(self, when: float) -> None:
    """Counts the time up to then for what the threads are at."""
    span = min(max(when, self.first), self.last) - self.now
    if span <= 0:
      return
    labels = [stack[-1][1] for stack in self._stacks.values() if stack]
    at_work = [label for label in labels if label is not None]
    for label in at_work:
      self.ns[label] = self.ns.get(label, 0.0) + span
    if not at_work and self._asks:
      self.idle_feed += span
    elif not at_work:
      self.idle += span
    self.now += span

  def change(self, what: int, event: Event) -> None:
    """Begins or ends an event, or a task."""
    if event.name == FEED:
      self._asks += {_PUSH: 1, _POP: -1}[what]
      return
    stack = self._stacks.setdefault(event.thread, [])
    if what == _PUSH:
      label = _label(event)
      stack.append((event, label))
      if label and self.first <= event.start <= self.last:
        self.runs[label] = self.runs.get(label, 0) + 1
    elif what == _POP:
      # Clocks of the kernel may let a later one end first.
      stack[:] = [entry for entry in stack if entry[0] is not event]
    elif what == _RECORD:
      owner = stack[-1][1] if stack else None
      self._owners[event.stats["_pt"], event.stats["_p"]] = owner
    elif what == _RUN:
      task = event.stats["_ct"], event.stats["_c"]
      stack.append((event, self._owners.pop(task, None)))
    else:
      tasks = [x for x in stack if x[0].name == _BEGINS]
      stack[:] = [x for x in stack if not tasks or x is not tasks[-1]]


def _label(event: Event) -> Label | None:
  if event.name == GATHER:
    return Label("", GATHER)
  if "hlo_op" not in event.stats:
    return None
  module = str(event.stats.get("hlo_module", ""))
  return Label(module, str(event.stats["hlo_op"]))
