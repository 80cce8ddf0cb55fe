"""Per-example objectives: (logits f32[B,K], batch) -> f32[B], in nats."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax.types import Batch, Objective


def cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
  """-log p(label) of each example, f32[B]."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])


def weighted(objective: Objective, class_weights: np.ndarray) -> Objective:
  """`objective` times the weight of each example's label.

  Args:
    objective: any per-example objective.
    class_weights: f[K], see `balanced_weights` and `effective_weights`.
  """
  weights = jnp.asarray(class_weights, jnp.float32)
  return lambda logits, batch: (
    weights[batch["label"]] * objective(logits, batch)
  )


def focal(gamma: float) -> Objective:
  """-(1 - p)^gamma log p of the label (Lin et al. 2017, eq. 4).

  gamma = 0 is cross-entropy.
  """

  def objective(logits, batch):
    loss = cross_entropy(logits, batch)
    # 1 - exp(-loss) without cancellation at p near 1; the floor keeps the
    # gradient of a fractional power finite where p rounds to 1.
    miss = jnp.maximum(-jnp.expm1(-loss), jnp.finfo(loss.dtype).tiny)
    return miss**gamma * loss

  return objective


def balanced_weights(counts: np.ndarray) -> np.ndarray:
  """N / (K n_k): scikit-learn's `class_weight="balanced"`, f64[K]."""
  return counts.sum() / (len(counts) * counts)


def effective_weights(counts: np.ndarray, beta: float = 0.9999) -> np.ndarray:
  """(1 - beta) / (1 - beta^n_k) with mean 1 (Cui et al. 2019, eq. 2)."""
  weights = (1 - beta) / (1 - beta ** np.asarray(counts, np.float64))
  return weights / weights.mean()


def masked_mean(values: jax.Array, valid: jax.Array) -> jax.Array:
  """Mean over the valid examples; 0 where there are none. f32[]."""
  return jnp.sum(values * valid) / jnp.maximum(jnp.sum(valid), 1)
