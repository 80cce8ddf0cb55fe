"""The Fisher diagonal of a data set, streamed over batches and devices.

F = sum_n (d loss_n / d theta)^2, elementwise: the square is taken of each
example's gradient, not of the gradient of a batch mean, which is smaller by
about the batch size (151 times in the median on one network we measured).
"""

from collections.abc import Callable, Iterable, Mapping, Sized
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np

from gzjax import models, sharding
from gzjax.fisher import squares, transform
from gzjax.fisher.cotangents import Kind, make_cotangents
from gzjax.objectives import likelihoods, losses
from gzjax.progress import progress
from gzjax.types import ApplyFn, Batch, Fisher, Objective, PyTree

Estimator = Literal["exact", "vmap", "signs", "batch_mean"]


@jax.jit  # one program, not one for each shape
def merge(a: Fisher, b: Fisher) -> Fisher:
  """The Fisher of both sets of examples together."""
  return jax.tree.map(jnp.add, a, b)


@jax.jit
def mean(fisher: Fisher) -> PyTree:
  """The mean squared gradient of one example, like params."""
  count = jnp.maximum(fisher.count, 1)
  return jax.tree.map(lambda s: s / count, fisher.sum_sq)


class Spec(NamedTuple):
  """What to compute; hashable.

  Attributes:
    objective: per-example loss in nats, of the empirical and sampled kind.
    likelihood: what the true and sampled kind draw targets from.
    kind: "empirical" takes the given labels, "true" the exact expectation over
      labels that the model itself expects, "sampled" one draw from it.
    estimator: "exact" costs about a training step and takes networks made of
      convolutions, matrix products and elementwise parameters; "vmap" takes
      any and holds the gradients of `microbatch` examples; "signs" is an
      unbiased random estimate for one ordinary gradient; "batch_mean" squares
      the gradient of each batch's mean loss, as much public code does: no
      Fisher, and smaller by about the size of the batch, on which it depends.
    microbatch: examples that a device takes at once; 0 takes all of a batch,
      but with "vmap" 1 on CPUs (34 against 10 images/s with 4: ResNet34, 64
      pixels) and 32 elsewhere.
    with_error: keep what the error of the signs needs, see `signs_with_error`,
      which sets it.
  """

  objective: Objective = losses.cross_entropy
  likelihood: likelihoods.Likelihood = likelihoods.CATEGORICAL
  kind: Kind = "empirical"
  estimator: Estimator = "exact"
  microbatch: int = 0
  with_error: bool = False


def fisher_diagonal(
  model: Any,
  variables: Mapping[str, PyTree],
  batches: Iterable[Batch],
  *,
  spec: Spec = Spec(),  # noqa: B008
  mesh: Mesh | None = None,
  key: jax.Array | None = None,
  total: int | None = None,
) -> Fisher:
  """Sums the squared gradients of single examples, on stored statistics.

  Args:
    model: an `ApplyFn` or a flax.linen module; used with `train=False`,
      because a training-mode BatchNorm has no per-example gradients.
    variables: `params`, and `batch_stats` if the network has them.
    batches: any number, of any size; examples with `valid` 0 count nothing.
    spec: what to compute, and how.
    mesh: see `sharding.make_mesh`; None takes all devices.
    key: for "sampled" and "signs"; None is `jax.random.key(0)`. The draws of
      an example depend on the key and on its `id` only.
    total: number of batches for the progress bar; None: if they have a length.

  Returns:
    The Fisher of all valid examples, replicated over the mesh.

  Raises:
    transform.UnknownUseError: if the exact estimator has no rule for a
      parameter; the message names it.
    ValueError: for an unknown kind or estimator.
  """
  spec = spec._replace(with_error=False)
  sums = _accumulated(spec, model, variables, batches, mesh, key, total)
  return Fisher(sums.count, sums.sum_sq)


