"""`square_grad` against a float64 loop, over every use of a parameter."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import fisher
from gzjax.fisher import squares, transform
from gzjax.models import layers
from tests.fisher import truth

_SHAPE = (9, 11, 6)  # odd, and not square


class _Places(nn.Module):
  @nn.compact
  def __call__(self, x):
    return x + self.param("place", nn.initializers.normal(), x.shape[1:])[None]


class _KernelFirst(nn.Module):
  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", nn.initializers.normal(1.0), (4, 5, 6))
    return jnp.einsum("oqc,bhwc->boqhw", kernel, x)


class _BatchedProduct(nn.Module):
  """A matrix for each column of the image."""

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", nn.initializers.normal(1.0), (11, 6, 2))
    return jnp.einsum("bhwc,wcd->bhwd", x, kernel)


class _Jitted(nn.Module):
  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", nn.initializers.normal(1.0), (6, 4))
    return jax.jit(lambda x, k: x @ k)(x, kernel)


class _Standardised(nn.Module):
  """A kernel times a fixed mask: elementwise, then in a product."""

  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", nn.initializers.normal(1.0), (6, 4))
    return x @ (kernel * jnp.arange(4.0)[None])


LAYERS = {
  "conv 3x3": nn.Conv(5, (3, 3)),
  "conv 3x3 explicit padding": nn.Conv(5, (3, 3), padding=[(1, 1), (1, 1)]),
  "conv 3x3 stride 2": nn.Conv(5, (3, 3), (2, 2), padding=[(1, 1), (1, 1)]),
  "conv 3x2 stride 2x3 valid": nn.Conv(5, (3, 2), (2, 3), padding="VALID"),
  "conv 7x7 stride 2": nn.Conv(5, (7, 7), (2, 2), padding=[(3, 3), (3, 3)]),
  "conv 1x1": nn.Conv(5, (1, 1)),
  "conv 1x1 stride 2": nn.Conv(5, (1, 1), (2, 2)),
  "conv to 2x2": nn.Conv(5, (5, 5), (5, 6), padding="SAME"),
  "conv to 1x1": nn.Conv(5, (9, 11), padding="VALID"),
  "conv dilated": nn.Conv(5, (3, 3), kernel_dilation=(2, 3)),
  "conv cropped": nn.Conv(5, (3, 3), padding=[(-1, 0), (0, -1)]),
  "conv without bias": nn.Conv(5, (3, 3), use_bias=False),
  "conv grouped": nn.Conv(8, (3, 3), feature_group_count=2),
  "conv grouped strided": nn.Conv(
    9, (3, 3), (2, 2), feature_group_count=3, padding=[(1, 1), (1, 1)]
  ),
  "conv depthwise": nn.Conv(6, (5, 3), feature_group_count=6),
  "conv depthwise dilated": nn.Conv(
    6, (3, 3), feature_group_count=6, kernel_dilation=(2, 1)
  ),
  "conv depthwise multiplied": nn.Conv(12, (3, 3), feature_group_count=6),
  "conv transposed": nn.ConvTranspose(5, (3, 3), (2, 2)),
  "conv one-dimensional": nn.Conv(5, (3,)),
  "dense": nn.Dense(4),
  "dense general": nn.DenseGeneral((2, 3), axis=(-1, -3)),
  "kernel first": _KernelFirst(),
  "batched product": _BatchedProduct(),
  "jitted": _Jitted(),
  "masked": _Standardised(),
  "attention": nn.Sequential(
    [lambda x: x.reshape(1, -1, 6), nn.MultiHeadDotProductAttention(2)]
  ),
  "batch norm": nn.BatchNorm(use_running_average=True),
  "layer norm": nn.LayerNorm(),
  "group norm": nn.GroupNorm(3),
  "rms norm": nn.RMSNorm(),
  "instance norm": nn.InstanceNorm(),
  "prelu": nn.Sequential([nn.PReLU(), nn.Dense(2)]),
  "places": _Places(),
  "rematerialised": nn.remat(nn.Conv)(5, (3, 3)),
  "max pool": nn.Sequential(
    [nn.Conv(4, (3, 3)), lambda x: nn.max_pool(x, (3, 3), (2, 2))]
  ),
}


def _problem(layer, count=5):
  """(loss, params, examples); the loss looks at every output of the layer."""
  rng = np.random.default_rng(3)
  examples = {
    "image": rng.normal(size=(count, *_SHAPE)).astype(np.float32),
    "phase": rng.normal(size=count).astype(np.float32),
  }
  variables = jax.device_get(
    jax.jit(layer.init)(jax.random.key(0), np.zeros((1, *_SHAPE), np.float32))
  )
  # Biases and scales away from 0 and 1.
  params = jax.tree.map(
    lambda p: (p + 0.2 * rng.normal(size=p.shape)).astype(np.float32),
    variables["params"],
  )
  rest = {k: v for k, v in variables.items() if k != "params"}

  def loss(params, example):
    y = layer.apply({"params": params, **rest}, example["image"][None])
    weight = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)
    return jnp.sum(weight * jnp.sin(y + example["phase"]))

  return loss, params, examples


@pytest.mark.parametrize("name", LAYERS)
def test_equals_a_float64_loop(name, monkeypatch):
  loss, params, examples = _problem(LAYERS[name])
  wanted = truth.sum_of_squares(loss, params, examples)
  for platform in squares.STRATEGIES:
    monkeypatch.setitem(squares.STRATEGIES, "cpu", squares.STRATEGIES[platform])
    got = jax.jit(fisher.square_grad(loss))(params, examples)
    assert truth.relative_error(got, wanted) < 1e-5, platform
    assert all(np.all(np.asarray(f) >= 0) for f in jax.tree.leaves(got))


@pytest.mark.oracle
@pytest.mark.parametrize("name", LAYERS)
def test_onednns_squares_equal_a_float64_loop(onednn_built, name, monkeypatch):
  monkeypatch.setattr(layers, "has_onednn", lambda float32: float32)
  loss, params, examples = _problem(LAYERS[name])
  got = jax.jit(fisher.square_grad(loss))(params, examples)
  wanted = truth.sum_of_squares(loss, params, examples)
  assert truth.relative_error(got, wanted) < 1e-5


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("name", ["conv 3x3", "conv to 2x2", "conv depthwise"])
def test_chunks_of_any_size(name, count, monkeypatch):
  small = squares.Strategy(8, 2**12, 2**14, 2, 2**14)  # a few examples each
  monkeypatch.setitem(squares.STRATEGIES, "cpu", small)
  loss, params, examples = _problem(LAYERS[name], count)
  got = jax.jit(fisher.square_grad(loss))(params, examples)
  wanted = truth.sum_of_squares(loss, params, examples)
  assert truth.relative_error(got, wanted) < 1e-5


@pytest.mark.parametrize("name", ["conv 3x3", "attention", "layer norm"])
def test_vmap_equals_a_float64_loop(name):
  loss, params, examples = _problem(LAYERS[name])
  got = jax.jit(fisher.square_grad(loss, "vmap"))(params, examples)
  wanted = truth.sum_of_squares(loss, params, examples)
  assert truth.relative_error(got, wanted) < 1e-5


def test_half_precision_parameters_give_float32_squares():
  loss, params, examples = _problem(LAYERS["conv 3x3"])
  half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
  examples = jax.tree.map(lambda x: x.astype(jnp.bfloat16), examples)
  got = jax.jit(fisher.square_grad(loss))(half, examples)
  assert all(f.dtype == jnp.float32 for f in jax.tree.leaves(got))
  wanted = truth.sum_of_squares(loss, half, examples)
  assert truth.relative_error(got, wanted) < 0.1


class _Tied(nn.Module):
  @nn.compact
  def __call__(self, x):
    shared = nn.Dense(6, name="shared")
    return shared(nn.relu(shared(x)))


class _Embedding(nn.Module):
  @nn.compact
  def __call__(self, x):
    codes = jnp.clip(jnp.round(x[..., 0]), 0, 3).astype(jnp.int32)
    return nn.Embed(4, 6, name="codes")(codes)


class _WeightNorm(nn.Module):
  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", nn.initializers.normal(1.0), (6, 4))
    return x @ (kernel / jnp.linalg.norm(kernel))


class _Scanned(nn.Module):
  @nn.compact
  def __call__(self, x):
    kernels = self.param("kernels", nn.initializers.normal(1.0), (2, 6, 6))
    return jax.lax.scan(lambda x, k: (x @ k, None), x, kernels)[0]


class _TiedScale(nn.Module):
  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, (6,))
    return jnp.tanh(x * scale[None, None, None]) * scale[None, None, None]


@pytest.mark.parametrize(
  "layer, words",
  [
    (_Tied(), ["shared/kernel", "twice"]),
    (_TiedScale(), ["scale", "twice"]),
    (_Embedding(), ["codes/embedding"]),
    (_WeightNorm(), ["kernel"]),
    (_Scanned(), ["kernels", "scan"]),
  ],
  ids=lambda value: type(value).__name__,
)
def test_names_a_parameter_that_it_has_no_rule_for(layer, words):
  loss, params, examples = _problem(layer)
  with pytest.raises(fisher.UnknownUseError) as error:
    fisher.square_grad(loss)(params, examples)
  for word in (*words, 'estimator="vmap"'):
    assert word in str(error.value)
  # And what it advises works.
  got = jax.jit(fisher.square_grad(loss, "vmap"))(params, examples)
  wanted = truth.sum_of_squares(loss, params, examples)
  assert truth.relative_error(got, wanted) < 1e-5


def test_a_parameter_returned_is_not_a_number_made_of_it():
  with pytest.raises(fisher.UnknownUseError, match="'a'"):
    transform.square_kernels(lambda p: p["a"])(1.0, {"a": jnp.ones(3)})


def test_a_parameter_that_is_not_used_has_no_information():
  loss, params, examples = _problem(LAYERS["dense"])
  params["unused"] = jnp.ones((2, 3))

  def partial_loss(params, example):
    used = {k: v for k, v in params.items() if k != "unused"}
    return loss(used, example)

  got = jax.jit(fisher.square_grad(partial_loss))(params, examples)
  np.testing.assert_array_equal(got["unused"], 0)


@pytest.mark.parametrize("estimator", ["exact", "vmap"])
def test_a_gradient_that_no_example_changes_counts_for_each(estimator):
  params = {"bias": np.ones(2, np.float32), "kernel": np.ones((3, 2), "f")}
  examples = np.zeros((5, 3), np.float32)

  def loss(params, example):
    constant = jnp.ones((1, 3)) @ params["kernel"]
    return jnp.sum(example) + jnp.sum(constant + params["bias"][None])

  got = jax.jit(fisher.square_grad(loss, estimator))(params, examples)
  np.testing.assert_array_equal(got["bias"], 5)
  np.testing.assert_array_equal(got["kernel"], 5)


def test_ordinary_gradients_are_left_alone():
  """A jitted function that was rewritten must not remember the squares."""
  loss, params, examples = _problem(LAYERS["conv 3x3"])
  loss = jax.jit(loss)
  one = jax.tree.map(lambda x: x[0], examples)
  before = jax.grad(loss)(params, one)
  jax.jit(fisher.square_grad(loss))(params, examples)
  after = jax.grad(loss)(params, one)
  jax.tree.map(np.testing.assert_array_equal, before, after)


def test_an_unknown_estimator_is_named():
  with pytest.raises(ValueError, match="approximate"):
    fisher.square_grad(lambda p, e: 0.0, "approximate")
