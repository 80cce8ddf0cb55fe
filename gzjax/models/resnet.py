"""ResNet 18, 34 and 50 with torchvision's exact semantics (He et al. 2016).

Explicit padding 3 and 1 (not SAME, which shifts strided convolutions by a
pixel), BatchNorm with epsilon 1e-5 and momentum 0.9 (torch calls it 0.1), the
stride of a bottleneck in its 3x3 convolution. Submodules are named, because
parameter paths are public: `stage1_block1/conv1/kernel`, `head/bias`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gzjax.models import layers

# Stages after which channels are tied to examples, where another one follows.
TIED_STAGES = (2, 3)


def after_ties(layer_names: Sequence[str]) -> list[str]:
  """Of the layers of a network, the blocks that see tied channels."""
  first = (f"stage{stage + 1}_block1" for stage in TIED_STAGES)
  return [name for name in first if name in layer_names]


class Block(nn.Module):
  """Two 3x3 convolutions, or of a bottleneck three, and a shortcut."""

  channels: int
  stride: int
  bottleneck: bool  # 1x1, 3x3 (strided), 1x1 to four times the channels
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  last_scale_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    c, s = self.channels, self.stride
    plan = [(c, 3, s), (c, 3, 1)]
    if self.bottleneck:
      plan = [(c, 1, 1), (c, 3, s), (4 * c, 1, 1)]
    y = x
    for i, shape in enumerate(plan, 1):
      y = self.conv(*shape, name=f"conv{i}")(y)
      if i < len(plan):
        y = nn.relu(self.norm(name=f"norm{i}")(y))
    y = self.norm(name=f"norm{len(plan)}", scale_init=self.last_scale_init)(y)
    if x.shape != y.shape:
      x = self.conv(y.shape[-1], 1, s, name="shortcut_conv")(x)
      x = self.norm(name="shortcut_norm")(x)
    return nn.relu(y + x)


class ResNet(nn.Module):
  """A residual network for RGB images."""

  stage_sizes: tuple[int, ...]  # blocks in each stage
  bottleneck: bool  # see `Block`
  num_classes: int  # K, the number of logits
  width: int = 64  # channels of the first stage; they double at each next one
  # One 3x3 convolution of stride 1 and no pooling, for images of about 32 to 64
  # pixels, instead of a 7x7 one of stride 2 and max pooling.
  small_stem: bool = False
  # The last BatchNorm scale of each block starts at 0, so that the block starts
  # as the identity (Goyal et al. 2017), instead of at 1.
  zero_gamma: bool = False
  grey: bool = False  # see `layers.to_grey`
  dropout: float = 0.0  # of the head's inputs, see `layers.dropout`
  # "pool" averages the last map, so that any size of image is right; "flatten"
  # gives the head all of it (H'*W'*C inputs, in this order).
  head: Literal["pool", "flatten"] = "pool"
  # Share of the channels after `TIED_STAGES` that all examples have, see
  # `layers.tie`; 0: all of them.
  tied: float = 0.0
  dtype: Any = jnp.float32  # of the computation; variables stay float32
  conv_form: layers.ConvForm = "auto"  # see `layers.conv2d`

  @nn.compact
  def __call__(
    self, image: jax.Array, train: bool, example: jax.Array | None = None
  ) -> jax.Array:
    """f32[B,H,W,3] -> logits f32[B,num_classes]; see `layers.tie`."""
    conv = partial(layers.conv, form=self.conv_form, dtype=self.dtype)
    norm = layers.norm(train, epsilon=1e-5, dtype=self.dtype)
    last_scale = nn.initializers.constant(0.0 if self.zero_gamma else 1.0)

    x = (layers.to_grey(image) if self.grey else image).astype(self.dtype)
    stem = (3, 1) if self.small_stem else (7, 2)
    x = conv(self.width, *stem, name="stem_conv")(x)
    x = nn.relu(norm(name="stem_norm")(x))
    if not self.small_stem:
      x = layers.max_pool_of_three(x)
    for stage, blocks in enumerate(self.stage_sizes):
      if self.tied and stage in TIED_STAGES:  # the one before, from 1
        x = layers.tie(x, self.tied, example, stage)
      for index in range(blocks):
        x = Block(
          self.width * 2**stage,
          2 if stage > 0 and index == 0 else 1,
          self.bottleneck,
          conv,
          norm,
          last_scale,
          name=f"stage{stage + 1}_block{index + 1}",
        )(x)
    if self.head == "pool":
      x = layers.mean_pool(x)
    dropout = layers.dropout(self, self.dropout, train)
    return layers.head(x.reshape(len(x), -1), self.num_classes, dropout)


RESNETS: dict[str, Callable[..., ResNet]] = {
  "resnet_tiny": partial(ResNet, (1, 1), False),
  "resnet18": partial(ResNet, (2, 2, 2, 2), False),
  "resnet34": partial(ResNet, (3, 4, 6, 3), False),
  "resnet50": partial(ResNet, (3, 4, 6, 3), True),
}
