"""What the networks are made of: convolutions, poolings, BatchNorm and a head.

A convolution comes in the form that the platform runs fastest; all forms give
the same numbers. XLA:CPU has no fast gradient for convolutions over tiny maps
(3x3 of 512 channels over a 2x2 map: 50 times as long as the same arithmetic in
one matrix product) nor for depthwise ones; GPUs and TPUs want the native form.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
import math
from typing import Any, Literal

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from gzjax.models import onednn
from gzjax.models.batch_norm import BatchNorm

ConvForm = Literal["auto", "native", "dot", "onednn"]

# Largest number of output positions for which the dot form is faster on a CPU
# than XLA (the best of 4, 9, 16, 64 in a ResNet34 training step at 64 pixels)
# and than oneDNN (of 4, 16, 49 in its convolutions alone).
CPU_DOT_POSITIONS, ONEDNN_DOT_POSITIONS = 16, 4

TIED = 0.1  # share of the examples that have a channel that is tied to them

_kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# torch's default for nn.Linear: uniform within 1/sqrt(fan_in).
_uniform_fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def scaled(width: float, channels: int) -> int:
  """So many channels, times `width`: at least one."""
  return max(1, round(width * channels))


def conv(
  channels: int,
  kernel: int,
  stride: int = 1,
  *,
  form: ConvForm,
  dtype: Any,
  groups: int = 1,
  padding: int | None = None,
  use_bias: bool = False,
  kernel_init: nn.initializers.Initializer = _kaiming_fan_out,
  name: str,
) -> nn.Conv:
  """A square convolution with explicit padding, usually half the kernel."""
  padding = kernel // 2 if padding is None else padding
  return nn.Conv(
    channels,
    (kernel, kernel),
    (stride, stride),
    padding=[(padding, padding)] * 2,
    feature_group_count=groups,
    use_bias=use_bias,
    dtype=dtype,
    kernel_init=kernel_init,
    conv_general_dilated=partial(conv2d, form=form),
    name=name,
  )


def norm(
  train: bool, *, epsilon: float, dtype: Any
) -> Callable[..., BatchNorm]:
  """BatchNorm of all our networks."""
  return partial(
    BatchNorm, use_running_average=not train, epsilon=epsilon, dtype=dtype
  )


def dropout(
  owner: nn.Module, rate: float, train: bool, *, whole_rows: bool = False
) -> nn.Dropout:
  """Zeroes a share `rate` of the entries, and scales the others by 1/(1-rate).

  Only in training, and only where the module that is being called got a key.
  With `whole_rows` of images f[B,H,W,C] all of an example or nothing: the
  stochastic depth of Huang et al. 2016, of residual branches.
  """
  active = train and owner.has_rng("dropout")
  return nn.Dropout(
    rate,
    broadcast_dims=(1, 2, 3) if whole_rows else (),
    deterministic=not active,
  )


def shared_channels(channels: int, shared: float) -> jax.Array:
  """Which channels every example has that are tied by `tie`, bool[channels]."""
  return jnp.arange(channels) < round(shared * channels)


def tie(
  image: jax.Array, shared: float, example: jax.Array | None, place: int
) -> jax.Array:
  """Gives examples channels of their own, for what is learned by heart.

  Example-tied dropout (Maini et al. 2023): of f[B,H,W,C] the first channels, a
  share `shared`, are on for all examples, each other one for a tenth of them
  (`TIED`), always the same. `example` i32[B] says which ones these are, `place`
  which layer this is. None, as at test: all are on, the others times a tenth.
  """
  channels = image.shape[-1]
  common = shared_channels(channels, shared)[None]
  if example is None:
    return image * jnp.where(common, 1, TIED).astype(image.dtype)[:, None, None]
  on = common | own_channels(example, place, TIED, channels)
  return image * on.astype(image.dtype)[:, None, None]


def own_channels(
  example: jax.Array, place: int, share: float, channels: int
) -> jax.Array:
  """Which channels are on for each example i32[B], bool[B,channels].

  A `share` of them, drawn by its number and that of the layer, `place`: always
  the same ones.
  """

  def draw(number):
    key = jax.random.fold_in(jax.random.key(place), number)
    return jax.random.bernoulli(key, share, (channels,))

  return jax.vmap(draw)(example)


def to_grey(image: jax.Array) -> jax.Array:
  """The mean of the channels, f[B,H,W,C] -> f[B,H,W,1]."""
  return jnp.mean(image, axis=-1, keepdims=True)


def head(
  features: jax.Array, num_classes: int, dropout: nn.Dropout, name: str = "head"
) -> jax.Array:
  """f[B,C] -> logits f32[B,num_classes]; the caller's layer `name`."""
  return dense(dropout(features.astype(jnp.float32)), num_classes, name=name)


