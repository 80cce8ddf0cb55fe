"""A strict world for every test: eight devices, no rank promotion."""

import collections
from importlib import metadata
import os
from pathlib import Path
import shutil
import tempfile
import time

# Read when a backend starts; tests that launch processes set their own.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time goes into compiling small programs once: one step of
# unlearning takes 2.9 CPU s as XLA does it by default, 0.5 like this.
os.environ["XLA_FLAGS"] = (
  "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
  "--xla_cpu_parallel_codegen_split_count=1 "
  f"{os.environ.get('XLA_FLAGS', '')}"
)

from absl import flags
import jax
import pytest

from gzjax import sharding
from gzjax.models import onednn

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()


def pytest_addoption(parser):
  parser.addoption(
    "--until",
    type=float,
    help="skip tests that have not started by then, seconds since the epoch",
  )
  parser.addoption(
    "--faults",
    action="store_true",
    help="run the tests that guard against known faults only, and list those",
  )


def pytest_collection_modifyitems(config, items):
  if config.getoption("faults"):
    for item in items:
      for mark in item.iter_markers("fault"):
        item.user_properties.append(("fault", *mark.args))
    guards = [item for item in items if item.get_closest_marker("fault")]
    others = [item for item in items if not item.get_closest_marker("fault")]
    config.hook.pytest_deselected(items=others)
    items[:] = guards


def pytest_terminal_summary(terminalreporter, config):
  """Of each known fault, how its tests ended."""
  if not config.getoption("faults"):
    return
  ends = collections.defaultdict(collections.Counter)
  for outcome in ("passed", "failed", "error", "skipped"):
    for report in terminalreporter.getreports(outcome):
      for name, row in report.user_properties:
        if name == "fault" and (outcome != "passed" or report.when == "call"):
          ends[row][outcome] += 1
  terminalreporter.section("known faults")
  for row, count in sorted(ends.items()):
    said = ", ".join(f"{n} {outcome}" for outcome, n in count.items())
    terminalreporter.line(f"{row:4}{said}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
  until = item.config.getoption("until")
  if until is not None and time.time() > until:
    pytest.skip("no time left to start it")


def pytest_configure(config):
  """One store of compiled programs for all workers and launched processes.

  A new one, or that of the environment.
  """
  if not hasattr(config, "workerinput"):
    place = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not place:
      folder = tempfile.TemporaryDirectory(prefix="gzjax-compiled-")
      config.add_cleanup(folder.cleanup)
      place = os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    # Programs of less than a second, too: a run has hundreds of them.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # Without workers: jax has read the environment already.
    jax.config.update("jax_compilation_cache_dir", place)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="module", autouse=True)
def few_programs():
  """Frees compiled programs: a process may map 65,530 pieces of memory."""
  yield
  maps = Path("/proc/self/maps")
  if not maps.exists() or len(maps.read_text().splitlines()) > 30_000:
    jax.clear_caches()


@pytest.fixture(scope="session")
def mesh():
  """All eight devices."""
  return sharding.make_mesh()


@pytest.fixture(scope="session")
def one_device():
  """A mesh of a single device."""
  return sharding.make_mesh(jax.devices()[:1])


@pytest.fixture(scope="session")
def onednn_built():
  """Skips where the extra or a compiler is missing."""
  for name in ("onednn-cpu-gomp", "onednn-devel-cpu-gomp"):
    try:
      metadata.version(name)
    except metadata.PackageNotFoundError:
      pytest.skip("needs pip install 'gzjax[cpu]'")
  if not (shutil.which("c++") or shutil.which("g++")):
    pytest.skip("needs a C++ compiler")
  assert onednn.is_available()
