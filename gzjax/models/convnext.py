"""ConvNeXt pico, nano, tiny, small and base with timm's exact semantics.

Liu et al. 2022, arXiv:2201.03545; pico and nano are timm's. No BatchNorm:
LayerNorm with epsilon 1e-6 over the channels, so that nothing in it depends on
the batch. Submodules are named, because parameter paths are public:
`stage2_block1/depthwise_conv/kernel`, `stage2_downsample/norm/scale`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gzjax.models import layers

# Input pixels to one of the last map, along an edge: no image may be smaller.
REDUCTION = 32

_initial = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
  """7x7 depthwise, LayerNorm, 1x1 to four times the channels, GELU, 1x1 back.

  All of it times `gamma`, one factor for each channel (the layer scale).
  """

  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  dense: Callable[..., nn.Module]
  layer_scale: float  # first value of gamma
  drop_rate: float

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    channels = x.shape[-1]
    y = self.conv(channels, 7, groups=channels, name="depthwise_conv")(x)
    # XLA:CPU is slow to sum over the positions of a map in several axes.
    y = self.norm(name="norm")(y).reshape(-1, channels)
    y = layers.gelu(self.dense(4 * channels, name="expand")(y))
    y = self.dense(channels, name="project")(y).reshape(x.shape)
    start = nn.initializers.constant(self.layer_scale)
    gamma = self.param("gamma", start, (channels,)).astype(y.dtype)
    y = y * jnp.expand_dims(gamma, (0, 1, 2))
    return x + layers.dropout(self, self.drop_rate, train, whole_rows=True)(y)


class Downsample(nn.Module):
  """LayerNorm and a 2x2 convolution: half the size, other channels."""

  channels: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return self.conv(self.channels, 2, 2, padding=0, name="conv")(
      self.norm(name="norm")(x)
    )


class ConvNeXt(nn.Module):
  """A ConvNeXt for RGB images of at least `REDUCTION` pixels, or grey ones."""

  depths: tuple[int, ...]  # blocks in each stage
  channels: tuple[int, ...]  # of each stage, before the factor
  num_classes: int  # K, the number of logits
  width: float = 1.0  # factor of all channels
  grey: bool = False  # see `layers.to_grey`
  dropout: float = 0.0  # of the head's inputs, see `layers.dropout`
  # Of N residual branches a training step with a key drops that of block i = 0,
  # 1, ... for a share `stochastic_depth` * i / (N - 1) of the examples.
  stochastic_depth: float = 0.0
  layer_scale: float = 1e-6  # see `Block`
  dtype: Any = jnp.float32  # of the computation; variables stay float32
  conv_form: layers.ConvForm = "auto"  # see `layers.conv2d`

  @nn.compact
  def __call__(self, image: jax.Array, train: bool) -> jax.Array:
    """f32[B,H,W,3] -> logits f32[B,num_classes].

    Raises:
      ValueError: for images smaller than `REDUCTION` pixels.
    """
    if min(image.shape[1:3]) < REDUCTION:
      raise ValueError(
        f"images of {min(image.shape[1:3])} pixels: ConvNeXts need {REDUCTION}"
      )
    conv = partial(
      layers.conv,
      form=self.conv_form,
      dtype=self.dtype,
      use_bias=True,
      kernel_init=_initial,
    )
    # Two passes as in torch: one would lose digits where the mean is large.
    norm = partial(
      nn.LayerNorm, epsilon=1e-6, dtype=self.dtype, use_fast_variance=False
    )
    dense = partial(nn.Dense, dtype=self.dtype, kernel_init=_initial)
    scaled = [layers.scaled(self.width, count) for count in self.channels]

    x = (layers.to_grey(image) if self.grey else image).astype(self.dtype)
    x = conv(scaled[0], 4, 4, padding=0, name="stem_conv")(x)
    x = norm(name="stem_norm")(x)
    number, last = 0, max(1, sum(self.depths) - 1)
    for stage, blocks in enumerate(self.depths):
      if stage:
        name = f"stage{stage + 1}_downsample"
        x = Downsample(scaled[stage], conv, norm, name=name)(x)
      for index in range(blocks):
        rate = self.stochastic_depth * number / last
        name = f"stage{stage + 1}_block{index + 1}"
        block = Block(conv, norm, dense, self.layer_scale, rate, name=name)
        x = block(x, train)
        number += 1
    x = norm(name="head_norm")(layers.mean_pool(x))
    dropout = layers.dropout(self, self.dropout, train)
    return layers.head(x, self.num_classes, dropout)


CONVNEXTS: dict[str, Callable[..., ConvNeXt]] = {
  "convnext_pico": partial(ConvNeXt, (2, 2, 6, 2), (64, 128, 256, 512)),
  "convnext_nano": partial(ConvNeXt, (2, 2, 8, 2), (80, 160, 320, 640)),
  "convnext_tiny": partial(ConvNeXt, (3, 3, 9, 3), (96, 192, 384, 768)),
  "convnext_small": partial(ConvNeXt, (3, 3, 27, 3), (96, 192, 384, 768)),
  "convnext_base": partial(ConvNeXt, (3, 3, 27, 3), (128, 256, 512, 1024)),
}
