"""One mesh axis named `data`: batches are split over it, states are copied.

The devices may be those of several processes, which then all make the same
calls with the same arrays.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
import numpy as np

from gzjax.types import PyTree

DATA_AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A 1-D mesh over `devices` (default: all).

  The axis type is Auto on purpose: `jax.make_mesh` makes Explicit axes, which
  flax.linen modules are not written for.
  """
  devices = list(devices or jax.devices())
  return jax.make_mesh(
    (len(devices),), (DATA_AXIS,), (AxisType.Auto,), devices=devices
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of a whole copy on each device."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """The sharding of a batch: an axis, the leading one, split over devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA_AXIS))


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
  """Puts a whole copy of `tree` on each device, in buffers of its own.

  A step may donate the result and the original stays. (`device_put` alone may
  alias, even with `may_alias=False`: JAX 0.12 on one device.)
  """
  return spread(mesh, copied(tree))


def spread(mesh: Mesh, tree: PyTree) -> PyTree:
  """As `replicate`, for a tree that nobody uses afterwards: it may alias it."""
  return _put(tree, replicated(mesh))


@jax.jit  # one program, not one for each shape
def copied(tree: PyTree) -> PyTree:
  """The arrays of a tree in buffers of their own."""
  return jax.tree.map(jnp.copy, tree)


def shard_batch(mesh: Mesh, tree: PyTree, axis: int = 0) -> PyTree:
  """Splits an axis of each array, the leading one, over the devices.

  Arrays that have no such axis are copied to each device.
  """
  whole, parts = replicated(mesh), split(mesh, axis)
  return jax.tree.map(
    lambda x: _put(x, parts if np.ndim(x) > axis else whole), tree
  )


def spare_bytes(mesh: Mesh) -> float:
  """What data may take of the memory of each device: half of it.

  0 on CPUs, where it is that of the host, and where nobody knows how much there
  is.
  """
  stats = None if are_cpus(mesh) else mesh.local_devices[0].memory_stats()
  return (stats or {}).get("bytes_limit", 0) / 2


def are_cpus(mesh: Mesh) -> bool:
  """Whether the devices are CPUs."""
  return mesh.devices.flat[0].platform == "cpu"


def fetch(tree: PyTree) -> PyTree:
  """The whole arrays on the host, wherever their parts are."""

  def whole(x):
    if not isinstance(x, jax.Array) or _is_here(x):
      return x
    return multihost_utils.process_allgather(x, tiled=True)

  return jax.device_get(jax.tree.map(whole, tree))


def _put(tree: PyTree, sharding: Sharding) -> PyTree:
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)

  def put(x):
    if not _is_here(x):
      return jax.device_put(x, sharding)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      data = put(jax.random.key_data(x))
      return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    # `device_put` would send the array to all processes, to compare it.
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

  return jax.tree.map(put, tree)


def _is_here(x: Any) -> bool:
  """Whether this process has all of an array."""
  return not isinstance(x, jax.Array) or (
    x.is_fully_addressable or x.is_fully_replicated
  )
