"""EfficientNetV2 against torchvision's published facts.

Logits are compared with PyTorch's in test_pretrained.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import models
from gzjax.models import layers
from tests import networks

# torchvision's parameter counts with 1,000 classes.
PUBLISHED = {"efficientnetv2_s": 21_458_488, "efficientnetv2_m": 54_139_356}
SIZE = 24


def _shapes(model):
  image = jnp.zeros((1, 64, 64, 3))
  return jax.eval_shape(
    functools.partial(model.init, train=False), jax.random.key(0), image
  )


@functools.cache
def _variables():
  model = models.MODELS["efficientnetv2_tiny"](num_classes=3)
  return models.init_variables(model, jax.random.key(0), SIZE)


def _apply_fn(**options):
  model = models.MODELS["efficientnetv2_tiny"](num_classes=3, **options)
  return jax.jit(models.make_apply_fn(model), static_argnames="train")


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_torchvisions(name):
  params = _shapes(models.MODELS[name](num_classes=1000))["params"]
  assert sum(p.size for p in jax.tree.leaves(params)) == PUBLISHED[name]


def test_parameter_paths_are_public_and_in_order():
  params = _shapes(models.MODELS["efficientnetv2_s"](num_classes=3))["params"]
  first, block = params["stage1_block1"], params["stage4_block1"]
  assert list(first) == ["expand_conv", "expand_norm"]
  assert block["expand_conv"]["kernel"].shape == (1, 1, 64, 256)
  assert block["depthwise_conv"]["kernel"].shape == (3, 3, 1, 256)
  assert block["squeeze"]["kernel"].shape == (1, 1, 256, 16)
  assert block["excite"]["bias"].shape == (256,)
  assert block["project_conv"]["kernel"].shape == (1, 1, 256, 128)
  assert params["head"]["kernel"].shape == (1280, 3)
  order = models.depth_order(params)
  assert order[:3] == ("stem_conv", "stem_norm", "stage1_block1")
  assert order[-4:] == ("stage6_block15", "head_conv", "head_norm", "head")
  assert len(order) == 2 + 40 + 3


def test_width_scales_all_channels():
  model = models.MODELS["efficientnetv2_s"](num_classes=3, width=0.25)
  params = _shapes(model)["params"]
  assert params["stem_conv"]["kernel"].shape[-1] == 6
  assert params["stage6_block1"]["project_conv"]["kernel"].shape[-1] == 64
  assert params["head"]["kernel"].shape == (320, 3)


def test_bfloat16_computes_near_float32_with_float32_parameters():
  half = models.MODELS["efficientnetv2_tiny"](num_classes=3, dtype=jnp.bfloat16)
  leaves = jax.tree.leaves(_shapes(half))
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype("f4")}
  params, stats = _variables()
  image = jax.random.normal(jax.random.key(1), (4, SIZE, SIZE, 3))
  wanted, _ = _apply_fn()(params, stats, image, train=False)
  got, _ = _apply_fn(dtype=jnp.bfloat16)(params, stats, image, train=False)
  assert got.dtype == jnp.float32
  assert 0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max() + 0.02


@pytest.mark.parametrize(
  "options", [{"dropout": 0.5, "stochastic_depth": 0.0},
              {"dropout": 0.0, "stochastic_depth": 0.9}]
)  # fmt: skip
def test_randomness_needs_training_and_a_key(options):
  params, stats = _variables()
  apply_fn = _apply_fn(**options)
  plain_fn = _apply_fn(dropout=0.0, stochastic_depth=0.0)
  image = jax.random.normal(jax.random.key(1), (8, SIZE, SIZE, 3))

  def logits(apply_fn=apply_fn, **mode):
    return apply_fn(params, stats, image, **mode)[0]

  without = logits(plain_fn, train=True)
  networks.check_randomness(logits, without)


def test_stochastic_depth_drops_whole_examples():
  """A share of them is 0, the rest is scaled so that the mean stays."""

  class Branch(layers.nn.Module):
    @layers.nn.compact
    def __call__(self, x, train):
      return layers.dropout(self, 0.2, train, whole_rows=True)(x)

  ones = np.ones((4000, 2, 3, 5), np.float32)
  apply_fn = models.make_apply_fn(Branch())
  out, _ = apply_fn({}, {}, ones, train=True, key=jax.random.key(0))
  out = np.asarray(out)
  first = out[:, :1, :1, :1]
  np.testing.assert_array_equal(out, np.broadcast_to(first, out.shape))
  assert set(np.unique(out)) == {0.0, np.float32(1.25)}
  assert abs((first == 0).mean() - 0.2) < 4 * np.sqrt(0.16 / 4000)


def test_stochastic_depth_grows_with_the_number_of_the_block(monkeypatch):
  rates = []

  def dropout(owner, rate, train, *, whole_rows=False):
    if whole_rows:
      rates.append(rate)
    return layers.nn.Dropout(0.0, deterministic=True)

  monkeypatch.setattr(layers, "dropout", dropout)
  model = models.MODELS["efficientnetv2_s"](num_classes=3)
  _shapes(model)
  # 40 blocks; those that change the size or the width have no shortcut.
  without = {2, 6, 10, 16, 25}
  wanted = [0.2 * i / 40 for i in range(40) if i not in without]
  np.testing.assert_allclose(rates, wanted)
