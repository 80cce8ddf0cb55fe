"""Writes files as torch.save does, byte by byte, and forged ones."""

from collections.abc import Callable, Mapping
from pathlib import Path
import struct
from typing import Any, NamedTuple
import zipfile

import ml_dtypes
import numpy as np

_TYPES = {
  np.dtype(np.float16): "HalfStorage",
  np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
  np.dtype(np.float32): "FloatStorage",
  np.dtype(np.float64): "DoubleStorage",
  np.dtype(np.int64): "LongStorage",
}


class Global(NamedTuple):
  module: str
  name: str


class Call(NamedTuple):
  function: Any
  args: tuple[Any, ...]


class Persistent(NamedTuple):
  pid: Any


class Opcodes(NamedTuple):
  """As they are."""

  content: bytes


def opcodes(value: Any) -> bytes:
  """The part of a pickle, protocol 2, that leaves `value` on the stack."""
  match value:
    case Global():
      return f"c{value.module}\n{value.name}\n".encode()
    case Call():
      return opcodes(value.function) + opcodes(value.args) + b"R"
    case Persistent():
      return opcodes(value.pid) + b"Q"
    case Opcodes():
      return value.content
    case bool():
      return b"\x88" if value else b"\x89"
    case int():
      return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)
    case str():
      return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    case tuple():
      return b"(" + b"".join(map(opcodes, value)) + b"t"
    case dict():
      items = b"".join(opcodes(k) + opcodes(v) for k, v in value.items())
      return opcodes(ordered_dict()) + b"(" + items + b"u"
  raise TypeError(value)


def ordered_dict() -> Call:
  return Call(Global("collections", "OrderedDict"), ())


def tensor(key, dtype, count, offset, size, stride) -> Call:
  """A view of storage `key`, as torch pickles it."""
  storage = Persistent(
    ("storage", Global("torch", _TYPES[np.dtype(dtype)]), key, "cpu", count)
  )
  return Call(
    Global("torch._utils", "_rebuild_tensor_v2"),
    (storage, offset, size, stride, False, ordered_dict()),
  )


def archive(
  path: Path,
  content: Any,
  storages: Mapping[str, bytes],
  *,
  compression: int = zipfile.ZIP_STORED,
  byteorder: str = "little",
) -> Path:
  """A file with `content` pickled."""
  with zipfile.ZipFile(path, "w", compression) as file:
    file.writestr("archive/data.pkl", b"\x80\x02" + opcodes(content) + b".")
    file.writestr("archive/byteorder", byteorder)
    for key, values in storages.items():
      file.writestr(f"archive/data/{key}", values)
    file.writestr("archive/version", "3\n")
  return path


def save(
  path: Path,
  arrays: Mapping[str, np.ndarray],
  wrap: Callable[[dict], Any] = lambda content: content,
) -> Path:
  """A state dict, each tensor in a storage of its own."""
  content = {
    name: tensor(
      str(i), a.dtype, a.size, 0, a.shape,
      tuple(step // a.itemsize for step in np.ascontiguousarray(a).strides)
      if a.ndim else (),
    )
    for i, (name, a) in enumerate(arrays.items())
  }  # fmt: skip
  storages = {str(i): a.tobytes() for i, a in enumerate(arrays.values())}
  return archive(path, wrap(content), storages)
