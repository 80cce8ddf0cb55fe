"""A small CNN of three convolutions, alone or several side by side.

No BatchNorm, so that there are no statistics beside the parameters. Submodules
are named, because parameter paths are public: `conv1/kernel`, `head/bias`, or
side by side `conv1/net0/kernel`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gzjax.models import layers

# Of the convolutions; each is followed by a pooling that halves the map.
_CHANNELS = (32, 64, 128)
# Edge of the smallest image of which the last pooling leaves a pixel.
SMALLEST = 2 ** len(_CHANNELS)


class SideBySide(nn.Module):
  """The same layer of several networks: `net0`, `net1`, and so on."""

  # (features, name=...) -> features.
  of_each: Sequence[Callable[..., jax.Array]]

  @nn.compact
  def __call__(self, inputs: Sequence[jax.Array]) -> list[jax.Array]:
    return [
      layer(x, name=f"net{i}")
      for i, (layer, x) in enumerate(zip(self.of_each, inputs, strict=True))
    ]


class CNN(nn.Module):
  """3x3 convolutions, each with a 2x2 max pooling, and two dense layers."""

  num_classes: int  # K, the number of logits
  width: float = 1.0  # factor of all channels
  hidden: int = 128  # outputs of the first dense layer, before the factor
  dropout: float = 0.25  # of either dense layer's inputs, see `layers.dropout`
  # Logits of each of several networks that share nothing; they sum to K. A
  # layer then holds that of each network, so that the last layer is the last
  # one of all of them. (): a single one.
  networks: tuple[int, ...] = ()
  dtype: Any = jnp.float32  # of the computation; parameters stay float32
  conv_form: layers.ConvForm = "auto"  # see `layers.conv2d`

  @nn.compact
  def __call__(self, image: jax.Array, train: bool) -> jax.Array:
    """f32[B,H,W,3] -> logits f32[B,num_classes], in the order of `networks`.

    Raises:
      ValueError: if `networks` have another number of logits.
    """
    outputs = self.networks or (self.num_classes,)
    if sum(outputs) != self.num_classes:
      raise ValueError(
        f"networks {outputs} do not sum to {self.num_classes} logits."
      )
    scaled = partial(layers.scaled, self.width)
    dropout = layers.dropout(self, self.dropout, train)
    make_conv = partial(
      layers.conv, form=self.conv_form, dtype=self.dtype, use_bias=True
    )

    def conv(x, *, channels, name):
      return make_conv(channels, 3, name=name)(x)

    count = len(outputs)
    xs = [image.astype(self.dtype)] * count
    for number, channels in enumerate(_CHANNELS, 1):
      layer = partial(conv, channels=scaled(channels))
      xs = _side_by_side([layer] * count, xs, f"conv{number}")
      xs = [layers.max_pool(nn.relu(x)) for x in xs]
    xs = [dropout(x.reshape(len(x), -1)) for x in xs]
    layer = partial(
      layers.dense, channels=scaled(self.hidden), dtype=self.dtype
    )
    xs = _side_by_side([layer] * count, xs, "head_hidden")
    xs = [nn.relu(x) for x in xs]
    head = partial(layers.head, dropout=dropout)
    heads = [partial(head, num_classes=k) for k in outputs]
    return jnp.concatenate(_side_by_side(heads, xs, "head"), axis=-1)


def _side_by_side(of_each, inputs, name):
  """What the layers of the networks make of their inputs."""
  if len(of_each) == 1:
    return [of_each[0](inputs[0], name=name)]
  return SideBySide(of_each, name=name)(inputs)
