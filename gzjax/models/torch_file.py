"""Reads PyTorch's weights files without PyTorch, and without running them.

A `.pth` file is a zip archive: `data.pkl`, a pickle that describes tensors, and
one entry with the raw numbers of each storage. A pickle is a program that may
call whatever `find_class` finds, so here it finds a few harmless things only;
if a file asks for anything else, it is refused. No object of ours that a
pickle gets hold of has an attribute that it could set.
"""

from collections import OrderedDict
from collections.abc import Callable
import io
import math
from pathlib import Path
import pickle
import re
from typing import Any, NamedTuple
import zipfile

import ml_dtypes
import numpy as np

from gzjax.errors import UserError

_DTYPES = {
  "HalfStorage": np.dtype(np.float16),
  "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "FloatStorage": np.dtype(np.float32),
  "DoubleStorage": np.dtype(np.float64),
  "LongStorage": np.dtype(np.int64),
  "IntStorage": np.dtype(np.int32),
  "ShortStorage": np.dtype(np.int16),
  "CharStorage": np.dtype(np.int8),
  "ByteStorage": np.dtype(np.uint8),
  "BoolStorage": np.dtype(np.bool_),
}
# In checkpoints of trainings, beside epoch and optimizer.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
# What checkpoints of trainings hold besides: settings, and states of optimizers
# and schedules. They become `_Nothing`s; no code of theirs is looked for.
_BESIDES = re.compile(
  r"(argparse|omegaconf|lightning|pytorch_lightning|torch\.optim|numpy)\b.*"
  r"|functools\.partial|pathlib\.\w+|collections\.defaultdict"
  r"|(__builtin__|builtins)\.(set|frozenset|slice|complex|range|int|float|list"
  r"|dict|str|bool|bytearray)|typing\.Any|torch\.(device|Size)"
)
_ZIP_START, _PICKLE_START = b"PK\x03\x04", b"\x80\x02"
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def is_one(path: Path) -> bool:
  """Whether a file begins as what torch saves does, whatever its name."""
  with path.open("rb") as file:
    return file.read(4).startswith((_ZIP_START, _PICKLE_START))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
  """The tensors of `read` alone."""
  return read(path)[0]


def read(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """The tensors of a state dict that `torch.save` of 1.6 or later wrote.

  It may stand alone or under keys of `_WRAPPERS`, as checkpoints have it; these
  keys are the second result. The arrays are of bfloat16 or a NumPy type;
  tensors that share a storage share it here.

  Raises:
    UserError: for a file that is no such archive, is damaged, has no state
      dict, has compressed entries, asks for any other object, or has a tensor
      that its storage does not hold.
  """
  with path.open("rb") as file:
    if file.read(len(_LEGACY_START)) == _LEGACY_START:
      raise UserError(
        f"{path}: the format of torch before 1.6; load it there and save it "
        "with torch.save(state_dict, path) of a later torch."
      )
  try:
    with zipfile.ZipFile(path) as archive:
      found, keys = _state_dict(path, _Unpickler(archive, path).load())
    return {name: _array(name, x) for name, x in found.items()}, keys
  except UserError:
    raise
  except Exception as error:  # a damaged pickle raises whatever it likes
    raise UserError(
      f"{path}: damaged, or no weights that torch.save wrote ({error}); "
      "download it again, or save model.state_dict() alone."
    ) from error


class _Storage(NamedTuple):
  values: np.ndarray  # 1-D


class _Tensor(NamedTuple):
  """What a pickle says of a tensor; not believed before `_array`."""

  storage: Any
  offset: Any
  size: Any
  stride: Any


class _Call(NamedTuple):
  """A function, which alone would have attributes that a pickle could set."""

  function: Callable[..., Any]

  def __call__(self, *args):
    return self.function(*args)


def _state_dict(
  path: Path, content: Any
) -> tuple[dict[str, "_Tensor"], tuple[str, ...]]:
  """The tensors by name, and the keys in which they are wrapped."""
  keys: tuple[str, ...] = ()
  for wrapper in _WRAPPERS:
    if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
      content, keys = content[wrapper], (*keys, wrapper)
  if not isinstance(content, dict):
    raise ValueError("no state dict")
  others = [str(k) for k, x in content.items() if not isinstance(x, _Tensor)]
  if others:
    raise UserError(
      f"{path}: no state dict, for it holds {', '.join(others[:4])} "
      f"({len(others)} that are no tensors): save model.state_dict() alone."
    )
  return content, keys


def _array(name: str, tensor: _Tensor) -> np.ndarray:
  """A view, if it lies in its storage and is not larger."""
  values, (_, offset, size, stride) = tensor.storage.values, tensor
  numbers = [offset, *size, *stride]
  if len(size) != len(stride) or not all(
    type(n) is int and n >= 0 for n in numbers
  ):
    raise ValueError(f"{name!r} has shape {size} and strides {stride}")
  count = math.prod(size)
  last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
  if count > len(values) or (count and last >= len(values)):
    raise ValueError(f"{name!r} of shape {size} is not in its storage")
  return np.lib.stride_tricks.as_strided(
    values[offset:],
    size,
    [step * values.itemsize for step in stride],
    writeable=False,
  )


class _Nothing:
  """Stands for an object that is not made: takes anything, keeps nothing."""

  __slots__ = ()

  def __new__(cls, *args: Any, **settings: Any) -> "_Nothing":
    del args, settings
    return super().__new__(cls)

  def _drop(self, *args: Any) -> None:
    del args

  __setstate__ = __setitem__ = append = extend = add = _drop


_ALLOWED = {
  "collections.OrderedDict": OrderedDict,
  "torch._utils._rebuild_tensor_v2": _Call(lambda *args: _Tensor(*args[:4])),
  "torch._utils._rebuild_parameter": _Call(lambda tensor, *_: tensor),
  # In tuples: a pickle could set attributes of the dtypes themselves.
} | {f"torch.{name}": (dtype,) for name, dtype in _DTYPES.items()}


class _Unpickler(pickle.Unpickler):
  def __init__(self, archive: zipfile.ZipFile, path: Path):
    self._archive = archive
    self._path = path
    self._storages: dict[str, _Storage] = {}
    self._root = archive.namelist()[0].split("/")[0]
    if f"{self._root}/byteorder" in archive.namelist():
      order = self._entry("byteorder")
      if order != b"little":
        raise ValueError(f"byte order {order!r}")
    super().__init__(io.BytesIO(self._entry("data.pkl")))

  def find_class(self, module: str, name: str) -> Any:
    if _BESIDES.fullmatch(f"{module}.{name}"):
      return _Nothing
    try:
      return _ALLOWED[f"{module}.{name}"]
    except KeyError:
      raise UserError(
        f"{self._path}: asks for {module}.{name}, and only tensors are read, "
        "no code is run; save model.state_dict() of float or int64 tensors."
      ) from None

  def persistent_load(self, pid: Any) -> _Storage:
    _, (dtype,), key, _, count = pid
    if key not in self._storages:
      content = self._entry(f"data/{key}")
      if len(content) != count * dtype.itemsize:
        raise ValueError(f"storage {key!r} is not of its declared size")
      self._storages[key] = _Storage(np.frombuffer(content, dtype))
    return self._storages[key]

  def _entry(self, name):
    """Only what is stored as it is: nothing that grows when it is read."""
    info = self._archive.getinfo(f"{self._root}/{name}")
    if info.compress_type != zipfile.ZIP_STORED:
      raise ValueError(f"entry {info.filename!r} is compressed")
    return self._archive.read(info)
