"""Whose time a thread's is: small traces written by hand."""

import jax
import jax.numpy as jnp
import pytest

from gzjax.data.feed import GATHER
from gzjax.profiling import measure, operations, traces
from gzjax.profiling.traces import Event, Label
from tests.profiling.texts import program


def _op(thread, name, start, duration, module="jit_step"):
  stats = {"hlo_op": name, "hlo_module": module}
  return Event(thread, name, start, duration, stats)


def _put_up(thread, start, task):
  stats = {"_pt": 15, "_p": task}
  return Event(thread, "ThreadpoolListener::Record", start, 0, stats)


def _task(thread, start, stop, task):
  stats = {"_ct": 15, "_c": task}
  return [
    Event(thread, "ThreadpoolListener::StartRegion", start, 0, stats),
    Event(thread, "ThreadpoolListener::StopRegion", stop, 0),
  ]


def _ns(found, name, module="jit_step"):
  return round(1e9 * found.seconds.get(Label(module, name), 0.0))


STEP = Event(0, traces.STEP, 0, 100)


def test_one_thread():
  found = traces.busy([STEP, _op(1, "a", 10, 20), _op(1, "b", 40, 50)])
  assert (_ns(found, "a"), _ns(found, "b")) == (20, 50)
  assert round(1e9 * found.idle) == 30
  assert found.wall == pytest.approx(1e-7)
  assert found.runs == {Label("jit_step", "a"): 1, Label("jit_step", "b"): 1}


def test_what_lies_inside_of_an_operation_is_not_its_own():
  found = traces.busy([STEP, _op(1, "a", 10, 40), _op(1, "b", 20, 10)])
  assert (_ns(found, "a"), _ns(found, "b")) == (30, 10)


def test_tasks_count_for_the_operation_that_put_them_up():
  events = [
    STEP,
    _op(1, "a", 10, 10),
    _put_up(1, 12, 7),
    *_task(2, 15, 55, 7),
    # A part of that part, and the next operation on the thread that is free.
    _put_up(2, 20, 8),
    *_task(3, 30, 60, 8),
    _op(1, "b", 20, 20),
  ]
  found = traces.busy(events)
  assert (_ns(found, "a"), _ns(found, "b")) == (10 + 40 + 30, 20)
  assert round(1e9 * found.idle) == 10 + 40


def test_a_task_of_nobody_and_the_executor_are_no_work():
  events = [
    STEP,
    _put_up(0, 1, 3),
    *_task(1, 10, 90, 3),
    Event(1, "ThunkExecutor::Execute", 10, 80),
    _op(1, "a", 20, 5),
    # The end of one task and the start of another in one moment.
    *_task(1, 90, 95, 4),
  ]
  found = traces.busy(events)
  assert found.seconds == {Label("jit_step", "a"): pytest.approx(5e-9)}
  assert round(1e9 * found.idle) == 95


def test_only_the_steps_count():
  events = [
    Event(0, traces.STEP, 100, 50),
    Event(0, traces.STEP, 150, 50),
    _op(1, "a", 50, 60),
    _op(1, "b", 190, 60),
  ]
  found = traces.busy(events)
  assert (_ns(found, "a"), _ns(found, "b")) == (10, 10)
  assert round(1e9 * found.idle) == 80
  assert found.runs == {Label("jit_step", "b"): 1}


def test_time_in_which_nothing_runs_but_a_batch_is_asked_for_is_the_feeds():
  events = [
    STEP,
    Event(0, traces.FEED, 10, 50),
    _op(1, "gather", 20, 10, "jit_view"),
    Event(2, GATHER, 40, 5),
    _op(1, "found", 60, 30),
    _op(1, "unknown", 90, 6),
  ]
  found = traces.busy(events)
  assert round(1e9 * found.idle_feed) == 50 - 10 - 5
  text = program("f32[4,8,8,16] copy(%map)")
  named = measure.attribute(found, measure.known_operations(text))
  ns = {kind: round(1e9 * x) for kind, x in named.seconds.items() if x}
  assert ns == {"feed": 50, "movement": 30, "host": 14, "other": 6}
  assert list(named.seconds) == list(operations.KINDS)
  assert named.bytes == 2 * 4 * 8 * 8 * 16 * 4


def test_streams_of_a_device_are_threads():
  events = [STEP, _op(1, "a", 0, 100), _op(2, "b", 50, 50)]
  found = traces.busy(events)
  assert sum(found.seconds.values()) == pytest.approx(150e-9)
  assert found.idle == 0


def test_a_program_that_was_really_traced(tmp_path):
  @jax.jit
  def step(x):
    return jnp.sin(x) @ x

  x = jnp.ones((300, 300))
  run = step.lower(x).compile()
  run(x).block_until_ready()
  with jax.profiler.trace(str(tmp_path)):
    for number in range(3):
      with jax.profiler.StepTraceAnnotation(traces.STEP, step_num=number):
        run(x).block_until_ready()
  found = traces.busy(traces.read(tmp_path))
  known = measure.known_operations(run.as_text())
  named = measure.attribute(found, known)
  busy = sum(found.seconds.values())
  ours = sum(x for label, x in found.seconds.items() if "step" in label.program)
  assert ours == pytest.approx(busy)
  assert 0 < busy <= 16 * found.wall
  whole = busy + found.idle + found.idle_feed
  assert sum(named.seconds.values()) == pytest.approx(whole)
  # A product without a layer, and a sine.
  names = {label.operation for label in found.seconds}
  assert names <= set(operations.operations(run.as_text()))
  assert all(count == 3 for count in found.runs.values())