def dense(
  features: jax.Array, channels: int, *, dtype: Any = None, name: str
) -> jax.Array:
  """f[B,C] -> f[B,channels] with torch's initial values; the layer `name`."""
  bound = features.shape[-1] ** -0.5
  return nn.Dense(
    channels,
    dtype=dtype,
    kernel_init=_uniform_fan_in,
    bias_init=partial(jax.random.uniform, minval=-bound, maxval=bound),
    name=name,
  )(features)


@jax.named_scope("max_pool")
def max_pool(image: jax.Array) -> jax.Array:
  """The largest of each 2x2 pixels: f[B,H,W,C] -> f[B,H//2,W//2,C].

  Written with `maximum`, since XLA:CPU has no fast gradient for `nn.max_pool`,
  which takes 3 to 4 times as long for 64 images of 64x64x32. Pixels that tie
  for the largest share the gradient, which `nn.max_pool` gives to one of them.
  """
  return reduce(jnp.maximum, shifted(image, (2, 2), (2, 2), ((0, 0), (0, 0))))


@jax.custom_vjp
def max_pool_of_three(image: jax.Array) -> jax.Array:
  """The largest of 3x3 pixels, every other one: the pooling of ResNets.

  f[B,H,W,C] -> f[B,(H+1)//2,(W+1)//2,C]; beyond the edge nothing is larger. The
  first of pixels that tie gets the gradient, as of `nn.max_pool`. XLA:CPU takes
  a sixth of a ResNet34's step for the gradient of that one.
  """
  return _largest_of_three(image)[0]


@jax.named_scope("pool")
def _largest_of_three(image):
  """The largest, and which of the 9 pixels it is, u8: the first if some tie."""
  in_row, column = _first_largest(image, 2)
  largest, row = _first_largest(in_row, 1)
  columns = _three(column, 1, 0)
  chosen = jnp.where(row == 1, columns[1], columns[0])
  chosen = jnp.where(row == 2, columns[2], chosen)
  return largest, 3 * row + chosen


def _first_largest(image, axis):
  """The largest of three along an axis, every other one, and which it is."""
  largest, middle, last = _three(image, axis, -jnp.inf)
  which = (middle > largest).astype(jnp.uint8)
  largest = jnp.maximum(largest, middle)
  which = jnp.where(last > largest, jnp.uint8(2), which)
  return jnp.maximum(largest, last), which


def _three(image, axis, beyond):
  """What lies before, at and after the even places of an axis."""
  size = image.shape[axis]
  even = lax.slice_in_dim(image, 0, size, 2, axis)
  odd = lax.slice_in_dim(image, 1, size, 2, axis)
  shape = list(image.shape)
  shape[axis] = 1
  edge = jnp.full(shape, beyond, image.dtype)
  around = jnp.concatenate([edge, odd, edge], axis)
  count = even.shape[axis]
  before = lax.slice_in_dim(around, 0, count, 1, axis)
  return before, even, lax.slice_in_dim(around, 1, count + 1, 1, axis)


def _largest_of_three_forward(image):
  largest, which = _largest_of_three(image)
  return largest, (which, image.shape[1:3])


@jax.named_scope("pool")
def _largest_of_three_backward(residuals, delta):
  """Of each pixel: from the one, two or four windows that it lies in."""
  which, (height, width) = residuals
  after = ((0, 0), (0, 1), (0, 1), (0, 0))
  # No window has a tenth pixel.
  which = jnp.pad(which, after, constant_values=9)
  delta = jnp.pad(delta, after)
  rows, columns = (size - 1 for size in delta.shape[1:3])

  def of_windows(number, down, right):
    """Cotangents where windows, so far down and right, chose the pixel."""
    window = slice(down, down + rows), slice(right, right + columns)
    return jnp.where(which[:, *window] == number, delta[:, *window], 0)

  # A window's middle row is an even one of the image, its last an odd one,
  # which is the first of the next window, too; likewise its columns.
  places = (((1, 0),), ((2, 0), (0, 1)))
  parts = [
    reduce(
      jnp.add,
      [
        of_windows(3 * i + j, down, right)
        for i, down in rows_of
        for j, right in columns_of
      ],
    )
    for rows_of in places
    for columns_of in places
  ]
  even, odd = (jnp.stack(pair, axis=3) for pair in (parts[:2], parts[2:]))
  both = jnp.stack((even, odd), axis=2)
  whole = both.reshape(len(delta), 2 * rows, 2 * columns, delta.shape[-1])
  return (whole[:, :height, :width],)


