"""Convolutions of oneDNN for XLA:CPU, an optional extra that is built in place.

XLA:CPU needs about twice as long as oneDNN for the gradients of kernels. With
`pip install 'gzjax[cpu]'` and a C++ compiler there are three primitives, each
of which makes one of image, kernel and output of the other two, and is linear
in both. Their gradients are each other; under `vmap` a batched image is a
larger batch, and all else goes one by one.
"""

from collections.abc import Sequence
import ctypes
import functools
from functools import partial
import hashlib
from importlib import metadata
import os
from pathlib import Path
import platform
import shutil
import subprocess

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
import jax.numpy as jnp
import numpy as np

from gzjax.files import user_cache, write_whole
from gzjax.progress import say

_SOURCE = Path(__file__).with_suffix(".cc")
_LIBRARY = "onednn-cpu-gomp", "libdnnl.so.3"
_HEADERS = "onednn-devel-cpu-gomp", "oneapi/dnnl/dnnl.hpp"
_TARGET, _SYMBOL = "gzjax_conv", "GzjaxConv"
_OPTIONS = (
  *("-O3", "-march=native", "-std=c++17"),
  *("-shared", "-fPIC", "-fopenmp"),
)

OUTPUT = Primitive("conv_output")  # (image, kernel)
IMAGE = Primitive("conv_image")  # (output's cotangent, kernel)
KERNEL = Primitive("conv_kernel")  # (image, output's cotangent)

# What the handler can be asked for, by number.
_WANTED = (OUTPUT.name, IMAGE.name, KERNEL.name, "squares")


@functools.cache
def is_available() -> bool:
  """Whether they can be used: builds them, the first time on this machine."""
  try:
    library, headers = (_file(*what) for what in (_LIBRARY, _HEADERS))
  except metadata.PackageNotFoundError:
    return False
  if platform.system() != "Linux" or platform.machine() != "x86_64":
    return False
  compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
  if compiler is None:
    say("gzjax[cpu] needs a C++ compiler, such as g++: it is not used")
    return False
  try:
    built = _build(compiler, library, headers.parents[2])
    loaded = ctypes.CDLL(str(built))
  except (OSError, subprocess.CalledProcessError) as error:
    what = getattr(error, "stderr", None) or str(error)
    say(f"gzjax[cpu] cannot be built and is not used: {what.strip()[-500:]}")
    return False
  handler = jax.ffi.pycapsule(getattr(loaded, _SYMBOL))
  jax.ffi.register_ffi_target(_TARGET, handler, platform="cpu")
  return True


def _file(package: str, ending: str) -> Path:
  """A file of an installed package; PackageNotFoundError without it."""
  for file in metadata.files(package) or ():
    if str(file).endswith(ending):
      return Path(str(file.locate())).resolve()
  raise metadata.PackageNotFoundError(package)


def _build(compiler: str, library: Path, include: Path) -> Path:
  """The library of the handlers, from the user's cache or made there now."""
  digest = hashlib.sha256(_SOURCE.read_bytes())
  for part in (jax.__version__, compiler, library, *_OPTIONS, _processor()):
    digest.update(str(part).encode())
  built = user_cache() / "native" / f"{digest.hexdigest()[:16]}.so"
  if built.exists():
    return built
  say("building convolutions for this machine, once")
  headers = f"-I{include}", f"-isystem{jax.ffi.include_dir()}"
  linked = str(library), f"-Wl,-rpath,{library.parent}"

  def build(part):
    command = [compiler, *_OPTIONS, *headers, str(_SOURCE), *linked]
    command += ["-o", str(part)]
    subprocess.run(command, check=True, capture_output=True, text=True)

  # Another process may be at it, too: the last one to be whole stays.
  write_whole(built, build)
  return built


def _processor() -> str:
  """What it can do: machines that share a home need a library each."""
  lines = Path("/proc/cpuinfo").read_text().splitlines()
  return next((line for line in lines if line.startswith("flags")), "")


def conv(
  image: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  groups: int = 1,
) -> jax.Array:
  """A convolution, f32[B,H,W,C] and f32[h,w,C/groups,K] -> f32[B,H',W',K].

  See `is_available`. Groups: one, or C == K of them. The parameters of `OUTPUT`
  are called as those of `lax.conv_general_dilated_p`.
  """
  return OUTPUT.bind(image, kernel, **_params(strides, padding, groups))


