"""The convolution, in the form that the platform runs fastest.

All forms take the same kernel and give the same numbers; only the speed
differs. XLA:CPU has no fast gradient for convolutions over tiny maps (a 3x3
convolution of 512 channels over a 2x2 map takes 50 times as long as the same
arithmetic written as one matrix product), while GPUs and TPUs want the native
operation.
"""

from collections.abc import Sequence
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

ConvForm = Literal["auto", "native", "dot"]

# Largest number of output positions for which XLA:CPU is faster with the dot
# form: the best of 4, 9, 16 and 64 in a ResNet34 training step at 64 pixels.
CPU_DOT_POSITIONS = 16


def conv2d(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  *,
  form: ConvForm,
  **kwargs,
) -> jax.Array:
  """`jax.lax.conv_general_dilated` for NHWC images and HWIO kernels.

  Args:
    lhs: images f[B,H,W,C].
    rhs: kernel f[h,w,C/groups,K].
    window_strides: two steps.
    padding: (before, after) of both axes.
    form: "native" is XLA's convolution. "dot" copies the patches and takes one
      matrix product; it is what per-example gradients under `vmap` want, too.
      "auto" is native, but on CPUs dot for maps of few positions and for
      kernels of one pixel.
    **kwargs: what `nn.Conv` passes on: dilations, groups, precision.

  Returns:
    f[B,H',W',K].
  """
  plain = (
    kwargs.get("feature_group_count", 1) == 1
    and all(d == 1 for d in kwargs.get("lhs_dilation") or (1,))
    and all(d == 1 for d in kwargs.get("rhs_dilation") or (1,))
  )
  height, width = _output_size(lhs, rhs, window_strides, padding)
  if form == "auto":
    tiny = height * width <= CPU_DOT_POSITIONS or rhs.shape[:2] == (1, 1)
    form = "dot" if tiny and jax.default_backend() == "cpu" else "native"
  if form == "native" or not plain:
    return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **kwargs)
  rows = patches(lhs, rhs.shape[:2], window_strides, padding)
  flat = rows.reshape(-1, rows.shape[-1])
  out = jnp.dot(
    flat, rhs.reshape(-1, rhs.shape[-1]), precision=kwargs.get("precision")
  )
  return out.reshape(lhs.shape[0], height, width, rhs.shape[-1])


def _output_size(lhs, rhs, strides, padding):
  return tuple(
    (size + sum(pad) - kernel) // stride + 1
    for size, kernel, stride, pad in zip(
      lhs.shape[1:3], rhs.shape[:2], strides, padding, strict=True
    )
  )


def patches(
  image: jax.Array,
  kernel: Sequence[int],
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  dilation: Sequence[int] = (1, 1),
) -> jax.Array:
  """f[B,H,W,C] -> f[B,H',W',h*w*C], in the order of a HWIO kernel."""
  padded = jnp.pad(image, ((0, 0), *padding, (0, 0)))
  spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
  rows, columns = (
    (size - span) // stride + 1
    for size, span, stride in zip(
      padded.shape[1:3], spans, strides, strict=True
    )
  )
  shifted = [
    padded[
      :,
      i : i + (rows - 1) * strides[0] + 1 : strides[0],
      j : j + (columns - 1) * strides[1] + 1 : strides[1],
    ]
    for i in range(0, spans[0], dilation[0])
    for j in range(0, spans[1], dilation[1])
  ]
  return jnp.concatenate(shifted, axis=-1)
