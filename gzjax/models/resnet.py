"""ResNet 18, 34 and 50 with torchvision's exact semantics (He et al. 2016).

Explicit padding 3 and 1 (not SAME, which shifts strided convolutions by a
pixel), BatchNorm with epsilon 1e-5 and momentum 0.9 (torch calls it 0.1), the
stride of a bottleneck in its 3x3 convolution. Submodules are named, because
parameter paths are public: `stage1_block1/conv1/kernel`, `head/bias`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gzjax.models import layers


class BasicBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  channels: int
  stride: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  last_scale_init: nn.initializers.Initializer

  expansion = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.conv(self.channels, 3, self.stride, name="conv1")(x)
    y = nn.relu(self.norm(name="norm1")(y))
    y = self.conv(self.channels, 3, 1, name="conv2")(y)
    y = self.norm(name="norm2", scale_init=self.last_scale_init)(y)
    return nn.relu(y + _shortcut(self, x, y.shape))


class BottleneckBlock(nn.Module):
  """1x1, 3x3 (strided), 1x1 to four times the channels, and a shortcut."""

  channels: int
  stride: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  last_scale_init: nn.initializers.Initializer

  expansion = 4

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.conv(self.channels, 1, 1, name="conv1")(x)
    y = nn.relu(self.norm(name="norm1")(y))
    y = self.conv(self.channels, 3, self.stride, name="conv2")(y)
    y = nn.relu(self.norm(name="norm2")(y))
    y = self.conv(self.channels * self.expansion, 1, 1, name="conv3")(y)
    y = self.norm(name="norm3", scale_init=self.last_scale_init)(y)
    return nn.relu(y + _shortcut(self, x, y.shape))


def _shortcut(block, x, shape):
  if x.shape == shape:
    return x
  x = block.conv(shape[-1], 1, block.stride, name="shortcut_conv")(x)
  return block.norm(name="shortcut_norm")(x)


class ResNet(nn.Module):
  """A residual network for RGB images.

  Attributes:
    stage_sizes: blocks in each stage.
    block: `BasicBlock` or `BottleneckBlock`.
    num_classes: K, the number of logits.
    width: channels of the first stage; they double from stage to stage.
    small_stem: one 3x3 convolution of stride 1 and no pooling, for images of
      about 32 to 64 pixels, instead of the 7x7 stride 2 and max pooling.
    zero_gamma: start the last BatchNorm scale of each block at 0, so that the
      block starts as the identity (Goyal et al. 2017), instead of at 1.
    dropout: the share of the head's inputs that a training step with a key
      sets to 0.
    head: "pool" averages the last map, so that any size of image is right;
      "flatten" gives the head all of it (H'*W'*C inputs, in this order).
    dtype: of the computation; parameters and statistics stay float32.
    conv_form: see `layers.conv2d`.
  """

  stage_sizes: tuple[int, ...]
  block: type[BasicBlock] | type[BottleneckBlock]
  num_classes: int
  width: int = 64
  small_stem: bool = False
  zero_gamma: bool = False
  dropout: float = 0.0
  head: Literal["pool", "flatten"] = "pool"
  dtype: Any = jnp.float32
  conv_form: layers.ConvForm = "auto"

  @nn.compact
  def __call__(self, image: jax.Array, train: bool) -> jax.Array:
    """f32[B,H,W,3] -> logits f32[B,num_classes]."""
    conv = partial(layers.conv, form=self.conv_form, dtype=self.dtype)
    norm = layers.norm(train, epsilon=1e-5, dtype=self.dtype)
    last_scale_init = (
      nn.initializers.zeros if self.zero_gamma else nn.initializers.ones
    )

    x = image.astype(self.dtype)
    stem = (3, 1) if self.small_stem else (7, 2)
    x = nn.relu(
      norm(name="stem_norm")(conv(self.width, *stem, name="stem_conv")(x))
    )
    if not self.small_stem:
      x = nn.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
    for stage, blocks in enumerate(self.stage_sizes):
      for index in range(blocks):
        x = self.block(
          self.width * 2**stage,
          2 if stage > 0 and index == 0 else 1,
          conv,
          norm,
          last_scale_init,
          name=f"stage{stage + 1}_block{index + 1}",
        )(x)
    if self.head == "pool":
      x = jnp.mean(x, axis=(1, 2))
    dropout = layers.dropout(self, self.dropout, train)
    return layers.head(x.reshape(len(x), -1), self.num_classes, dropout)


RESNETS: dict[str, Callable[..., ResNet]] = {
  "resnet_tiny": partial(ResNet, (1, 1), BasicBlock),
  "resnet18": partial(ResNet, (2, 2, 2, 2), BasicBlock),
  "resnet34": partial(ResNet, (3, 4, 6, 3), BasicBlock),
  "resnet50": partial(ResNet, (3, 4, 6, 3), BottleneckBlock),
}