def sum_of_squares(
  image: jax.Array,
  output: jax.Array,
  kernel_shape: Sequence[int],
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  groups: int = 1,
) -> jax.Array:
  """The squared cotangents of a kernel, of N examples, added.

  f32[N,B,H,W,C] and output's cotangent f32[N,B,H',W',K] -> f32[h,w,C/groups,K].
  """
  flat = (x.reshape(-1, *x.shape[2:]) for x in (image, output))
  return _call(
    *("squares", kernel_shape, *flat),
    **_params(strides, padding, groups),
    examples=len(image),
  )


def _params(strides, padding, groups):
  return {
    "window_strides": tuple(strides),
    "padding": tuple(map(tuple, padding)),
    "feature_group_count": groups,
  }


def _call(
  wanted: str,
  shape: Sequence[int],
  *operands: jax.Array,
  window_strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  feature_group_count: int,
  examples: int = 1,
) -> jax.Array:
  """The handler's call; its result has the shape."""
  result = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
  return jax.ffi.ffi_call(_TARGET, result)(
    *operands,
    wanted=np.int64(_WANTED.index(wanted)),
    examples=np.int64(examples),
    groups=np.int64(feature_group_count),
    strides=np.asarray(window_strides, np.int64),
    padding=np.asarray([before for before, _ in padding], np.int64),
  )


def _output_shape(image, kernel, *, window_strides, padding, **params):
  del params
  size = (
    (n + sum(pad) - k) // stride + 1
    for n, k, stride, pad in zip(
      image.shape[1:3], kernel.shape[:2], window_strides, padding, strict=True
    )
  )
  return image.update(shape=(image.shape[0], *size, kernel.shape[3]))


def _image_shape(output, kernel, *, size, feature_group_count, **params):
  del params
  channels = kernel.shape[2] * feature_group_count
  return output.update(shape=(output.shape[0], *size, channels))


def _kernel_shape(image, output, *, size, feature_group_count, **params):
  del params
  inputs = image.shape[3] // feature_group_count
  return image.update(shape=(*size, inputs, output.shape[3]))


def _to_output(image, kernel, params):
  return OUTPUT.bind(image, kernel, **_common(params))


def _to_image(output, kernel, like, params):
  size = like.aval.shape[1:3]
  return IMAGE.bind(output, kernel, size=size, **_common(params))


def _to_kernel(image, output, like, params):
  size = like.aval.shape[:2]
  return KERNEL.bind(image, output, size=size, **_common(params))


def _common(params):
  return {name: x for name, x in params.items() if name != "size"}


# Of a cotangent c and both operands, one of which is known by its shape alone:
# the cotangents of the first and of the second one.
_TRANSPOSED = {
  OUTPUT: (
    lambda c, x, k, **params: _to_image(c, k, x, params),
    lambda c, x, k, **params: _to_kernel(x, c, k, params),
  ),
  IMAGE: (
    lambda c, y, k, **params: _to_output(c, k, params),
    lambda c, y, k, **params: _to_kernel(c, y, k, params),
  ),
  KERNEL: (
    lambda c, x, y, **params: _to_image(y, c, x, params),
    lambda c, x, y, **params: _to_output(x, c, params),
  ),
}


def _batched(primitive, operands, axes, **params):
  """Of a batch of batches: one large one, where the kernel is the same."""
  operands = [
    x if axis is None else jnp.moveaxis(x, axis, 0)
    for x, axis in zip(operands, axes, strict=True)
  ]
  if primitive is not KERNEL and axes[1] is None:
    batch, kernel = operands
    flat = batch.reshape(-1, *batch.shape[2:])
    found = primitive.bind(flat, kernel, **params)
    return found.reshape(*batch.shape[:2], *found.shape[1:]), 0

  def one(batched):
    rest = iter(batched)
    return primitive.bind(
      *(
        x if axis is None else next(rest)
        for x, axis in zip(operands, axes, strict=True)
      ),
      **params,
    )

  several = zip(operands, axes, strict=True)
  return lax.map(one, [x for x, axis in several if axis is not None]), 0


def _define(primitive, shape_of):
  def eager(*operands, **params):
    return jax.jit(partial(primitive.bind, **params))(*operands)

  def call(*operands, **params):
    shape = shape_of(*map(jax.typeof, operands), **params).shape
    return _call(primitive.name, shape, *operands, **_common(params))

  primitive.def_impl(eager)
  primitive.def_abstract_eval(shape_of)
  ad.defbilinear(primitive, *_TRANSPOSED[primitive])
  batching.primitive_batchers[primitive] = partial(_batched, primitive)
  lowered = mlir.lower_fun(call, multiple_results=False)
  mlir.register_lowering(primitive, lowered, platform="cpu")


_define(OUTPUT, _output_shape)
_define(IMAGE, _image_shape)
_define(KERNEL, _kernel_shape)
