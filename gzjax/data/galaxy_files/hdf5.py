"""HDF5 files of images and labels, in the layouts of published data sets."""

from collections.abc import Generator, Iterator, Sequence
import contextlib
import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from gzjax import stand_ins
from gzjax.data import bad_images
from gzjax.data.galaxy_files import parts
from gzjax.data.galaxy_files.embedded import Embedded, Images
from gzjax.data.images import to_png
from gzjax.errors import SettingError, UserError

ENDINGS = (".h5", ".hdf5", ".hdf")
_IMAGES = "images"  # u8[N,H,W,3]
_BLOCK = 64  # images that are read at once


class Layout(NamedTuple):
  """What a file has beside its images."""

  labels: str  # key of i[N], indices of the classes; "": not read
  classes: tuple[str, ...]
  numbers: tuple[str, ...] = ()  # keys of f[N], where they are there


LAYOUTS = {
  "galaxy10_decals": Layout(
    "ans",
    (
      "Disturbed",
      "Merging",
      "Round Smooth",
      "In-between Round Smooth",
      "Cigar Shaped Smooth",
      "Barred Spiral",
      "Unbarred Tight Spiral",
      "Unbarred Loose Spiral",
      "Edge-on without Bulge",
      "Edge-on with Bulge",
    ),
    ("ra", "dec", "redshift", "pxscale"),
  ),
  "galaxy_mnist": Layout(
    "labels",
    ("smooth_round", "smooth_cigar", "edge_on_disk", "unbarred_spiral"),
  ),
}


class _File(NamedTuple):
  """One of the files with some of N galaxies."""

  path: Path
  rows: range  # of all N


class _Item(NamedTuple):
  """An image as it lies in a file."""

  file: _File
  row: int  # of the file, from 0 on
  pixels: np.ndarray  # u8[H,W,3]


def files_of(path: Path) -> list[Path]:
  """The HDF5 files of a folder; a file is its own; none if there are none."""
  files = [path] if path.is_file() else sorted(path.glob("*"))
  return [file for file in files if file.suffix.lower() in ENDINGS]


def layout_of(path: Path) -> str:
  """The layout whose keys a file has, a key of `LAYOUTS`.

  Raises:
    UserError: for a file of another layout, what is no HDF5, and without h5py.
  """
  with _open(path) as file:
    for name, layout in LAYOUTS.items():
      if _IMAGES in file and layout.labels in file:
        return name
    keys = " or ".join(repr(layout.labels) for layout in LAYOUTS.values())
    raise UserError(
      f"{path} has the keys {', '.join(file) or 'none'}: give a file with "
      f"{_IMAGES!r} and {keys}."
    )


def galaxies_in(path: Path) -> int:
  """How many images a file has; UserError as of `layout_of`."""
  with _open(path) as file:
    return len(file[_IMAGES])


def read(path: Path, name: str, classes: Sequence[str] = ()) -> Embedded:
  """Reads and checks all of HDF5 files but their pixels.

  Args:
    path: a file, or a folder of files, whose names then begin with train and
      test.
    name: of the layout, a key of `LAYOUTS`.
    classes: other names of the classes; (): those of the layout.

  Returns:
    Galaxies called after their places in the file, from 0 on, with `label`,
    `split` for several files, and the layout's numbers, `ra` and `dec` in
    degrees.

  Raises:
    UserError: naming the file, the key and the mend.
  """
  layout = LAYOUTS[name]._replace(
    classes=tuple(classes) or LAYOUTS[name].classes
  )
  found, part = _read(path, layout)
  split, notes = parts.split_of(part)
  if split is not None:
    found.frame["split"] = split
  recognised = (
    f"{path.absolute().name}: {name}, {len(found.frame):,} galaxies of "
    f"{len(layout.classes)} classes"
  )
  return found._replace(notes=(recognised, *notes))


def read_images(path: Path) -> Embedded:
  """The images of `read` alone, of files that need nothing else."""
  found, _ = _read(path, Layout("", ()))
  recognised = f"{path.absolute().name}: HDF5, {len(found.frame):,} galaxies"
  return found._replace(notes=(recognised,))


