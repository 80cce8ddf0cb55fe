"""BatchNorm with a gradient written by hand."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp


class BatchNorm(nn.Module):
  """`nn.BatchNorm` over all axes but the last, with the same variables.

  The values are the same; the gradient goes through the images twice, where
  autodiff keeps a centred copy and goes through it as well. `dtype` is that of
  the result; statistics are float32.
  """

  use_running_average: bool
  epsilon: float
  momentum: float = 0.9  # which torch calls 0.1
  dtype: Any = None
  scale_init: nn.initializers.Initializer = nn.initializers.ones

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """f[B,...,C] -> f[B,...,C]."""
    size = x.shape[-1:]
    mean = self.variable("batch_stats", "mean", jnp.zeros, size, jnp.float32)
    var = self.variable("batch_stats", "var", jnp.ones, size, jnp.float32)
    scale = self.param("scale", self.scale_init, size, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, size, jnp.float32)
    dtype = self.dtype or jnp.result_type(x, scale)
    if self.use_running_average:
      y = _scaled(x, mean.value, var.value, scale, bias, self.epsilon)
      return y.astype(dtype)
    y, *found = normalise(x, scale, bias, self.epsilon)
    if not self.is_initializing():
      for stored, new in zip((mean, var), found, strict=True):
        moved = (1 - self.momentum) * lax.stop_gradient(new)
        stored.value = self.momentum * stored.value + moved
    return y.astype(dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """By the statistics of the batch (Ioffe & Szegedy 2015), and these.

  f[B,...,C], f32[C] and f32[C] -> f32[B,...,C], mean f32[C], variance f32[C].
  The variance is the mean square less the squared mean, at least 0. No gradient
  goes through the statistics that are returned.
  """
  return _forward(x, scale, bias, epsilon)[0]


def _scaled(x, mean, var, scale, bias, epsilon):
  shape = (1,) * (x.ndim - 1) + (-1,)
  mean, factor, bias = (
    value.reshape(shape)
    for value in (mean, lax.rsqrt(var + epsilon) * scale, bias)
  )
  return (x - mean) * factor + bias


def _forward(x, scale, bias, epsilon):
  axes = tuple(range(x.ndim - 1))
  values = x.astype(jnp.float32)
  mean, square = (jnp.mean(v, axes) for v in (values, jnp.square(values)))
  var = jnp.maximum(0.0, square - jnp.square(mean))
  y = _scaled(values, mean, var, scale, bias, epsilon)
  return (y, mean, var), (x, mean, var, scale)


def _backward(epsilon, residuals, cotangents):
  """Equations of section 3 of Ioffe & Szegedy, put together."""
  x, mean, var, scale = residuals
  delta, *_ = cotangents
  axes = tuple(range(x.ndim - 1))
  shape = (1,) * len(axes) + (-1,)
  count = x.size // x.shape[-1]
  centred = x.astype(jnp.float32) - mean.reshape(shape)
  of_bias, product = (jnp.sum(v, axes) for v in (delta, delta * centred))
  inverse = lax.rsqrt(var + epsilon)
  # Where all values are the same, none moves the variance.
  slope = jnp.where(var > 0, jnp.square(inverse) * product / count, 0)
  constant = (of_bias / count).reshape(shape)
  inner = delta - constant - centred * slope.reshape(shape)
  of_x = inner * (inverse * scale).reshape(shape)
  return of_x.astype(x.dtype), product * inverse, of_bias


normalise.defvjp(_forward, _backward)
