"""The small CNN against PyTorch, and side by side against alone."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import models
from tests import networks

LAYERS = ("conv1", "conv2", "conv3", "head_hidden", "head")
# Logits of networks side by side.
NETWORKS = (2, 4, 3)
SIZE = 21


def _shapes(model, size=SIZE):
  image = jnp.zeros((1, size, size, 3))
  init = functools.partial(model.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), image)


def _network(size=SIZE, **options):
  """(apply_fn, params) of a narrow network; none of its parameters is 0."""
  model = models.MODELS["cnn"](**{"width": 0.25, **options})
  variables = _shapes(model, size)
  assert list(variables) == ["params"]
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda p: 0.2 * rng.normal(size=p.shape).astype(p.dtype),
    variables["params"],
  )
  apply_fn = jax.jit(models.make_apply_fn(model), static_argnames="train")
  return apply_fn, params


def _images(count=4, size=SIZE):
  rng = np.random.default_rng(1)
  return rng.normal(size=(count, size, size, 3)).astype(np.float32)


def _logits(network, image, **mode):
  apply_fn, params = network
  return apply_fn(params, {}, image, **{"train": False, **mode})[0]


def _side_by_side(**options):
  return _network(num_classes=sum(NETWORKS), networks=NETWORKS, **options)


def _alone(params, i):
  """The parameters of a network by those of all."""
  return {layer: params[layer][f"net{i}"] for layer in params}


def _peer(params, size):
  """The network of these parameters in PyTorch, and its classifier."""
  import torch
  from torch import nn

  channels = [3, *(params[f"conv{i}"]["bias"].size for i in (1, 2, 3))]
  blocks = [
    nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    for a, b in itertools.pairwise(channels)
  ]
  edge = size // 2 // 2 // 2
  hidden, outputs = (params[name]["bias"].size for name in LAYERS[3:])
  peer = nn.Sequential(
    *blocks,
    nn.Flatten(),
    nn.Linear(edge * edge * channels[-1], hidden),
    nn.ReLU(),
    nn.Linear(hidden, outputs),
  )
  kernels = [params[name]["kernel"] for name in LAYERS]
  # PyTorch flattens the channels first.
  first_dense = kernels[3].reshape(edge, edge, channels[-1], hidden)
  weights = [
    *(kernel.transpose(3, 2, 0, 1) for kernel in kernels[:3]),
    first_dense.transpose(3, 2, 0, 1).reshape(hidden, -1),
    kernels[4].T,
  ]
  with torch.no_grad():
    for i, parameter in enumerate(peer.parameters()):
      value = params[LAYERS[i // 2]]["bias"] if i % 2 else weights[i // 2]
      parameter.copy_(torch.tensor(np.array(value)))
  return peer


@pytest.mark.oracle
@pytest.mark.parametrize("size", [8, 31, 64])
def test_logits_and_gradients_equal_pytorch(size):
  torch = pytest.importorskip("torch")
  apply_fn, params = _network(size, num_classes=3, width=0.5)
  peer, image = _peer(params, size), _images(size=size)
  logits = peer(torch.tensor(image).permute(0, 3, 1, 2))
  wanted = logits.detach().numpy()
  got = _logits((apply_fn, params), image)
  np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())

  (logits**2).sum().backward()
  grads = jax.grad(
    lambda p: jnp.sum(_logits((apply_fn, p), image, train=True) ** 2)
  )(params)
  for layer, convolution in (("conv1", peer[0][0]), ("conv3", peer[2][0])):
    wanted = convolution.weight.grad.permute(2, 3, 1, 0).numpy()
    np.testing.assert_allclose(
      grads[layer]["kernel"], wanted, atol=1e-5 * np.abs(wanted).max()
    )


@pytest.mark.parametrize(("size", "edge"), [(64, 8), (47, 5), (8, 1)])
def test_parameter_count(size, edge):
  params = _shapes(models.MODELS["cnn"](num_classes=4), size)["params"]
  wanted = (
    (9 * 3 + 1) * 32
    + (9 * 32 + 1) * 64
    + (9 * 64 + 1) * 128
    + (edge * edge * 128 + 1) * 128
    + (128 + 1) * 4
  )
  assert sum(p.size for p in jax.tree.leaves(params)) == wanted


def test_width_scales_all_channels():
  _, params = _network(num_classes=3, width=0.3, hidden=50)
  sizes = [params[layer]["bias"].size for layer in LAYERS]
  assert sizes == [10, 19, 38, 15, 3]
  _, params = _network(num_classes=3, width=0.01, hidden=10)
  assert [params[layer]["bias"].size for layer in LAYERS] == [1, 1, 1, 1, 3]


@pytest.mark.parametrize(
  "options", [{"num_classes": 3}, {"num_classes": 9, "networks": NETWORKS}]
)
def test_layers_in_the_order_of_their_depth(options):
  _, params = _network(**options)
  assert models.depth_order(params) == LAYERS


@pytest.mark.parametrize(
  "options", [{"num_classes": 3}, {"num_classes": 9, "networks": NETWORKS}]
)
def test_dropout_needs_training_and_a_key(options):
  network, image = _network(**options), _images()
  plain, _ = _network(**options, dropout=0.0)
  networks.check_randomness(
    lambda **mode: _logits(network, image, **mode),
    _logits((plain, network[1]), image, train=True),
  )


def test_dropout_is_before_both_dense_layers():
  """Without the one at the logits, those of a zero head are its bias."""
  apply_fn, params = _network(num_classes=3, dropout=0.4)
  key = jax.random.key(3)
  hidden = params["head_hidden"]["bias"].size
  ones = jnp.ones_like(params["head_hidden"]["bias"])
  # All inputs of the head are 1: only its own dropout is seen.
  flat = params | {
    "head_hidden": {
      "kernel": jnp.zeros_like(params["head_hidden"]["kernel"]),
      "bias": ones,
    },
    "head": {"kernel": jnp.ones((hidden, 3)), "bias": jnp.zeros(3)},
  }
  image = _images(200)
  sums = _logits((apply_fn, flat), image, train=True, key=key)[:, 0]
  kept = np.asarray(sums) * 0.6 / hidden
  assert abs(kept.mean() - 0.6) < 4 * np.sqrt(0.24 / (200 * hidden))
  # All inputs of the hidden layer are 1, and its outputs above 0.
  inputs = len(params["head_hidden"]["kernel"])
  constant = jax.tree.map(jnp.zeros_like, params["conv3"])
  first = flat | {
    "conv3": constant | {"bias": jnp.ones_like(constant["bias"])},
    "head_hidden": {"kernel": jnp.ones((inputs, hidden)), "bias": 0 * ones},
  }
  logits = _logits((apply_fn, first), image, train=True, key=key)[:, 0]
  kept = np.asarray(logits / sums) * 0.6 / inputs
  assert abs(kept.mean() - 0.6) < 4 * np.sqrt(0.24 / (200 * inputs))
  assert np.ptp(kept) > 0


def test_networks_side_by_side_are_those_alone():
  network, image = _side_by_side(), _images()
  separate = [
    _logits((_network(num_classes=k)[0], _alone(network[1], i)), image)
    for i, k in enumerate(NETWORKS)
  ]
  got = _logits(network, image)
  assert got.shape == (4, sum(NETWORKS))
  np.testing.assert_array_equal(got, np.concatenate(separate, axis=-1))


def test_networks_side_by_side_share_nothing():
  (apply_fn, params), image = _side_by_side(), _images()
  ends = np.cumsum(NETWORKS)
  for i, end in enumerate(ends):
    own = slice(end - NETWORKS[i], end)
    grads = jax.grad(
      lambda p, own=own: jnp.sum(_logits((apply_fn, p), image)[:, own])
    )(params)
    for j in range(len(NETWORKS)):
      for gradient in jax.tree.leaves(_alone(grads, j)):
        assert np.any(gradient != 0) == (i == j)


def test_networks_side_by_side_start_each_on_its_own():
  model = models.MODELS["cnn"](num_classes=6, networks=(3, 3), width=0.1)
  params, _ = models.init_variables(model, jax.random.key(0), 8)
  for layer in LAYERS:
    one, two = (params[layer][name]["kernel"] for name in ("net0", "net1"))
    assert np.all(one != two)


def test_networks_side_by_side_drop_each_on_its_own():
  (apply_fn, params), image = (
    _network(num_classes=6, networks=(3, 3)),
    _images(),
  )
  twins = {
    layer: dict.fromkeys(params[layer], params[layer]["net0"])
    for layer in params
  }

  def logits(**mode):
    return np.split(_logits((apply_fn, twins), image, **mode), 2, axis=-1)

  np.testing.assert_array_equal(*logits())
  one, two = logits(train=True, key=jax.random.key(0))
  assert np.all(np.any(one != two, axis=-1))


def test_networks_must_have_as_many_logits_as_there_are():
  with pytest.raises(ValueError, match=r"\(2, 4, 3\) do not sum to 8"):
    _network(num_classes=8, networks=NETWORKS)


def test_bfloat16_computes_near_float32_with_float32_parameters():
  network, image = _network(num_classes=3), _images()
  half, params = _network(num_classes=3, dtype=jnp.bfloat16)
  assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("f4")}
  wanted = _logits(network, image)
  got = _logits((half, network[1]), image)
  assert got.dtype == jnp.float32
  assert 0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()
