"""One mesh axis named `data`: batches are split over it, states are copied."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

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


def split(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch: the leading axis split over the devices."""
  return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
  """Puts a whole copy of `tree` on each device, in buffers of its own.

  A step may donate the result and the original stays. (`device_put` alone may
  alias, even with `may_alias=False`: JAX 0.12 on one device.)
  """
  return jax.device_put(copied(tree), replicated(mesh))


@jax.jit  # one program, not one for each shape
def copied(tree: PyTree) -> PyTree:
  """The arrays of a tree in buffers of their own."""
  return jax.tree.map(jnp.copy, tree)


def shard_batch(mesh: Mesh, tree: PyTree) -> PyTree:
  """Splits the leading axis of each array over the devices."""
  return jax.device_put(tree, split(mesh))
