"""The Fisher diagonal against a loop over single examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import fisher, losses, sharding
from tests import networks


def _loop(apply_fn, params, batch_stats, batch):
  """Sum of squared gradients, one example and one device at a time."""

  @jax.jit
  def gradient(params, one):
    def loss(params):
      logits, _ = apply_fn(params, batch_stats, one["image"], train=False)
      return losses.cross_entropy(logits, one)[0]

    return jax.grad(loss)(params)

  total = jax.tree.map(lambda p: np.zeros(p.shape), params)
  for i in np.flatnonzero(batch["valid"]):
    one = {name: value[i : i + 1] for name, value in batch.items()}
    total = jax.tree.map(
      lambda t, g: t + np.asarray(g, np.float64) ** 2,
      total,
      gradient(params, one),
    )
  return total


def _compute(mesh, batches, params, stats, apply_fn, microbatch=2):
  params, stats = sharding.replicate(mesh, (params, stats))
  return fisher.fisher_diagonal(
    apply_fn,
    losses.cross_entropy,
    params,
    stats,
    [sharding.shard_batch(mesh, batch) for batch in batches],
    mesh=mesh,
    microbatch=microbatch,
    total=len(batches),
  )


def _assert_close(got, wanted, tolerance=1e-5):
  for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
    w = np.asarray(w)
    np.testing.assert_allclose(g, w, rtol=0, atol=tolerance * w.max() + 1e-30)


@pytest.mark.parametrize("form", ["native", "dot"])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_equals_a_loop_with_convolutions(devices, form):
  mesh = sharding.make_mesh(jax.devices()[:devices])
  apply_fn, params, stats = networks.tiny(conv_form=form)
  batches = [networks.batch(16), networks.batch(16, padding=5, seed=1)]
  got = _compute(mesh, batches, params, stats, apply_fn)
  wanted = jax.tree.map(
    np.add, *(_loop(apply_fn, params, stats, batch) for batch in batches)
  )
  assert got.count == 27
  _assert_close(got.sum_sq, wanted)


def test_naive_sharded_form_is_wrong_which_is_why_we_use_shard_map(mesh):
  """The trap that the module avoids; remove the module's care if it passes."""
  apply_fn, params, stats = networks.tiny(conv_form="native")
  batch = networks.batch(16)
  sharded = sharding.shard_batch(mesh, batch)
  replicated = sharding.replicate(mesh, (params, stats))

  @jax.jit
  def naive(params, stats, batch):
    def loss(params, one):
      one = jax.tree.map(lambda x: x[None], one)
      logits, _ = apply_fn(params, stats, one["image"], train=False)
      return losses.cross_entropy(logits, one)[0]

    grads = jax.vmap(jax.grad(loss), (None, 0))(params, batch)
    return jax.tree.map(lambda g: jnp.sum(g**2, axis=0), grads)

  got = naive(*replicated, sharded)["stage1_block1"]["conv1"]["kernel"]
  wanted = _loop(apply_fn, params, stats, batch)
  wanted = wanted["stage1_block1"]["conv1"]["kernel"]
  assert np.abs(got - wanted).max() > 0.1 * wanted.max()


def test_does_not_depend_on_the_microbatch(mesh):
  apply_fn, params, stats = networks.tiny(conv_form="dot")
  batches = [networks.batch(24)]
  results = [
    _compute(mesh, batches, params, stats, apply_fn, microbatch)
    for microbatch in (0, 1, 2, 3, 100)
  ]
  for other in results[1:]:
    _assert_close(other.sum_sq, results[0].sum_sq)
    assert other.count == 24


def test_merge_of_parts_is_the_fisher_of_the_whole(mesh):
  apply_fn, params, stats = networks.tiny(conv_form="dot")
  one, two = networks.batch(8), networks.batch(8, seed=1)
  parts = [_compute(mesh, [b], params, stats, apply_fn) for b in (one, two)]
  whole = _compute(mesh, [one, two], params, stats, apply_fn)
  merged = fisher.merge(*parts)
  assert merged.count == whole.count == 16
  _assert_close(merged.sum_sq, whole.sum_sq)
  _assert_close(
    fisher.mean(whole), jax.tree.map(lambda s: s / 16, whole.sum_sq)
  )


def test_no_valid_example_is_zero_not_nan(mesh):
  apply_fn, params, stats = networks.tiny(conv_form="dot")
  got = _compute(mesh, [networks.batch(8, padding=8)], params, stats, apply_fn)
  assert got.count == 0
  for value in jax.tree.leaves(fisher.mean(got)):
    np.testing.assert_array_equal(value, 0)


def test_result_is_replicated(mesh):
  apply_fn, params, stats = networks.tiny(conv_form="dot")
  got = _compute(mesh, [networks.batch(8)], params, stats, apply_fn)
  assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(got))
