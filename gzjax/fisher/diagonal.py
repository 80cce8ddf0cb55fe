"""The Fisher diagonal of a data set, streamed over batches and devices.

F = sum_n (d loss_n / d theta)^2, elementwise: the square is taken of each
example's gradient, not of the gradient of a batch mean, which is smaller by
about the batch size (151 times in the median on one network we measured).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Literal, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np

from gzjax import models, sharding
from gzjax.batches import Batches, Step, go_through
from gzjax.fisher import squares, transform
from gzjax.objectives import likelihoods, losses
from gzjax.progress import counting
from gzjax.remembered import remembered
from gzjax.types import FORWARD, ApplyFn, Batch, Fisher, Objective, PyTree

Estimator = Literal["exact", "vmap", "signs", "batch_mean"]
Kind = Literal["empirical", "true", "sampled"]
# (logits f32[K], example, key) -> f32[R,K]
Cotangents = Callable[[jax.Array, Batch, jax.Array], jax.Array]


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
  **options: Any,
) -> tuple[Fisher, PyTree]:
  """The random-sign estimate and the standard error of its sums.

  With signs e_n = +-1, s = sum_n e_n g_n over a group of examples (what a
  device takes at once) has E[s^2] = f, the group's sum of squares, and a
  variance 2 f^2 - 2 sum_n g_n^4 of s^2. As E[s^4] = 3 f^2 - 2 sum_n g_n^4,
  2/3 s^4 is an estimate of it that errs to the safe side, by 2/3 sum_n g_n^4.

  The arguments are those of `fisher_diagonal`. The spec's microbatch is a group
  (0: a device's share of a batch); its estimator does not count.

  Returns:
    (the estimate, the standard error of each entry of `sum_sq`, f32).
  """
  spec = spec._replace(estimator="signs", with_error=True)
  sums = _accumulated(spec, model, variables, batches, **options)
  error = jax.tree.map(lambda q: jnp.sqrt(2 / 3 * q), sums.fourth)
  return Fisher(sums.count, sums.sum_sq), error


class Sums(NamedTuple):
  """What grows with every batch; a part for each device in front."""

  count: jax.Array
  sum_sq: PyTree
  fourth: PyTree  # sum of s^4 of the signs; () if not asked for


def _accumulated(
  spec, model, variables, batches, mesh=None, key=None, total=None
) -> Sums:
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
  if not isinstance(batches, Batches):
    batches = _completed(batches, mesh)
  with counting(total, "Fisher information") as advance:
    sums, _ = go_through(accumulate, sums, batches, *rest, advance=advance)
  return total_over_devices(sums)


def make_cotangents(spec: Spec) -> Cotangents:
  """Which Fisher: the cotangents c_r of one example's logits.

  Its Fisher diagonal is sum_r (J^T c_r)^2, J the Jacobian of the logits. The
  empirical Fisher has one cotangent, the gradient of the loss of the given
  label; the true one, an expectation over the labels that the model itself
  expects, has the columns of any factor S of the logits' Fisher matrix S S^T;
  the sampled one has the gradient of the loss of a drawn label.

  Raises:
    ValueError: for another kind, or a true one that has no closed form.
  """

  def gradient(logits, example, key):
    del key

    def loss(logits):
      batch = jax.tree.map(lambda x: x[None], dict(example))
      return spec.objective(logits[None], batch)[0]

    return jax.grad(loss)(logits)[None]

  factor, sample = spec.likelihood
  if spec.kind == "empirical":
    return gradient
  if spec.kind == "sampled":
    return lambda logits, example, key: gradient(
      logits, sample(key, logits, example), key
    )
  if spec.kind != "true":
    raise ValueError(
      f"kind is {spec.kind!r}: choose empirical, true or sampled."
    )
  if factor is None:
    raise ValueError(
      'This likelihood has no closed form for kind="true": choose '
      'kind="sampled".'
    )
  return lambda logits, example, key: factor(logits, example)


# Seconds over those of a training step, see docs/benchmarks.md: what a gradient
# of each example costs beyond one of their mean.
_OF_A_STEP = {"exact": 1.15, "vmap": 2.66, "signs": 1.0, "batch_mean": 1.0}


def gradients_each(spec: Spec, outputs: int, example: Batch) -> float:
  """The gradients that an example is worth, see `Cost`; K `outputs`.

  A forward pass and a backward one for each cotangent (one for all of them by
  the estimators that are no sums of squares), times what single gradients are
  dearer than their mean. `example` is any one.
  """
  backward = 1
  if spec.estimator in ("exact", "vmap"):
    found = jax.eval_shape(
      make_cotangents(spec), jnp.zeros(outputs), example, jax.random.key(0)
    )
    backward = len(found)
  passes = FORWARD + (1 - FORWARD) * backward
  return passes * _OF_A_STEP[spec.estimator]


# These are cached, so that the next call with the same arguments compiles
# nothing.
@remembered
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


def _completed(batches: Iterable[Batch], mesh: Mesh) -> Iterator[Batch]:
  """With `valid` and `id`, padded so that the devices share each batch."""
  seen = 0
  for batch in batches:
    count = len(batch["image"])
    full = {
      "valid": np.ones(count, np.float32),
      "id": np.arange(seen, seen + count, dtype=np.int32),
      **batch,
    }
    seen += count
    if count % mesh.size:
      full = jax.tree.map(lambda x: squares.padded(x, mesh.size), full)
    yield sharding.shard_batch(mesh, full)


@remembered
def make_accumulate(apply_fn: ApplyFn, spec: Spec, mesh: Mesh) -> Step:
  """(sums, params, batch_stats, key, batch) -> (sums, ()), jitted.

  Consumes (donates) the sums. The batch must be split over the mesh evenly.
  """
  add = {"signs": _add_signs, "batch_mean": _add_batch_mean}.get(
    spec.estimator, _add_squares
  )
  cotangents = make_cotangents(spec)
  microbatch = spec.microbatch
  if not microbatch and spec.estimator == "vmap":
    microbatch = 1 if mesh.devices.flat[0].platform == "cpu" else 32

  def on_device(sums, params, batch_stats, key, batch):
    def network(params, image):
      return apply_fn(params, batch_stats, image, train=False)[0]

    def add_chunk(sums, chunk):
      keys = jax.vmap(jax.random.fold_in, (None, 0))(key, chunk["id"])
      new = add(network, cotangents, spec, params, chunk, keys)
      with jax.named_scope("sums"):
        return jax.tree.map(lambda s, x: s + x[None], sums, new), ()

    count = len(batch["valid"])
    size = min(microbatch or count, count)
    if size == count:
      return add_chunk(sums, dict(batch))
    # Padding has `valid` 0.
    chunks = {n: squares.in_chunks(x, size) for n, x in batch.items()}
    return lax.scan(add_chunk, sums, chunks)

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


def _add_squares(network, cotangents, spec, params, batch, keys):
  """The sums of squares over a chunk, example by example."""

  def of_one(network, params, inputs):
    example, key = inputs
    logits, pullback = jax.vjp(lambda p: network(p, example["image"]), params)
    rows = cotangents(logits.astype(jnp.float32), example, key)
    rows = (rows * example["valid"]).astype(logits.dtype)
    if len(rows) == 1:
      return pullback(rows[0])[0]

    def add(total, row):
      return jax.tree.map(jnp.add, total, pullback(row)[0]), None

    zero = jax.tree.map(jnp.zeros_like, params)
    return lax.scan(add, zero, rows, unroll=len(rows) < 4)[0]

  summed = transform.sum_over_examples(
    lambda params, image: network(params, image[None])[0],
    of_one,
    spec.estimator,
  )
  return Sums(jnp.sum(batch["valid"]), summed(params, (batch, keys)), ())


def _add_batch_mean(network, cotangents, spec, params, batch, keys):
  """(gradient of the mean loss of the whole batch, over all devices)^2."""
  count = jnp.sum(batch["valid"])
  whole = jnp.maximum(lax.psum(count, sharding.DATA_AXIS), 1)

  def summed(rows, key):
    del key
    return jnp.sum(rows, axis=0) / whole

  gradient = _pulled_back(summed, network, cotangents, params, batch, keys)
  gradient = lax.psum(gradient, sharding.DATA_AXIS)
  # Every device has the whole square, and their parts will be added.
  devices = lax.axis_size(sharding.DATA_AXIS)
  squared = jax.tree.map(lambda g: g / devices, _squared(gradient))
  return Sums(count, squared, ())


def _add_signs(network, cotangents, spec, params, batch, keys):
  """(sum_n e_n g_n)^2 over a chunk, with its square where asked for."""

  def signed(rows, key):
    # Another key than that of a drawn label.
    key = jax.random.fold_in(key, 1)
    signs = jax.random.rademacher(key, (len(rows), 1), rows.dtype)
    return jnp.sum(signs * rows, axis=0)

  gradient = _pulled_back(signed, network, cotangents, params, batch, keys)
  second = _squared(gradient)
  fourth = _squared(second) if spec.with_error else ()
  return Sums(jnp.sum(batch["valid"]), second, fourth)


def _pulled_back(join, network, cotangents, params, batch, keys):
  """A chunk's sum of pullbacks, of each example's `join(cotangents, key)`."""

  def row(logits, example, key):
    rows = cotangents(logits.astype(jnp.float32), example, key)
    return (join(rows, key) * example["valid"]).astype(logits.dtype)

  logits, pullback = jax.vjp(lambda p: network(p, batch["image"]), params)
  return pullback(jax.vmap(row)(logits, batch, keys))[0]


def _squared(tree):
  return jax.tree.map(lambda x: jnp.square(x.astype(jnp.float32)), tree)