def signs_with_error(
  model: Any,
  variables: Mapping[str, PyTree],
  batches: Iterable[Batch],
  *,
  spec: Spec = Spec(),  # noqa: B008
  mesh: Mesh | None = None,
  key: jax.Array | None = None,
  total: int | None = None,
) -> tuple[Fisher, PyTree]:
  """The random-sign estimate and the standard error of its sums.

  With signs e_n = +-1, s = sum_n e_n g_n over a group of examples (what a
  device takes at once) has E[s^2] = f, the group's sum of squares, and a
  variance 2 f^2 - 2 sum_n g_n^4 of s^2. As E[s^4] = 3 f^2 - 2 sum_n g_n^4,
  2/3 s^4 is an estimate of it that errs to the safe side, by 2/3 sum_n g_n^4.

  Args:
    model: and the others, as of `fisher_diagonal`.
    variables: params and batch_stats.
    batches: the examples.
    spec: its microbatch is the size of a group; 0 takes a device's share of a
      batch. The estimator is "signs", whatever it names.
    mesh: the devices.
    key: of the signs.
    total: number of batches.

  Returns:
    (the estimate, the standard error of each entry of `sum_sq`, f32).
  """
  spec = spec._replace(estimator="signs", with_error=True)
  sums = _accumulated(spec, model, variables, batches, mesh, key, total)
  error = jax.tree.map(lambda q: jnp.sqrt(2 / 3 * q), sums.fourth)
  return Fisher(sums.count, sums.sum_sq), error


class Sums(NamedTuple):
  """What grows with every batch; a part for each device in front."""

  count: jax.Array
  sum_sq: PyTree
  fourth: PyTree  # sum of s^4 of the signs; () if not asked for


def _accumulated(spec, model, variables, batches, mesh, key, total) -> Sums:
  mesh = mesh or sharding.make_mesh()
  if total is None and isinstance(batches, Sized):
    total = len(batches)
  accumulate = make_accumulate(models.as_apply_fn(model), spec, mesh)
  zeros, total_over_devices = make_sums(spec, mesh)
  sums = zeros(variables["params"])
  rest = (
    variables["params"],
    variables.get("batch_stats", {}),
    jax.random.key(0) if key is None else key,
  )
  seen = 0
  for batch in progress(batches, total, "Fisher information"):
    batch = _complete(batch, mesh, seen)
    seen += len(batch["valid"])
    sums = accumulate(sums, *rest, sharding.shard_batch(mesh, batch))
    jax.block_until_ready(sums.count)
  return total_over_devices(sums)


# These are cached, so that the next call with the same arguments compiles
# nothing.
@lru_cache(maxsize=8)
def make_sums(
  spec: Spec, mesh: Mesh
) -> tuple[Callable[[PyTree], Sums], Callable[[Sums], Sums]]:
  """(params -> zero sums, one for each device; sums -> their total).

  The devices talk once, at the end.
  """

  def zeros(params):
    return jax.tree.map(
      lambda p: jnp.zeros((mesh.size, *p.shape), jnp.float32),
      Sums(jnp.zeros(()), params, params if spec.with_error else ()),
    )

  def total(sums):
    return jax.tree.map(lambda s: jnp.sum(s, axis=0), sums)

  return (
    jax.jit(zeros, out_shardings=sharding.split(mesh)),
    jax.jit(total, out_shardings=sharding.replicated(mesh)),
  )


def _complete(batch: Batch, mesh: Mesh, seen: int) -> dict[str, Any]:
  """The batch with `valid` and `id`, padded so that the devices share it."""
  count = len(batch["image"])
  full = {
    "valid": np.ones(count, np.float32),
    "id": np.arange(seen, seen + count, dtype=np.int32),
    **batch,
  }
  missing = -count % mesh.size
  if not missing:
    return full
  return jax.tree.map(
    lambda x: jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)), full
  )


