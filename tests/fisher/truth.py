"""The Fisher diagonal as its definition says: a loop in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from gzjax.objectives import losses


def loss_of_one(apply_fn, batch_stats, objective=losses.cross_entropy):
  """(params, example) -> f[], of a network on stored statistics."""

  def loss(params, example):
    batch = jax.tree.map(lambda x: x[None], dict(example))
    logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
    return objective(logits, batch)[0]

  return loss


def in_float64(tree):
  """NumPy copies; floating-point numbers get 64 bits."""

  def convert(x):
    x = np.asarray(x)
    is_float = jnp.issubdtype(x.dtype, jnp.floating)
    return x.astype(np.float64) if is_float else x

  return jax.tree.map(convert, tree)


def sum_of_squares(loss, params, examples):
  """sum_n (d loss(params, example_n) / d params)^2, f64.

  Args:
    loss: (params, example) -> f[].
    params: any tree.
    examples: a tree of arrays [N,...]; those of `valid` 0 are left out.
  """
  params, examples = in_float64((params, examples))
  valid = examples.get("valid", np.ones(len(jax.tree.leaves(examples)[0])))
  total = jax.tree.map(np.zeros_like, params)
  with jax.enable_x64(True):
    gradient = jax.jit(jax.grad(loss))
    for n in np.flatnonzero(valid):
      one = jax.tree.map(lambda x, n=n: x[n], examples)
      total = jax.tree.map(
        lambda t, g: t + np.asarray(g) ** 2, total, gradient(params, one)
      )
  return total


def relative_error(got, wanted):
  """The largest difference in each tensor over its largest entry.

  A tensor that has no influence at all (the bias of attention's keys) is 0 in
  exact numbers and rounding errors squared in float32, so no tensor is measured
  finer than 1e-6 of the largest entry of all.
  """
  got, wanted = jax.device_get((got, wanted))
  assert jax.tree.structure(got) == jax.tree.structure(wanted)
  largest = max(np.abs(w).max() for w in jax.tree.leaves(wanted))
  return max(
    np.abs(g - w).max() / max(np.abs(w).max(), 1e-6 * largest)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True)
  )
