"""A strict world for every test: eight devices, no rank promotion."""

import os
import tempfile

# Read when a backend starts; tests that launch processes set their own.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile much and compute little. Level 1, because programs of level 0
# run ten times as long. Launched processes inherit it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

from absl import flags
import jax
import pytest

from gzjax import sharding

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()


def pytest_configure(config):
  """One store of compiled programs for all workers and launched processes."""
  if not hasattr(config, "workerinput"):
    folder = tempfile.TemporaryDirectory(prefix="gzjax-compiled-")
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name


@pytest.fixture(scope="module", autouse=True)
def few_programs():
  """Frees the compiled programs of a module: a process may map only so many."""
  yield
  jax.clear_caches()


@pytest.fixture(scope="session")
def mesh():
  """All eight devices."""
  return sharding.make_mesh()


@pytest.fixture(scope="session")
def one_device():
  """A mesh of a single device."""
  return sharding.make_mesh(jax.devices()[:1])
