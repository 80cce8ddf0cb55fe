"""Encoded images to one uint8 array on disk, decoded once."""

from collections.abc import Callable, Iterable
import contextlib
import errno
from functools import partial
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from gzjax import digests, locks
from gzjax.data.images import to_square
from gzjax.errors import DamagedError, UserError
from gzjax.files import read_json, write_json
from gzjax.progress import progress
from gzjax.threads import bounded_map


def cached_pixels(
  path: Path,
  records: Callable[[int], Iterable[bytes]],
  count: int,
  *,
  crop: int,
  size: int,
) -> np.ndarray:
  """The memory map u8[count,size,size,3] of all images, written on first use.

  To `path.npy`, with its checksum in `path.json`. `records` opens the encoded
  images in order, from the given one on; for `crop` and `size` see `to_square`.

  Raises:
    UserError: if the disk is full (what was decoded stays, and the next run
      goes on from there), or the file is not the one that was written.
  """
  array_path, note_path = path.with_suffix(".npy"), path.with_suffix(".json")
  if not (note_path.exists() and array_path.exists()):
    with locks.waiting(path.with_suffix(".lock")):
      # Perhaps another process has written them meanwhile.
      if not (note_path.exists() and array_path.exists()):
        _write(array_path, note_path, records, count, crop, size)
  _check(array_path, note_path)
  return np.load(array_path, mmap_mode="r")


def verify(folder: Path) -> None:
  """Reads all that `cached_pixels` wrote to a folder.

  Raises:
    DamagedError: for another file than was written.
  """
  for note_path in sorted(folder.glob("pixels-*.json")):
    _check(note_path.with_suffix(".npy"), note_path, thorough=True)


def _check(path: Path, note_path: Path, *, thorough: bool = False) -> None:
  """DamagedError for another file than was written.

  All of it is read only where its size or its time is another one, or if the
  check is to be thorough.
  """
  note = read_json(note_path)
  state = _state(path)
  if not thorough and note.get("state") == state:
    return
  mend = f"delete {note_path} and run again to decode the images anew"
  if digests.of_file(path) != note["sha256"]:
    raise DamagedError(path, "its checksum is another one", mend)
  with contextlib.suppress(OSError):  # a folder that is only read
    write_json(note_path, {**note, "state": state})


def _state(path: Path) -> list[int]:
  stat = path.stat()
  return [stat.st_size, stat.st_mtime_ns]


def _write(array_path, note_path, records, count, crop, size):
  """Appends image after image, so that a killed run can go on."""
  unfinished = array_path.with_suffix(".partial.npy")
  header = _npy_header((count, size, size, 3))
  row_bytes = size * size * 3
  with unfinished.open("ab") as file:
    done = max(0, (file.tell() - len(header)) // row_bytes)
    file.truncate(len(header) + done * row_bytes if done else 0)
    # The digest grows with the file: of a large one, only what a killed run
    # has left is ever read for it.
    digest = digests.begun(unfinished)

    def write(data):
      file.write(data)
      digest.update(data)

    try:
      if not done:
        write(header)
      decode = partial(to_square, crop=crop, size=size)
      squares = bounded_map(decode, records(done))
      for square in progress(squares, count - done, "decoding images"):
        write(square.tobytes())
        done += 1
      file.flush()
      os.fsync(file.fileno())
    except OSError as error:
      if error.errno != errno.ENOSPC:
        raise
      need = (count - done) * row_bytes / 2**30
      raise UserError(
        f"the disk of {unfinished.parent} is full after {done} of {count} "
        f"images: make {need:.2g} GiB of room and run again to go on, or "
        "choose another data_dir."
      ) from error
    unfinished.rename(array_path)
    note = {
      **{"crop": crop, "size": size},
      "sha256": digest.hexdigest(),
      "state": _state(array_path),
    }
    write_json(note_path, note)


def _npy_header(shape) -> bytes:
  buffer = io.BytesIO()
  fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
  np.lib.format.write_array_header_1_0(buffer, fields)
  return buffer.getvalue()


class SelectedImages:
  """Some rows of an array on disk, in an order of their own.

  Reads as an array u8[n,...] does, and only what is asked for.
  """

  def __init__(self, array: "Images", rows: np.ndarray):
    self._array = array
    self._rows = rows
    self.shape = (len(rows), *array.shape[1:])
    self.nbytes = len(rows) * array[:1].nbytes

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: Any) -> np.ndarray:
    rows, *rest = index if isinstance(index, tuple) else (index,)
    return self._array[(self._rows[rows], *rest)]

  def __array__(
    self, dtype: Any = None, copy: bool | None = None
  ) -> np.ndarray:
    del copy  # always one
    return np.asarray(self[:], dtype)


Images = np.ndarray | SelectedImages


def channel_statistics(
  image: Images, rows: np.ndarray, chunk: int = 1024
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Mean and deviation of each channel, for pixels from 0 to 1.

  Over the rows i[n] of u8[N,S,S,3], of which `chunk` are read at once.
  """
  # Integers from 0 to 255: their sums are exact in 64 bits.
  total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
  for start in range(0, len(rows), chunk):
    part = image[rows[start : start + chunk]].reshape(-1, 3).astype(np.int64)
    total += part.sum(axis=0)
    squares += (part**2).sum(axis=0)
  count = len(rows) * image.shape[1] * image.shape[2]
  mean = total / count
  std = np.sqrt(squares / count - mean**2)
  return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