max_pool_of_three.defvjp(_largest_of_three_forward, _largest_of_three_backward)


@jax.named_scope("pool")
def mean_pool(image: jax.Array) -> jax.Array:
  """The mean of all pixels, f[B,H,W,C] -> f[B,C]."""
  return jnp.mean(image, axis=(1, 2))


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

  f[B,H,W,C] and f[h,w,C/groups,K] -> f[B,H',W',K]. The form "native" is XLA's
  convolution. "dot" copies the patches and takes one matrix product, or of a
  depthwise convolution the weighted sum of shifted images; it is what
  per-example gradients under `vmap` want, too. "onednn" is that of
  `models/onednn.py`, float32 on a CPU. "auto" is native, but on CPUs dot for
  maps of few positions, for kernels of one pixel and for depthwise ones; where
  it is installed and the CPU is one device, it is onednn for depthwise ones and
  for maps of more positions. `kwargs` are what `nn.Conv` passes on: dilations,
  groups, precision.
  """
  groups = kwargs.get("feature_group_count", 1)
  depthwise = 1 < groups == rhs.shape[-1] and rhs.shape[2] == 1
  plain = (groups == 1 or depthwise) and all(
    d == 1
    for side in ("lhs_dilation", "rhs_dilation")
    for d in kwargs.get(side) or (1,)
  )
  pixels = rhs.shape[:2]
  float32 = lhs.dtype == rhs.dtype == jnp.float32
  if form == "auto":
    size = _output_size(lhs, pixels, window_strides, padding)
    positions = 0 if pixels == (1, 1) else math.prod(size)
    form = usual_form(positions, float32, depthwise) if plain else "native"
  if form == "onednn" and plain and float32:
    return onednn.conv(lhs, rhs, window_strides, padding, groups)
  if form != "dot" or not plain:
    return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **kwargs)
  if depthwise:
    return _depthwise(lhs, rhs, tuple(window_strides), tuple(padding))
  return jnp.dot(
    patches(lhs, pixels, window_strides, padding),
    rhs.reshape(-1, rhs.shape[-1]),
    precision=kwargs.get("precision"),
  )


def usual_form(positions: int, float32: bool, depthwise: bool) -> ConvForm:
  """Of a convolution, plain or depthwise, with so many output positions."""
  if jax.default_backend() != "cpu":
    return "native"
  if has_onednn(float32):
    is_dot = positions <= ONEDNN_DOT_POSITIONS and not depthwise
    return "dot" if is_dot else "onednn"
  return "dot" if positions <= CPU_DOT_POSITIONS or depthwise else "native"


def has_onednn(float32: bool) -> bool:
  """Whether the calls of `models/onednn.py` are there and fit the platform."""
  # XLA cannot split a call among devices.
  is_one_cpu = jax.default_backend() == "cpu" and jax.device_count() == 1
  return float32 and is_one_cpu and onednn.is_available()


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(image, kernel, strides, padding):
  """The sum of shifted images f[B,H,W,C], weighted by a kernel f[h,w,1,C]."""
  views = shifted(image, kernel.shape[:2], strides, padding)
  weights = jnp.expand_dims(kernel.reshape(-1, kernel.shape[-1]), (1, 2, 3))
  return reduce(jnp.add, map(jnp.multiply, views, weights))


def _depthwise_backward(strides, padding, residuals, delta):
  """Cotangents of image and kernel."""
  image, kernel = residuals
  return (
    _gradient_of_image(image, kernel, delta, strides, padding),
    _gradient_of_kernel(image, kernel, delta, strides, padding),
  )


@jax.named_scope("input_gradient")
def _gradient_of_image(image, kernel, delta, strides, padding):
  if strides == (1, 1):
    # Full correlation with the kernel turned round.
    rest = [
      tuple(n - 1 - pad for pad in sides)
      for n, sides in zip(kernel.shape[:2], padding, strict=True)
    ]
    return _depthwise(delta, kernel[::-1, ::-1], strides, tuple(rest))
  plain = partial(_depthwise.fun, strides=strides, padding=padding)
  (of_image,) = jax.vjp(lambda x: plain(x, kernel), image)[1](delta)
  return of_image


@jax.named_scope("weight_gradient")
def _gradient_of_kernel(image, kernel, delta, strides, padding):
  """The cotangent of the kernel.

  XLA:CPU would pad the image anew for each pixel of the kernel, all of them in
  one program (10 times as long for 7x7 over 32 images of 16x16x80): here the
  pixels take turns, unless the map is tiny.
  """
  pixels, channels = kernel.shape[:2], kernel.shape[-1]
  size = delta.shape[1:3]

  def of_pixel(view):
    product = view.astype(jnp.float32) * delta.astype(jnp.float32)
    return jnp.sum(product, axis=(0, 1, 2))

  if math.prod(size) <= CPU_DOT_POSITIONS:
    views = shifted(image, pixels, strides, padding)
    of_kernel = jnp.stack([of_pixel(view) for view in views])
  else:
    padded = jnp.pad(image, ((0, 0), *padding, (0, 0)))
    span = [(n - 1) * step + 1 for n, step in zip(size, strides, strict=True)]

    def next_pixel(_, place):
      start = (0, place // pixels[1], place % pixels[1], 0)
      shape = (len(image), *span, channels)
      view = lax.dynamic_slice(padded, start, shape)
      return None, of_pixel(view[:, :: strides[0], :: strides[1]])

    _, of_kernel = lax.scan(next_pixel, None, jnp.arange(math.prod(pixels)))
  return of_kernel.reshape(kernel.shape).astype(kernel.dtype)


_depthwise.defvjp(
  lambda image, kernel, strides, padding: (
    _depthwise(image, kernel, strides, padding), (image, kernel),
  ),
  _depthwise_backward,
)  # fmt: skip


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU (Hendrycks & Gimpel 2016): x by the normal law below x.

  The derivative is kept from the forward pass: XLA:CPU would compute it within
  the matrix products that need it, once for each entry of their results.
  """
  return _gelu_and_derivative(x)[0]


