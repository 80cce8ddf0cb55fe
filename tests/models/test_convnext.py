"""ConvNeXts against timm's published facts.

Logits are compared with timm's in test_timm.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import models
from gzjax.models import convnext
from tests import networks

# timm's parameter counts without a classifier.
PUBLISHED = {
  "convnext_pico": 8_532_672,
  "convnext_nano": 14_952_560,
  "convnext_tiny": 27_820_128,
  "convnext_small": 49_454_688,
  "convnext_base": 87_566_464,
}
SIZE = 33


def _small(**options):
  """Two stages of one block and of two: one of each kind of layer."""
  return convnext.ConvNeXt((1, 2), (4, 6), num_classes=3, **options)


def _shapes(model):
  image = jnp.zeros((1, 64, 64, 3))
  return jax.eval_shape(
    functools.partial(model.init, train=False), jax.random.key(0), image
  )["params"]


@functools.cache
def _params():
  """With a layer scale that lets the blocks be seen."""
  return models.init_variables(
    _small(layer_scale=0.5), jax.random.key(0), SIZE
  )[0]


def _apply_fn(**options):
  return jax.jit(
    models.make_apply_fn(_small(**options)), static_argnames="train"
  )


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_timms(name):
  params = _shapes(models.MODELS[name](num_classes=7))
  head = params.pop("head")
  assert sum(p.size for p in jax.tree.leaves(params)) == PUBLISHED[name]
  width = models.MODELS[name].args[1][-1]
  assert head["kernel"].shape == (width, 7)


def test_parameter_paths_are_public_and_in_order():
  params = _shapes(models.MODELS["convnext_nano"](num_classes=3))
  block = params["stage3_block8"]
  assert block["depthwise_conv"]["kernel"].shape == (7, 7, 1, 320)
  assert block["expand"]["kernel"].shape == (320, 1280)
  assert block["project"]["kernel"].shape == (1280, 320)
  assert block["gamma"].shape == (320,)
  assert params["stage4_downsample"]["conv"]["kernel"].shape == (
    (2, 2, 320, 640)
  )
  order = models.depth_order(params)
  assert order[:5] == (
    *("stem_conv", "stem_norm", "stage1_block1", "stage1_block2"),
    "stage2_downsample",
  )
  assert order[-3:] == ("stage4_block2", "head_norm", "head")
  assert len(jax.tree.leaves(params)) == 144 + 2  # and the head


def test_width_scales_all_channels():
  model = models.build("convnext_nano", 3, width=16)
  params = _shapes(model)
  assert params["stem_conv"]["kernel"].shape == (4, 4, 3, 20)
  assert params["head"]["kernel"].shape == (160, 3)


def test_a_grey_network_sees_the_mean_of_the_channels():
  assert _shapes(_small(grey=True))["stem_conv"]["kernel"].shape == (4, 4, 1, 4)
  image = jax.random.normal(jax.random.key(1), (2, SIZE, SIZE, 3))
  same = jnp.broadcast_to(image.mean(-1, keepdims=True), image.shape)
  # A kernel that is the same for three equal channels sees their sum.
  params = _params() | {
    "stem_conv": {
      "kernel": _params()["stem_conv"]["kernel"].sum(2, keepdims=True),
      "bias": _params()["stem_conv"]["bias"],
    }
  }
  got, _ = _apply_fn(grey=True)(params, {}, image, train=False)
  wanted, _ = _apply_fn()(_params(), {}, same, train=False)
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_bfloat16_computes_near_float32_with_float32_parameters():
  half = _small(dtype=jnp.bfloat16)
  assert {leaf.dtype for leaf in jax.tree.leaves(_shapes(half))} == {
    jnp.dtype("f4")
  }
  image = jax.random.normal(jax.random.key(1), (4, SIZE, SIZE, 3))
  wanted, _ = _apply_fn()(_params(), {}, image, train=False)
  got, _ = _apply_fn(dtype=jnp.bfloat16)(_params(), {}, image, train=False)
  assert got.dtype == jnp.float32
  assert 0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max() + 0.02


@pytest.mark.parametrize("options", [{"dropout": 0.5},
                                     {"stochastic_depth": 0.9}])  # fmt: skip
def test_randomness_needs_training_and_a_key(options):
  apply_fn = _apply_fn(**options)
  image = jax.random.normal(jax.random.key(1), (8, SIZE, SIZE, 3))

  def logits(apply_fn=apply_fn, **mode):
    return apply_fn(_params(), {}, image, **mode)[0]

  networks.check_randomness(logits, logits(_apply_fn(), train=True))


def test_stochastic_depth_grows_to_the_last_block(monkeypatch):
  rates = []

  def dropout(owner, rate, train, *, whole_rows=False):
    if whole_rows:
      rates.append(rate)
    return convnext.nn.Dropout(0.0, deterministic=True)

  monkeypatch.setattr(convnext.layers, "dropout", dropout)
  _shapes(models.MODELS["convnext_pico"](num_classes=3, stochastic_depth=0.3))
  np.testing.assert_allclose(rates, np.linspace(0, 0.3, 12))


def test_what_an_example_gets_does_not_depend_on_the_others():
  image = jax.random.normal(jax.random.key(1), (4, SIZE, SIZE, 3))
  apply_fn = _apply_fn()
  whole, _ = apply_fn(_params(), {}, image, train=True)
  alone, _ = apply_fn(_params(), {}, image[2:3], train=True)
  np.testing.assert_allclose(whole[2:3], alone, rtol=1e-4, atol=1e-5)


def test_images_that_vanish_are_refused():
  with pytest.raises(ValueError, match="31 pixels: ConvNeXts need 32"):
    models.init_variables(_small(), jax.random.key(0), 31)