def _read(path: Path, layout: Layout) -> tuple[Embedded, list[str]]:
  """The galaxies of all files, and the part that each is of."""
  paths = files_of(path)
  if not paths:
    raise SettingError(
      f"catalog is {str(path)!r}: there is no HDF5 file in it "
      f"({', '.join(ENDINGS)}); give one, or the folder of train and test."
    )
  files, frames, sizes, start = [], [], [], 0
  for one in paths:
    with _open(one) as file:
      frame = _frame(one, file, layout)
      sizes += [int(np.prod(file[_IMAGES].shape[1:]))] * len(frame)
    files.append(_File(one, range(start, start + len(frame))))
    frames.append(frame)
    start += len(frame)
  part = [
    parts.part_of(file.path) if len(files) > 1 else ""
    for file in files
    for _ in file.rows
  ]
  frame = pd.concat(frames, ignore_index=True)
  frame.insert(0, "id_str", parts.numbered(part))
  images = Images(
    lambda rows: _items(files, rows), _encode, np.array(sizes), list(paths)
  )
  return Embedded(path, frame, layout.classes, "", images, ()), part


@contextlib.contextmanager
def _open(path: Path) -> Generator[Any]:
  try:
    h5py = importlib.import_module("h5py")
  except ImportError as error:
    raise UserError(
      f"{path} can only be read with h5py: pip install 'gzjax[hdf5]'."
    ) from error
  try:
    with h5py.File(path, "r") as file:
      yield file
  except OSError as error:
    told = stand_ins.told(path)
    words = f": {told}" if told else f" ({error}): download it again."
    raise UserError(f"{path} cannot be read as HDF5{words}") from error


def _frame(path: Path, file: Any, layout: Layout) -> pd.DataFrame:
  """The labels and the numbers of a file, a row each."""
  keys = (_IMAGES, *filter(None, [layout.labels]))
  for key in keys:
    if not hasattr(file.get(key), "shape"):
      raise UserError(
        f"{path} has no key {key!r} (it has {', '.join(file) or 'none'}): give "
        f"a file with {' and '.join(map(repr, keys))}."
      )
  images = file[_IMAGES]
  is_rgb = images.dtype == np.uint8 and images.shape[3:] == (3,)
  _check(path, images, "uint8[N,H,W,3]", is_rgb and len(images) > 0)
  shape = images.shape[:1]
  frame = pd.DataFrame(index=range(len(images)))
  if layout.labels:
    labels = file[layout.labels]
    is_integer = labels.dtype.kind in "iu" and labels.shape == shape
    _check(path, labels, f"integers[{shape[0]}]", is_integer)
    frame["label"] = _labels(path, labels, layout)
  for key in layout.numbers:
    if key in file:
      is_number = file[key].dtype.kind in "fiu" and file[key].shape == shape
      _check(path, file[key], f"numbers[{shape[0]}]", is_number)
      frame[key] = file[key][:].astype(np.float64)
  return frame


def _check(path: Path, values: Any, wanted: str, is_right: bool) -> None:
  if not is_right:
    found = f"{values.dtype}[{','.join(map(str, values.shape))}]"
    raise UserError(
      f"{path}: the key {values.name.strip('/')!r} is {found}, not {wanted}: "
      "give the file as it was published, or convert it to that."
    )


def _labels(path: Path, labels: Any, layout: Layout) -> np.ndarray:
  values = labels[:].astype(np.int64)
  bad = (values < 0) | (values >= len(layout.classes))
  if bad.any():
    i = int(bad.argmax())
    raise UserError(
      f"{path}: {layout.labels}[{i}] is {values[i]}, none of the "
      f"{len(layout.classes)} classes, 0 to {len(layout.classes) - 1} "
      f"({bad.sum()} such galaxies): correct it, or name all of the classes."
    )
  return values


def _items(files: Sequence[_File], rows: np.ndarray) -> Iterator[_Item]:
  """Some images of the files, block by block."""
  for file in files:
    inside = rows[(rows >= file.rows.start) & (rows < file.rows.stop)]
    inside = inside - file.rows.start
    if not len(inside):
      continue
    with _open(file.path) as opened:
      for start in range(0, len(file.rows), _BLOCK):
        wanted = inside[(inside >= start) & (inside < start + _BLOCK)]
        if len(wanted):
          block = opened[_IMAGES][start : start + _BLOCK]
          for row in wanted.tolist():
            yield _Item(file, row, block[row - start])


def _encode(item: _Item) -> bytes:
  """The pixels as PNG."""
  file, row, pixels = item
  where, mend = f"galaxy {row}", "download the file again"
  with bad_images.naming(where, f"{file.path}:{_IMAGES}", mend):
    return to_png(Image.fromarray(pixels))