def _gelu_and_derivative(x):
  half, root = jnp.asarray(0.5, x.dtype), jnp.asarray(0.5**0.5, x.dtype)
  below = half * (1 + lax.erf(x * root))
  density = jnp.exp(-half * x * x) * jnp.asarray((2 * math.pi) ** -0.5, x.dtype)
  return x * below, below + x * density


gelu.defvjp(
  _gelu_and_derivative, lambda derivative, delta: (delta * derivative,)
)


def _output_size(image, kernel, strides, padding, dilation=(1, 1)):
  return [
    (size + sum(pad) - (pixels - 1) * apart - 1) // stride + 1
    for size, pixels, stride, pad, apart in zip(
      image.shape[1:3], kernel, strides, padding, dilation, strict=True
    )
  ]


def patches(
  image: jax.Array,
  kernel: Sequence[int],
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  dilation: Sequence[int] = (1, 1),
) -> jax.Array:
  """f[B,H,W,C] -> f[B,H',W',h*w*C], in the order of a HWIO kernel."""
  views = shifted(image, kernel, strides, padding, dilation)
  return jnp.concatenate(views, axis=-1)


def shifted(
  image: jax.Array,
  kernel: Sequence[int],
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  dilation: Sequence[int] = (1, 1),
) -> list[jax.Array]:
  """What each of a kernel's h*w pixels sees: f[B,H,W,C] -> f[B,H',W',C]s."""
  padded = jnp.pad(image, ((0, 0), *padding, (0, 0)))
  size = _output_size(image, kernel, strides, padding, dilation)
  down, right = ((n - 1) * step + 1 for n, step in zip(size, strides))
  return [
    padded[:, i : i + down : strides[0], j : j + right : strides[1]]
    for i in range(0, kernel[0] * dilation[0], dilation[0])
    for j in range(0, kernel[1] * dilation[1], dilation[1])
  ]
