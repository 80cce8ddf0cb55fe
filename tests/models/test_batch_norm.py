"""BatchNorm beside that of flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax.models import batch_norm


def _pair(train, dtype):
  how = {"epsilon": 1e-3, "momentum": 0.9, "dtype": dtype}
  return (
    batch_norm.BatchNorm(use_running_average=not train, **how),
    nn.BatchNorm(use_running_average=not train, **how),
  )


def _variables(module, x):
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda v: v + rng.random(v.shape, np.float32),
    module.init(jax.random.key(0), x),
  )


def _everything(module, variables, x, delta):
  """Output, new statistics and the gradient of parameters and images."""

  def value(params, x):
    y, moved = module.apply(
      {**variables, "params": params}, x, mutable="batch_stats"
    )
    return jnp.sum((y * delta).astype(jnp.float32)), (y, moved)

  both = jax.value_and_grad(value, (0, 1), has_aux=True)
  return jax.jit(both)(variables["params"], x)


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (8, 7), (1, 2, 1, 2)])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_is_flaxs(shape, train, dtype):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(1, 3, shape), dtype)
  delta = jnp.asarray(rng.normal(size=shape), dtype)
  ours, flaxs = _pair(train, jnp.dtype(dtype))
  variables = _variables(flaxs, x)
  found = _everything(ours, variables, x, delta)
  expected = _everything(flaxs, variables, x, delta)
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  share = 2e-6 if dtype == "float32" else 2e-2
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    assert a.dtype == b.dtype
    a, b = (np.asarray(v, np.float64) for v in (a, b))
    np.testing.assert_allclose(a, b, atol=share * (1 + np.abs(b).max()))


def test_its_gradient_is_that_of_differences():
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x, delta = rng.normal(1, 2, (2, 4, 3, 2))
    scale, bias = rng.normal(size=(2, 2))

    def value(x, scale, bias):
      return jnp.sum(delta * batch_norm.normalise(x, scale, bias, 1e-3)[0])

    found = jax.grad(value, (0, 1, 2))(x, scale, bias)
    for place, point in enumerate((x, scale, bias)):
      for index in np.ndindex(point.shape):
        step = np.zeros_like(point)
        step[index] = 1e-3
        sides = []
        for sign in (1, -1):
          moved = [x, scale, bias]
          moved[place] = point + sign * step
          sides.append(float(value(*moved)))
        slope = (sides[0] - sides[1]) / 2e-3
        np.testing.assert_allclose(found[place][index], slope, atol=1e-2)


def test_a_channel_that_never_changes_has_no_slope():
  x = jnp.full((4, 2, 2, 1), 0.1)

  def value(x):
    y, *_ = batch_norm.normalise(x, jnp.ones(1), jnp.zeros(1), 1e-5)
    return jnp.sum(y * jnp.arange(16.0).reshape(x.shape))

  gradient = jax.grad(value)(x)
  assert np.isfinite(gradient).all()
  np.testing.assert_allclose(jnp.sum(gradient), 0, atol=1e-2)


def test_it_starts_as_flaxs():
  x = jnp.ones((2, 3, 3, 4))
  ours, flaxs = (m.init(jax.random.key(0), x) for m in _pair(True, None))
  assert jax.tree.structure(ours) == jax.tree.structure(flaxs)
  jax.tree.map(np.testing.assert_array_equal, ours, flaxs)
