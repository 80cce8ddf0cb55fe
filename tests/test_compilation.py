"""Programs are counted, each once, while somebody listens."""

import jax
from jax import monitoring
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
import pytest

from gzjax.compilation import Compilation


def test_each_program_counts_once():
  x = jnp.arange(3.0)

  @jax.jit
  def inner(x):
    return x + 1

  @jax.jit
  def outer(x):
    return inner(inner(x)) * 2

  with Compilation() as compilation:
    for _ in range(2):
      outer(x)
  assert compilation.programs == ["jit(outer)"]
  assert compilation.seconds > 0
  assert compilation.words().startswith("compiled 1 program in ")
  jax.jit(lambda x: x - 1)(x)
  assert len(compilation.programs) == 1


@pytest.fixture
def store(tmp_path):
  """A store of its own: other tests leave theirs as they like."""
  settings = {
    "jax_compilation_cache_dir": str(tmp_path),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
  }
  before = {name: getattr(jax.config, name) for name in settings}
  _configure(settings)
  yield
  _configure(before)


def _configure(settings):
  compilation_cache.reset_cache()
  for name, value in settings.items():
    jax.config.update(name, value)


def test_programs_of_the_store_are_told_apart(store):
  x = jnp.arange(5.0)
  counts = []
  for _ in range(2):
    jax.clear_caches()
    with Compilation() as compilation:
      jax.jit(lambda x: x + 2)(x)
    counts.append(compilation.stored)
  assert counts == [0, 1]
  assert compilation.words().endswith(" s (1 of them from the store)")


def test_seconds_of_spans_that_overlap_count_once():
  trace = "/jax/core/compile/jaxpr_trace_duration"
  with Compilation() as compilation:
    for start, end in ((2, 3), (1, 4), (3.5, 5), (7, 8)):
      monitoring.record_event_time_span(trace, start, end, fun_name="f")
    monitoring.record_event_time_span("/else", 0, 100)
  assert compilation.seconds == pytest.approx(5)
  assert not compilation.programs
