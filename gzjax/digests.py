"""SHA-256 of what is kept, to know it again."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gzjax.types import PyTree


def of_arrays(tree: PyTree) -> str:
  """Of the names, types, shapes and values of a tree of arrays."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree.leaves_with_path(jax.device_get(tree)):
    leaf = np.ascontiguousarray(leaf)
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    digest.update(f"{name} {leaf.dtype} {leaf.shape};".encode())
    digest.update(leaf.tobytes())
  return digest.hexdigest()


def of_bytes(data: bytes) -> str:
  """Of some bytes."""
  return hashlib.sha256(data).hexdigest()


def of_json(value: Any) -> str:
  """Of what JSON can say, whatever the order of its keys."""
  return of_bytes(json.dumps(value, sort_keys=True).encode())


def signed(record: dict[str, Any]) -> dict[str, Any]:
  """What JSON can say, with a digest of itself."""
  return {**record, "digest": of_json(record)}


def unsigned(record: Any) -> dict[str, Any] | None:
  """What `signed` was given; None for another digest.

  Records of before there were digests are taken as they are.
  """
  if not isinstance(record, dict):
    return None
  record = dict(record)
  digest = record.pop("digest", None)
  return record if digest in (None, of_json(record)) else None


def begun(path: Path) -> Any:
  """Of the bytes of a file, to go on with `update`."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256")


def of_file(path: Path) -> str:
  """Of the bytes of a file."""
  return begun(path).hexdigest()
