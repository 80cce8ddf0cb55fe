"""What a Fisher was computed from, so that it is not used for anything else."""

import hashlib
from typing import Any

import jax
import numpy as np

from gzjax.types import PyTree


def fingerprint(tree: PyTree) -> str:
  """SHA-256 of the names, types, shapes and values of a tree of arrays."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree.leaves_with_path(jax.device_get(tree)):
    leaf = np.ascontiguousarray(leaf)
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    digest.update(f"{name} {leaf.dtype} {leaf.shape};".encode())
    digest.update(leaf.tobytes())
  return digest.hexdigest()


def provenance(
  variables: PyTree,
  examples: PyTree,
  *,
  dataset: str,
  objective: str,
  kind: str,
  estimator: str,
  key_data: Any = (),
) -> dict[str, str]:
  """What to store beside a Fisher; equal records mean equal Fishers.

  The variables are parameters and stored statistics, the examples their rows in
  the data set, of which `dataset` is the fingerprint, and their labels;
  `key_data` is that of the PRNG key, where the estimate is random.
  """
  return {
    "kind": kind,
    "estimator": estimator,
    "objective": objective,
    "dataset": dataset,
    "examples": fingerprint(examples),
    "parameters": fingerprint(variables),
    "key": fingerprint(key_data),
  }
