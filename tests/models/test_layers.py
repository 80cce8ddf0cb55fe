"""All forms of a convolution give the same numbers."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax.models import layers

# size, channels in and out, kernel, stride, padding; depthwise ones have no
# channels out.
SHAPES = [
  (2, 5, 7, 3, 1, 1),
  (4, 3, 6, 3, 2, 1),
  (7, 3, 4, 3, 2, 1),
  (9, 3, 4, 7, 2, 3),
  (8, 6, 5, 1, 1, 0),
  (7, 6, 5, 1, 2, 0),
  (5, 6, None, 3, 1, 1),
  (6, 4, None, 3, 2, 1),
  (3, 5, None, 5, 1, 2),
  (9, 3, None, 7, 1, 3),
  (11, 4, None, 3, 2, 1),
]


def _run(form, image, kernel, stride, padding):
  return layers.conv2d(
    image,
    kernel,
    (stride, stride),
    [(padding, padding)] * 2,
    form=form,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=image.shape[-1] // kernel.shape[2],
  )


@pytest.mark.parametrize("form", ["dot", "auto"])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_equal_native(shape, form):
  size, inputs, outputs, kernel_size, stride, padding = shape
  rng = np.random.default_rng(0)
  image = rng.normal(size=(3, size, size, inputs)).astype(np.float32)
  channels = (inputs, outputs) if outputs else (1, inputs)
  kernel = rng.normal(size=(kernel_size, kernel_size, *channels))
  kernel = kernel.astype(np.float32)

  @partial(jax.jit, static_argnums=0)
  def both(form, image, kernel):
    def loss(image, kernel):
      out = _run(form, image, kernel, stride, padding)
      return jnp.sum(jnp.sin(out)), out

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(image, kernel)

  got, value = both(form, image, kernel)
  wanted, native = both("native", image, kernel)
  np.testing.assert_allclose(value, native, rtol=1e-4, atol=1e-4)
  for one, other in zip(got, wanted, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_other_grouped_and_dilated_convolutions_stay_native():
  image = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("f")
  out = _run("dot", image, np.ones((3, 3, 2, 4), np.float32), 1, 1)
  near = image[:, :3, :3].sum((1, 2))
  wanted = np.repeat([near[:, :2].sum(1), near[:, 2:].sum(1)], 2, axis=0).T
  np.testing.assert_allclose(out[:, 1, 1], wanted, rtol=1e-5)
  dilated = layers.conv2d(
    image,
    np.ones((3, 3, 1, 4), np.float32),
    (1, 1),
    [(2, 2), (2, 2)],
    form="dot",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=4,
    rhs_dilation=(2, 2),
  )
  wanted = image[:, :5:2, :5:2].sum((1, 2))
  np.testing.assert_allclose(dilated[:, 2, 2], wanted, rtol=1e-4)


def test_auto_takes_the_dot_form_for_tiny_maps_only():
  def convolutions(size):
    image = jnp.zeros((1, size, size, 4))
    kernel = jnp.zeros((3, 3, 4, 4))
    text = str(
      jax.make_jaxpr(lambda i, k: _run("auto", i, k, 1, 1))(image, kernel)
    )
    return text.count("conv_general_dilated")

  assert convolutions(2) == 0
  assert convolutions(16) == 1


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (2, 3)])
def test_max_pool_is_flaxs_and_has_its_gradients(size):
  """Gradients but where two pixels tie, which random ones do not."""
  image = np.random.default_rng(0).normal(size=(3, *size, 4)).astype("f")

  def loss(pool, image):
    return jnp.sum(jnp.sin(pool(image)))

  def wanted(image):
    return nn.max_pool(image, (2, 2), (2, 2))

  np.testing.assert_array_equal(layers.max_pool(image), wanted(image))
  np.testing.assert_array_equal(
    jax.grad(loss, argnums=1)(layers.max_pool, image),
    jax.grad(loss, argnums=1)(wanted, image),
  )


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 1), (2, 5)])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool_of_three_is_flaxs_and_has_its_gradients(size, ties):
  rng = np.random.default_rng(0)
  image = rng.normal(size=(3, *size, 4))
  if ties:
    image = np.maximum(np.rint(image), 0)

  def wanted(image):
    return nn.max_pool(image, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])

  image = jnp.asarray(image, jnp.float32)
  expected, of_expected = jax.vjp(wanted, image)
  found, of_found = jax.vjp(layers.max_pool_of_three, image)
  np.testing.assert_array_equal(found, expected)
  delta = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
  np.testing.assert_allclose(
    of_found(delta)[0], of_expected(delta)[0], atol=1e-6
  )


def test_gelu_is_exact_and_so_is_its_derivative():
  x = jnp.linspace(-6, 6, 101)
  np.testing.assert_allclose(
    layers.gelu(x), nn.gelu(x, approximate=False), rtol=1e-6, atol=1e-6
  )
  got, wanted = (
    jax.vmap(jax.grad(f))(x)
    for f in (layers.gelu, lambda x: nn.gelu(x, approximate=False))
  )
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
  half = layers.gelu(x.astype(jnp.bfloat16))
  assert half.dtype == jnp.bfloat16
