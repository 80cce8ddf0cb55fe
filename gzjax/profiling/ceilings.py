"""What the devices can do at most, measured: arithmetic and memory."""

from collections.abc import Callable
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from gzjax import sharding

_REPEATS = 5


class Ceilings(NamedTuple):
  """Of all devices of a mesh together, by XLA's own programs."""

  flops_per_second: float  # of a large matrix product
  bytes_per_second: float  # of adding 1 to a large array: read and written
  dtype: str  # of the product


class Sizes(NamedTuple):
  """Of what is measured, for each device."""

  edge: int  # of the matrices
  bytes: int  # of the array, many times what caches hold


# A product of 17 GFLOP takes a CPU of 2 cores 40 ms, one of 1.1 TFLOP a large
# GPU 2 ms.
SIZES = {"cpu": Sizes(2048, 2**28), "accelerator": Sizes(8192, 2**30)}


def measure(
  mesh: Mesh, dtype: str = "float32", sizes: Sizes | None = None
) -> Ceilings:
  """The best of a few runs: others may be at the machine, too."""
  platform = mesh.devices.flat[0].platform
  edge, size = sizes or SIZES.get(platform, SIZES["accelerator"])
  whole, split = sharding.replicated(mesh), sharding.split(mesh)

  def ones(shape, dtype, placed):
    return jax.jit(lambda: jnp.ones(shape, dtype), out_shardings=placed)()

  left = ones((mesh.size * edge, edge), dtype, split)
  right = ones((edge, edge), dtype, whole)
  product = jax.jit(jnp.dot, out_shardings=split)
  seconds = _best(product, left, right)
  count = mesh.size * (size // 4)
  array = ones((count,), jnp.float32, split)
  add = jax.jit(lambda x: x + 1, donate_argnums=0, out_shardings=split)
  return Ceilings(
    2.0 * mesh.size * edge**3 / seconds,
    2.0 * 4 * count / _best_of_chain(add, array),
    dtype,
  )


def _best(function: Callable[..., Any], *args: Any) -> float:
  """Seconds of the fastest run, the first one not counted."""
  jax.block_until_ready(function(*args))
  found = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    found.append(time.perf_counter() - start)
  return min(found)


def _best_of_chain(function: Callable[[Any], Any], state: Any) -> float:
  """The same of a function that consumes what it is given: no new memory."""
  state = jax.block_until_ready(function(state))
  found = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    state = jax.block_until_ready(function(state))
    found.append(time.perf_counter() - start)
  return min(found)
