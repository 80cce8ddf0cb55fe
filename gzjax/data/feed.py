"""Rows of the data set to batches on the devices, in a reproducible order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh
import numpy as np

from gzjax import sharding
from gzjax.batches import Batches
from gzjax.data import augment, pixels
from gzjax.errors import UserError
from gzjax.remembered import remembered
from gzjax.types import Batch, PyTree

# What traces call the work of a thread that gathers pixels on the host.
GATHER = "gzjax gather"

# One batch's rows: indices into the data set i32[B], valid f32[B].
BatchRows = tuple[np.ndarray, np.ndarray]


def training_rows(
  members: np.ndarray, batch_size: int, seed: int, epoch: int
) -> list[BatchRows]:
  """Full batches of one epoch in an order that (seed, epoch) alone decides.

  Of the members, i[N] rows of the data set, N % batch_size (others in each
  epoch, which count from 0) sit this epoch out, since BatchNorm must not see
  padding.
  """
  order = np.random.default_rng([seed, epoch]).permutation(members)
  return _full_batches(order, batch_size)


def balanced_rows(
  members: np.ndarray,
  label: np.ndarray,
  size: int,
  batch_size: int,
  seed: int,
  epoch: int,
) -> list[BatchRows]:
  """Full batches of one epoch in which all classes are equally frequent.

  Of rare classes every galaxy is drawn before any is drawn again; of abundant
  ones each epoch has another sample, no galaxy twice. The members and their
  labels are i[N]. An epoch has size // batch_size batches, repeated galaxies
  included; (seed, epoch) alone decides their order. The numbers of the classes,
  in each batch as in the epoch, differ by one at most.

  Raises:
    UserError: if there are more classes than examples.
  """
  rng = np.random.default_rng([seed, epoch])
  classes = rng.permutation(np.unique(label))
  if size < len(classes):
    raise UserError(
      f"balanced_to is {size}: it must be at least {len(classes)}, the number "
      "of classes."
    )
  count = -(-size // len(classes))
  drawn = [_in_turns(rng, members[label == k], count) for k in classes]
  # One galaxy of each class after the other; the last round may be cut short.
  order = np.stack(drawn, axis=1).ravel()[:size]
  return _full_batches(order, batch_size)


def _in_turns(
  rng: np.random.Generator, members: np.ndarray, count: int
) -> np.ndarray:
  """So many of the members, in passes over all, each in a new order."""
  passes = -(-count // len(members))
  orders = [rng.permutation(members) for _ in range(passes)]
  return np.concatenate(orders)[:count]


def _full_batches(order: np.ndarray, batch_size: int) -> list[BatchRows]:
  """Those of `ordered_rows` without padding; the rest sits out."""
  whole = len(order) // batch_size * batch_size
  return ordered_rows(order[:whole], batch_size)


def ordered_rows(members: np.ndarray, batch_size: int) -> list[BatchRows]:
  """All members once, in order; the last batch is padded with `valid` 0."""
  missing = -len(members) % batch_size
  rows = np.pad(members.astype(np.int32), (0, missing), mode="edge")
  valid = np.pad(np.ones(len(members), np.float32), (0, missing))
  return list(zip(rows.reshape(-1, batch_size), valid.reshape(-1, batch_size)))


class Feed:
  """Makes batches that gather, augment and normalise pixels on the devices.

  The pixels live on the devices if they fit the budget; else they are gathered
  on the host, ahead of the steps. Without a normalisation they are not pixels
  but features, f32[N,F], and there is nothing to augment.
  """

  def __init__(
    self,
    image: pixels.Images,  # u8[N,H,W,3], may be a memory map
    columns: Mapping[str, np.ndarray],  # i32 or f32[N,...], such as label
    mesh: Mesh,
    *,
    device_budget_bytes: float | None = None,
    normalisation: augment.Normalisation | None = augment.IMAGENET,
  ):
    """Takes at most the budget of each device; None: `sharding.spare_bytes`."""
    self.mesh = mesh
    self.size = len(image)  # N
    self._columns = dict(columns)
    self._image: Any = image
    self._normalisation = normalisation
    if device_budget_bytes is None:
      device_budget_bytes = sharding.spare_bytes(mesh)
    self.budget_bytes = device_budget_bytes
    self.on_device = image.nbytes <= device_budget_bytes
    if self.on_device:
      # No step consumes them: one copy, of as much as half of the memory.
      self._image = sharding.spread(mesh, np.asarray(image))

  def batches(
    self,
    rows: Sequence[BatchRows],
    *,
    key: jax.Array | None = None,
    augmentation: augment.Augmentation = augment.NO_AUGMENTATION,
    turn: int = 0,
    extra: Mapping[str, np.ndarray] | None = None,
  ) -> Batches:
    """Batches for `rows`, each view drawn with `fold_in(key, position)`.

    The key is needed where `augmentation` does something; for `turn` see
    `augment.symmetry`. `extra` has more entries of the batches by name,
    [N,...], or other ones than those that the feed was made with.
    """
    columns = {**self._columns, **(extra or {})}
    shared = {
      "key": jax.random.key(0) if key is None else key,
      "turn": np.int32(turn),
    }
    shared = sharding.spread(self.mesh, shared)
    if self.on_device:
      shared["images"] = self._image

    def own(position):
      index, valid = rows[position]
      entries = {name: column[index] for name, column in columns.items()}
      if not self.on_device:
        with jax.profiler.TraceAnnotation(GATHER):
          entries["image"] = self._image[index]
      return {
        **entries,
        "position": np.int32(position),
        "valid": valid,
        "id": index,
      }

    make = _make_view(self.mesh, self._normalisation, augmentation)
    return Batches(self.mesh, len(rows), make, shared, own)


@remembered  # the next feed compiles nothing
def _make_view(
  mesh: Mesh,
  normalisation: augment.Normalisation | None,
  augmentation: augment.Augmentation,
) -> Callable[[PyTree, PyTree], Batch]:
  """(what all batches share, what one has of its own) -> that batch."""

  def view(image, key, turn):
    if normalisation is None:
      return image
    turned = augment.symmetry(image, turn)
    seen = augment.augment(key, turned, augmentation)
    return augment.normalise(seen, normalisation)

  def make(shared, own):
    own = dict(own)
    with jax.named_scope("feed"):
      image = own.pop("image", None)
      if image is None:
        image = shared["images"][own["id"]]
      key = jax.random.fold_in(shared["key"], own.pop("position"))
      image = view(image, key, shared["turn"])
      image = lax.with_sharding_constraint(image, sharding.split(mesh))
    return {"image": image, **own}

  return make
