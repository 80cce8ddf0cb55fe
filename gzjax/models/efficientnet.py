"""EfficientNetV2-S and -M with torchvision's exact semantics.

Tan & Le 2021, arXiv:2104.00298, tables 4 and 5. As in torchvision: explicit
padding of 1, BatchNorm with epsilon 1e-3 (its momentum is 0.9 as in our
ResNets), the squeezed width of a block a quarter of its input's, stochastic
depth that grows linearly with the number of the block. Submodules are named,
because parameter paths are public: `stage4_block1/depthwise_conv/kernel`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gzjax.models import layers


class BlockRow(NamedTuple):
  """Blocks of one width; the first one has the stride."""

  fused: bool  # see `Block`
  expansion: int  # of the channels inside a block
  stride: int
  channels: int  # of the output
  blocks: int  # how many


class Block(nn.Module):
  """MBConv: 1x1 (expands), 3x3 depthwise (strided), squeeze-excitation, 1x1.

  A fused one has a 3x3 (expands, strided) in place of all but the last; with an
  expansion of 1 that is all of it.
  """

  row: BlockRow
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  drop_rate: float

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    fused, expansion, stride, channels, _ = self.row
    alone = fused and expansion == 1
    width = channels if alone else x.shape[-1] * expansion
    first = (3, stride) if fused else (1, 1)
    y = self.conv(width, *first, name="expand_conv")(x)
    y = nn.silu(self.norm(name="expand_norm")(y))
    if not fused:
      y = self.conv(width, 3, stride, groups=width, name="depthwise_conv")(y)
      y = nn.silu(self.norm(name="depthwise_norm")(y))
      gate = jnp.mean(y, axis=(1, 2), keepdims=True)
      squeezed = max(1, x.shape[-1] // 4)
      gate = self.conv(squeezed, 1, use_bias=True, name="squeeze")(gate)
      gate = self.conv(width, 1, use_bias=True, name="excite")(nn.silu(gate))
      y = nn.sigmoid(gate) * y
    if not alone:
      y = self.conv(channels, 1, name="project_conv")(y)
      y = self.norm(name="project_norm")(y)
    if stride > 1 or x.shape != y.shape:
      return y
    return x + layers.dropout(self, self.drop_rate, train, whole_rows=True)(y)


class EfficientNet(nn.Module):
  """An EfficientNetV2 for RGB images."""

  stages: tuple[BlockRow, ...]  # all but the channels is fixed
  num_classes: int  # K, the number of logits
  width: float = 1.0  # factor of all channels
  last_channels: int = 1280  # inputs of the head, before the factor
  dropout: float = 0.2  # of the head's inputs, see `layers.dropout`
  # Of N residual branches a training step with a key drops that of block i = 0,
  # 1, ... for a share `stochastic_depth` * i / N of the examples, each alone.
  stochastic_depth: float = 0.2
  dtype: Any = jnp.float32  # of the computation; variables stay float32
  conv_form: layers.ConvForm = "auto"  # see `layers.conv2d`

  @nn.compact
  def __call__(self, image: jax.Array, train: bool) -> jax.Array:
    """f32[B,H,W,3] -> logits f32[B,num_classes]."""
    conv = partial(layers.conv, form=self.conv_form, dtype=self.dtype)
    norm = layers.norm(train, epsilon=1e-3, dtype=self.dtype)
    scaled = partial(layers.scaled, self.width)

    x = image.astype(self.dtype)
    x = conv(scaled(self.stages[0].channels), 3, 2, name="stem_conv")(x)
    x = nn.silu(norm(name="stem_norm")(x))
    number, count = 0, sum(stage.blocks for stage in self.stages)
    for place, stage in enumerate(self.stages, 1):
      row = stage._replace(channels=scaled(stage.channels))
      for index in range(1, stage.blocks + 1):
        rate = self.stochastic_depth * number / count
        name = f"stage{place}_block{index}"
        x = Block(row, conv, norm, rate, name=name)(x, train)
        row = row._replace(stride=1)
        number += 1
    x = conv(scaled(self.last_channels), 1, name="head_conv")(x)
    x = layers.mean_pool(nn.silu(norm(name="head_norm")(x)))
    dropout = layers.dropout(self, self.dropout, train)
    return layers.head(x, self.num_classes, dropout)


_S = (
  BlockRow(True, 1, 1, 24, 2),
  BlockRow(True, 4, 2, 48, 4),
  BlockRow(True, 4, 2, 64, 4),
  BlockRow(False, 4, 2, 128, 6),
  BlockRow(False, 6, 1, 160, 9),
  BlockRow(False, 6, 2, 256, 15),
)
_M = (
  BlockRow(True, 1, 1, 24, 3),
  BlockRow(True, 4, 2, 48, 5),
  BlockRow(True, 4, 2, 80, 5),
  BlockRow(False, 4, 2, 160, 7),
  BlockRow(False, 6, 1, 176, 14),
  BlockRow(False, 6, 2, 304, 18),
  BlockRow(False, 6, 1, 512, 5),
)
# One of each kind of block, with and without a shortcut.
_TINY = (
  BlockRow(True, 1, 1, 8, 1),
  BlockRow(True, 4, 2, 12, 2),
  BlockRow(False, 4, 2, 16, 2),
)

EFFICIENTNETS: dict[str, Callable[..., EfficientNet]] = {
  "efficientnetv2_tiny": partial(EfficientNet, _TINY, last_channels=64),
  "efficientnetv2_s": partial(EfficientNet, _S),
  "efficientnetv2_m": partial(EfficientNet, _M, dropout=0.3),
}