@lru_cache(maxsize=8)
def make_accumulate(
  apply_fn: ApplyFn, spec: Spec, mesh: Mesh
) -> Callable[[Sums, PyTree, PyTree, jax.Array, Batch], Sums]:
  """(sums, params, batch_stats, key, batch) -> sums, jitted.

  Consumes (donates) the sums. The batch must be split over the mesh evenly.
  """
  add = {"signs": _add_signs, "batch_mean": _add_batch_mean}.get(
    spec.estimator, _add_squares
  )
  cotangents = make_cotangents(spec.kind, spec.objective, spec.likelihood)
  microbatch = spec.microbatch
  if not microbatch and spec.estimator == "vmap":
    microbatch = 1 if mesh.devices.flat[0].platform == "cpu" else 32

  def on_device(sums, params, batch_stats, key, batch):
    def add_chunk(sums, chunk):
      keys = jax.vmap(jax.random.fold_in, (None, 0))(key, chunk["id"])
      new = add(apply_fn, cotangents, spec, params, batch_stats, chunk, keys)
      return jax.tree.map(lambda s, x: s + x[None], sums, new), None

    count = len(batch["valid"])
    size = min(microbatch or count, count)
    if size == count:
      return add_chunk(sums, dict(batch))[0]
    # Padding has `valid` 0.
    chunks = {n: squares.in_chunks(x, size) for n, x in batch.items()}
    return lax.scan(add_chunk, sums, chunks)[0]

  data = PartitionSpec(sharding.DATA_AXIS)
  whole = PartitionSpec()
  return jax.jit(
    jax.shard_map(
      on_device,
      mesh=mesh,
      in_specs=(data, whole, whole, whole, data),
      out_specs=data,
      # With the check, the gradients of replicated params would be added over
      # the devices before they are squared: silently wrong.
      check_vma=False,
    ),
    donate_argnums=0,
  )


def _add_squares(apply_fn, cotangents, spec, params, batch_stats, batch, keys):
  """The sums of squares over a chunk, example by example."""

  def network(params, batch_stats, image):
    logits, _ = apply_fn(params, batch_stats, image[None], train=False)
    return logits[0]

  def of_one(network, params, inputs):
    example, key = inputs
    logits, pullback = jax.vjp(
      lambda p: network(p, batch_stats, example["image"]), params
    )
    rows = cotangents(logits.astype(jnp.float32), example, key)
    rows = (rows * example["valid"]).astype(logits.dtype)
    if len(rows) == 1:
      return pullback(rows[0])[0]

    def add(total, row):
      return jax.tree.map(jnp.add, total, pullback(row)[0]), None

    zero = jax.tree.map(jnp.zeros_like, params)
    return lax.scan(add, zero, rows, unroll=len(rows) < 4)[0]

  summed = transform.sum_over_examples(network, of_one, spec.estimator)
  return Sums(jnp.sum(batch["valid"]), summed(params, (batch, keys)), ())


def _add_batch_mean(
  apply_fn, cotangents, spec, params, batch_stats, batch, keys
):
  """(gradient of the mean loss of the whole batch, over all devices)^2."""
  count = jnp.sum(batch["valid"])
  whole = jnp.maximum(lax.psum(count, sharding.DATA_AXIS), 1)

  def network(params):
    return apply_fn(params, batch_stats, batch["image"], train=False)[0]

  logits, pullback = jax.vjp(network, params)
  rows = jax.vmap(lambda *args: jnp.sum(cotangents(*args), axis=0))(
    logits.astype(jnp.float32), batch, keys
  )
  rows = rows * batch["valid"][:, None] / whole
  (gradient,) = pullback(rows.astype(logits.dtype))
  gradient = lax.psum(gradient, sharding.DATA_AXIS)
  devices = lax.axis_size(sharding.DATA_AXIS)
  # Every device has the whole square, and their parts will be added.
  squared = jax.tree.map(
    lambda g: jnp.square(g.astype(jnp.float32)) / devices, gradient
  )
  return Sums(count, squared, ())


def _add_signs(apply_fn, cotangents, spec, params, batch_stats, batch, keys):
  """(sum_n e_n g_n)^2 over a chunk, with its square where asked for."""

  def network(params):
    return apply_fn(params, batch_stats, batch["image"], train=False)[0]

  logits, pullback = jax.vjp(network, params)

  def signed(logits, example, key):
    rows = cotangents(logits.astype(jnp.float32), example, key)
    # Another key than that of a drawn label.
    signs = jax.random.rademacher(
      jax.random.fold_in(key, 1), (len(rows), 1), rows.dtype
    )
    total = jnp.sum(signs * rows, axis=0) * example["valid"]
    return total.astype(logits.dtype)

  (gradient,) = pullback(jax.vmap(signed)(logits, batch, keys))
  second = jax.tree.map(lambda g: jnp.square(g.astype(jnp.float32)), gradient)
  fourth = jax.tree.map(jnp.square, second) if spec.with_error else ()
  return Sums(jnp.sum(batch["valid"]), second, fourth)
