"""A frame of galaxies: its records' features and columns, and its name."""

from collections.abc import Iterable, Sequence
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from gzjax.data.galaxy_builder import DEGREES

# Where an image lies and how it is cut is no part of its record.
_NOT_RECORDED = ("path", "crop")


def features(frame: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
  """The TFDS features of a frame's columns beside `id_str`.

  `label` and `given_label` are indices of the classes, `file` and `split` text,
  `ra` and `dec` float64; others are numbers, or arrays of one shape, as f32.
  """
  return {name: _feature(frame, name, classes) for name in _recorded(frame)}


def columns(frame: pd.DataFrame) -> dict[str, np.ndarray]:
  """N values of `id_str` and of every feature."""
  return {
    name: np.stack(frame[name].to_numpy())
    for name in ("id_str", *_recorded(frame))
  }


def fingerprint(
  known: Sequence[Any], frame: pd.DataFrame, files: Iterable[str | Path]
) -> str:
  """Twelve hex digits that name all that is recorded.

  That is what else is `known`, the frame but for `path`, and the images, known
  by the sizes and the times of their files: reading them would take as long as
  recording them, and they may move together.
  """
  frame = frame.drop(columns="path", errors="ignore")
  digest = hashlib.sha256(repr((*known, tuple(frame))).encode())
  for name in frame:
    digest.update(_bytes(frame[name]))
  stats = [Path(file).stat() for file in files]
  states = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
  digest.update(np.asarray(states, np.int64).tobytes())
  return digest.hexdigest()[:12]


def _recorded(frame):
  return [x for x in frame if x not in ("id_str", *_NOT_RECORDED)]


def _feature(frame, name, classes):
  if name in ("label", "given_label"):
    return tfds.features.ClassLabel(names=list(classes))
  if name in ("file", "split"):
    return tfds.features.Text()
  if name in ("ra", "dec"):
    return DEGREES
  return tfds.features.Tensor(shape=frame[name].iloc[0].shape, dtype=np.float32)


def _bytes(column):
  """The exact content of a column of text, numbers or arrays."""
  first = column.iloc[0]
  if isinstance(first, str):
    return "\0".join(column).encode()
  values = np.stack(column) if isinstance(first, np.ndarray) else column
  return np.asarray(values).tobytes()
