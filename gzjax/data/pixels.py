"""Encoded images to one uint8 array on disk, decoded once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from gzjax.errors import UserError
from gzjax.progress import progress


def load_image(data: bytes) -> Image.Image:
  """Decodes a whole JPEG, PNG, ... to RGB; grey and 16-bit images, too.

  Raises:
    OSError, SyntaxError or ValueError: for anything that is not a whole image.
  """
  with Image.open(io.BytesIO(data)) as image:
    image.load()
    return _to_rgb(image)


def is_rgb(data: bytes) -> bool:
  """Whether the encoded image has three channels of 8 bits."""
  with Image.open(io.BytesIO(data)) as image:
    return image.mode == "RGB"


def _to_rgb(image: Image.Image) -> Image.Image:
  """RGB with 8 bits a channel; 16-bit grey is scaled, not clipped."""
  if image.mode.startswith("I;16") or image.mode == "I":
    image = Image.fromarray(
      (np.asarray(image, np.uint32) >> 8).clip(0, 255).astype(np.uint8)
    )
  return image if image.mode == "RGB" else image.convert("RGB")


def to_square(data: bytes, crop: int, size: int) -> np.ndarray:
  """Decodes, cuts out the centre and resizes: u8[size,size,3].

  Args:
    data: an encoded image.
    crop: edge of the central square that is kept, in pixels of the original;
      0 keeps the largest square.
    size: edge of the result; reduced with antialiasing (Pillow's bilinear).
  """
  image = load_image(data)
  edge = min(crop or image.width, image.width, image.height)
  left, top = (image.width - edge) / 2, (image.height - edge) / 2
  box = (left, top, left + edge, top + edge)
  return np.asarray(
    image.resize((size, size), Image.Resampling.BILINEAR, box=box)
  )


def cached_pixels(
  path: Path,
  records: Callable[[], Iterable[bytes]],
  count: int,
  *,
  crop: int,
  size: int,
) -> np.ndarray:
  """The memory map of all images, written on first use.

  Args:
    path: of the cache, without suffix: `path.npy` and `path.json` (checksum).
    records: opens the encoded images, in order.
    count: how many they are.
    crop: see `to_square`.
    size: see `to_square`.

  Returns:
    u8[count,size,size,3], read-only.

  Raises:
    UserError: if the file on disk is not the one that was written.
  """
  array_path, note_path = path.with_suffix(".npy"), path.with_suffix(".json")
  if not note_path.exists():
    _write(array_path, note_path, records(), count, crop, size)
  if _checksum(array_path) != json.loads(note_path.read_text())["sha256"]:
    raise UserError(
      f"{array_path} does not match its checksum: delete {note_path} and run "
      "again to decode the images anew."
    )
  return np.load(array_path, mmap_mode="r")


def _write(array_path, note_path, records, count, crop, size):
  array_path.parent.mkdir(parents=True, exist_ok=True)
  partial = array_path.with_suffix(f".partial{os.getpid()}.npy")
  pixels = np.lib.format.open_memmap(
    partial, "w+", np.uint8, (count, size, size, 3)
  )
  with ThreadPoolExecutor() as pool:
    squares = _bounded_map(
      pool, lambda data: to_square(data, crop, size), records
    )
    for i, square in enumerate(progress(squares, count, "decoding images")):
      pixels[i] = square
  pixels.flush()
  partial.rename(array_path)
  note = {"crop": crop, "size": size, "sha256": _checksum(array_path)}
  partial_note = note_path.with_suffix(f".partial{os.getpid()}")
  partial_note.write_text(json.dumps(note))
  partial_note.rename(note_path)


def _bounded_map(pool, function, items, window=64):
  """Like pool.map, but never holds more than `window` items at once."""
  waiting = []
  for item in items:
    waiting.append(pool.submit(function, item))
    if len(waiting) >= window:
      yield waiting.pop(0).result()
  for future in waiting:
    yield future.result()


def _checksum(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
