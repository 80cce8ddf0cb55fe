"""Convolutions of oneDNN beside XLA's, and what is done without them."""

from importlib import metadata

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import fisher
from gzjax.models import layers, onednn
from gzjax.objectives import losses
from tests import networks

# (image, kernel, strides, padding): few channels and many, pieces of a batch
# that are not alike, channels that fill no block, edges that differ; kernels of
# fewer inputs than the image has channels are depthwise.
CASES = [
  ((4, 9, 8, 3), (3, 3, 3, 64), (1, 1), ((1, 1), (1, 1))),
  ((3, 16, 16, 64), (3, 3, 64, 128), (2, 2), ((1, 1), (1, 1))),
  ((5, 12, 10, 16), (7, 7, 16, 48), (2, 1), ((3, 2), (3, 3))),
  ((1, 8, 8, 130), (3, 3, 130, 5), (1, 1), ((0, 0), (1, 1))),
  ((2, 8, 8, 64), (3, 3, 64, 200), (1, 1), ((1, 1), (1, 1))),
  ((4, 8, 8, 80), (2, 2, 80, 160), (2, 2), ((0, 0), (0, 0))),
  ((3, 8, 8, 3), (4, 4, 3, 80), (4, 4), ((0, 0), (0, 0))),
  ((3, 9, 9, 16), (2, 2, 16, 32), (2, 2), ((0, 0), (0, 0))),
  ((5, 9, 8, 80), (7, 7, 1, 80), (1, 1), ((3, 3), (3, 3))),
  ((1, 2, 2, 40), (7, 7, 1, 40), (1, 1), ((3, 3), (3, 3))),
  ((4, 10, 11, 37), (3, 3, 1, 37), (2, 2), ((1, 1), (1, 1))),
  ((3, 9, 10, 5), (5, 5, 1, 5), (2, 1), ((2, 2), (2, 1))),
  ((3, 9, 9, 17), (2, 4, 1, 17), (2, 2), ((0, 0), (1, 0))),
]


def _native(image, kernel, strides, padding):
  return lax.conv_general_dilated(
    image,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=_groups(image, kernel),
  )


def _ours(image, kernel, strides, padding):
  groups = _groups(image, kernel)
  return onednn.conv(image, kernel, strides, padding, groups)


def _groups(image, kernel):
  return image.shape[3] // kernel.shape[2]


def _some(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


def _assert_equal(found, expected, share=1e-4):
  for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    assert x.shape == y.shape
    np.testing.assert_allclose(x, y, atol=share * float(jnp.max(jnp.abs(y))))


def _value(conv, strides, padding):
  return lambda x, k: jnp.sum(jnp.sin(conv(x, k, strides, padding)))


@pytest.mark.oracle
@pytest.mark.parametrize(("image", "kernel", "strides", "padding"), CASES)
def test_it_equals_xlas(onednn_built, image, kernel, strides, padding):
  x, k = _some(image, kernel)
  ours, theirs = (_value(f, strides, padding) for f in (_ours, _native))

  def derivatives(f):
    gradient = jax.grad(f, (0, 1))
    return f(x, k), gradient(x, k), jax.jvp(gradient, (x, k), (x, k))

  found, expected = (
    jax.jit(derivatives, static_argnums=0)(f) for f in (ours, theirs)
  )
  _assert_equal(found, expected)


@pytest.mark.oracle
@pytest.mark.parametrize(("image", "kernel", "strides", "padding"), CASES)
def test_batches_of_all_of_it(onednn_built, image, kernel, strides, padding):
  x, k = _some((3, *image), kernel)
  several = jnp.stack([k, 2 * k, -k])

  def ways(conv):
    f = _value(conv, strides, padding)
    return (
      jax.vmap(lambda x: conv(x, k, strides, padding), 0, 1)(x),
      jax.vmap(lambda k: conv(x[0], k, strides, padding), 0, 1)(several),
      jax.vmap(lambda x, k: conv(x, k, strides, padding))(x, several),
      jax.vmap(jax.grad(f, (0, 1)), (0, None))(x, k),
      jax.vmap(jax.grad(f, (0, 1)))(x, several),
    )

  _assert_equal(*(jax.jit(ways, static_argnums=0)(f) for f in (_ours, _native)))


@pytest.mark.oracle
@pytest.mark.parametrize(("image", "kernel", "strides", "padding"), CASES)
@pytest.mark.parametrize("images", [1, 2])
def test_squares_equal_a_loop(
  onednn_built, image, kernel, strides, padding, images
):
  count, *rest = image
  x, k = _some((count, images, *rest), kernel)

  def output(x, k):
    return _native(x, k, strides, padding)

  delta = jnp.sin(jax.vmap(output, (0, None))(x, k))
  groups = _groups(x[0], k)
  found = onednn.sum_of_squares(x, delta, kernel, strides, padding, groups)
  expected = np.zeros(kernel)
  for one, cotangent in zip(x, delta, strict=True):
    (gradient,) = jax.vjp(lambda k, x=one: output(x, k), k)[1](cotangent)
    expected += np.square(np.asarray(gradient, np.float64))
  _assert_equal(found, expected)


@pytest.mark.oracle
@pytest.mark.parametrize(
  ("kernel", "groups", "padding", "message"),
  [((3, 3, 6, 6), 1, -1, "cropped"), ((3, 3, 3, 6), 2, 1, "several channels")],
)
def test_what_it_cannot_do_is_said(
  onednn_built, kernel, groups, padding, message
):
  x, k = _some((2, 8, 8, 6), kernel)
  with pytest.raises(jax.errors.JaxRuntimeError, match=message):
    onednn.conv(x, k, (1, 1), [(padding, 1)] * 2, groups).block_until_ready()


@pytest.mark.oracle
def test_a_network_and_its_fisher_are_the_same(onednn_built, monkeypatch):
  expected = _logits_and_fisher("native")
  _assert_equal(_logits_and_fisher("onednn"), expected)
  # And where it is what "auto" means: then squares are oneDNN's, too.
  monkeypatch.setattr(layers, "has_onednn", lambda float32: float32)
  _assert_equal(_logits_and_fisher("auto"), expected)


def _logits_and_fisher(form):
  apply_fn, params, stats = networks.tiny(conv_form=form)
  rng = np.random.default_rng(0)
  count, size = 6, 16
  batch = {
    "image": jnp.asarray(rng.normal(size=(count, size, size, 3)), jnp.float32),
    "label": jnp.asarray(rng.integers(3, size=count), jnp.int32),
    "valid": jnp.ones(count),
    "id": jnp.arange(count),
  }
  logits, _ = apply_fn(params, stats, batch["image"], train=False)

  def loss(params, example):
    one = {key: x[None] for key, x in example.items()}
    logits, _ = apply_fn(params, stats, one["image"], train=False)
    return losses.cross_entropy(logits, one)[0]

  return logits, jax.jit(fisher.square_grad(loss))(params, batch)


@pytest.mark.oracle
def test_what_cannot_be_built_is_said_and_left(
  onednn_built, monkeypatch, tmp_path, capsys
):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setenv("CXX", "false")
  assert not onednn.is_available.__wrapped__()
  assert "cannot be built and is not used" in capsys.readouterr().err
  assert [*tmp_path.rglob("*.so")] == []


def test_without_the_extra_it_is_not_there(monkeypatch):
  def missing(name):
    raise metadata.PackageNotFoundError(name)

  monkeypatch.setattr(metadata, "files", missing)
  assert not onednn.is_available.__wrapped__()
