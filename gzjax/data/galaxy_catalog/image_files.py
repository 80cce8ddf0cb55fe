"""Which image file belongs to which row of a table."""

from collections.abc import Iterator
import hashlib
import os
from pathlib import Path
import re
from typing import NamedTuple

import numpy as np

from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import SettingError

ID, FILE, ANY_FOLDER = "{id}", "{file}", "*/"
_PLACE = re.compile(r"\{[^{}]+\}")
# Of images; of equal names the first of these is taken.
ENDINGS = (
  *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif"),
  *(".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz"),
)


class Naming(NamedTuple):
  """How the image files of a table are called, from the folder of images on."""

  column: str  # "": the pattern needs none
  prefix: str = ""  # of the column's text, left out
  # Of {id}, {file}, the rest of the column's text, and names of other columns;
  # */ in front is any folder inside that of the images.
  pattern: str = FILE


def find(
  rows: TableRows, images: Path, naming: Naming
) -> tuple[list[str], list[str]]:
  """The image of each of N rows.

  Returns:
    N names from the folder `images` on, and N paths of files that are there.

  Raises:
    SettingError: if there is no such folder, no image of the table in it, or if
      the pattern is the same for all rows.
    UserError: naming the first row without its image, or with two.
  """
  check_folder(images)
  others = (place[1:-1] for place in _PLACE.findall(naming.pattern))
  for name in (naming.column, *others):
    if name and name in rows.table:
      rows.refuse_empty(name)
  files = names(rows, naming)
  if naming.pattern.startswith(ANY_FOLDER):
    files = _with_folders(rows, images, files)
  paths = [str(images / file) for file in files]
  missing = np.array([not is_file(path) for path in paths])
  if missing.all():
    raise SettingError(
      f"images is {str(images)!r}: there is none of the images of {rows.path} "
      f"in it, such as {files[0]}; give the folder that their names start from."
    )
  rows.refuse(
    missing,
    lambda i: f"there is no image {paths[i]}",
    "add the file, take the row out, or give as images the folder that the "
    "names of the files start from",
  )
  return files, paths


def names(rows: TableRows, naming: Naming) -> list[str]:
  """What the image of each row is called, there or not."""
  column, prefix, pattern = naming
  asked = [*dict.fromkeys(_PLACE.findall(pattern))]
  texts = {ID: rows.ids}
  if column:
    texts[FILE] = rows.text(column).str.removeprefix(prefix)
  for place in asked:
    if place not in texts and place[1:-1] in rows.table:
      texts[place] = rows.text(place[1:-1])
  missing = [place for place in asked if place not in texts]
  if missing or not asked:
    other = next((place for place in missing if place != FILE), "")
    also = f"{other} is no column of {rows.path}; " if other else ""
    raise SettingError(
      f"file_pattern is {pattern!r}: {also}give one with {ID}, such as "
      f"{ID}.jpg, with {FILE} and a file_column, or with any column, such as "
      f"{{subfolder}}/{ID}.png."
    )
  return [
    _PLACE.sub(lambda match, row=row: row[match[0]], pattern)
    for row in (
      dict(zip(asked, row, strict=True))
      for row in zip(*(texts[place] for place in asked), strict=True)
    )
  ]


def check_folder(images: Path) -> None:
  """Raises SettingError if there is no such folder."""
  if not images.is_dir():
    raise SettingError(
      f"images is {str(images)!r}: there is no such folder; give that of the "
      "image files."
    )


def is_file(path: str) -> bool:
  """Whether there is a file; no text is too long to ask."""
  try:
    return Path(path).is_file()
  except (OSError, ValueError):
    return False


def state(images: Path) -> str:
  """Changes when an image does: a digest of names, sizes and times."""
  digest = hashlib.sha256()
  for folder, name in listing(images):
    if not name.lower().endswith(ENDINGS):
      continue
    stat = (images / folder / name).stat()
    line = f"{folder}/{name} {stat.st_size} {stat.st_mtime_ns}\n"
    digest.update(line.encode(errors="surrogateescape"))
  return digest.hexdigest()


def listing(images: Path) -> Iterator[tuple[str, str]]:
  """(folder, name) of the files in a folder, "", and of those inside it."""
  inner = sorted(entry.name for entry in os.scandir(images) if entry.is_dir())
  for folder in ("", *inner):
    entries = os.scandir(images / folder)
    for name in sorted(entry.name for entry in entries if entry.is_file()):
      yield folder, name


def _with_folders(rows, images, files):
  """The names with the folder in the place of */, where there is one."""
  folders: dict[str, list[str]] = {}
  for folder, name in listing(images):
    if folder:
      folders.setdefault(f"{ANY_FOLDER}{name}", []).append(folder)
  inside = [folders.get(file, []) for file in files]
  rows.refuse(
    np.array([len(found) > 1 for found in inside]),
    lambda i: f"{files[i]} is in the folders {' and '.join(inside[i])}",
    "name the folder in file_pattern",
  )
  return [
    f"{found[0]}/{file.removeprefix(ANY_FOLDER)}" if found else file
    for file, found in zip(files, inside, strict=True)
  ]
