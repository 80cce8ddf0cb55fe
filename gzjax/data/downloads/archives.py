"""The images of a download, in folders and zips, without unpacking them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import functools
import gzip
import hashlib
from pathlib import Path, PurePosixPath
import shutil
import tempfile
import threading
from typing import Any, NamedTuple
import zipfile

import numpy as np

from gzjax.data import bad_images
from gzjax.data.images import check_bytes, whole_rgb
from gzjax.errors import UserError
from gzjax.progress import progress, say

_SUFFIXES = (".jpg", ".jpeg", ".png")
_BLOCK = 1 << 20
_MOST_MISSING = 0.01

# Something on disk or in a zip; both kinds of path have the same methods.
AnyPath = Path | zipfile.Path
OpenFile = Any  # binary, for reading


class Member(NamedTuple):
  """An image file."""

  place: str  # the folder or zip that it is in, for messages
  archive: zipfile.ZipFile | None  # None: a file in a folder
  name: str  # within its place
  size: int  # bytes
  stamp: int  # changes with the content: checksum or time of change

  def __str__(self):
    return f"{self.name} in {self.place}"


class Images:
  """Image files by their stem: `a/123.jpg` is `123`."""

  def __init__(self, members: Iterable[Member]):
    """Indexes the members; UserError if two of them have the same stem."""
    self._lock = threading.Lock()
    self._members: dict[str, Member] = {}
    for member in members:
      stem = PurePosixPath(member.name).stem
      other = self._members.setdefault(stem, member)
      if other is not member:
        raise UserError(
          f"the image {stem} is there twice, {other} and {member}: keep one of "
          "them."
        )

  def __len__(self) -> int:
    return len(self._members)

  def has(self, stems: Iterable[str]) -> np.ndarray:
    """Which of N images are there, bool[N]."""
    return np.fromiter((stem in self._members for stem in stems), bool)

  def has_most(
    self, stems: np.ndarray, ids: np.ndarray, table: str
  ) -> np.ndarray:
    """`has`, where so few are missing that the download may be whole.

    Raises:
      UserError: if more than one in a hundred is missing; it names the first of
        the ids, str[N], and the table that they come from.
    """
    found = self.has(stems)
    if np.mean(~found) > _MOST_MISSING:
      places = sorted({member.place for member in self._members.values()})
      raise UserError(
        f"{', '.join(places)} has no image of {np.sum(~found)} of the "
        f"{len(ids)} galaxies of {table} (the first is {ids[found.argmin()]}): "
        "these are other images, or not all; download them again."
      )
    return found

  def sizes(self, stems: Iterable[str]) -> np.ndarray:
    """Sizes of N images that are there, i64[N] bytes."""
    return np.fromiter((self._members[s].size for s in stems), np.int64)

  def state(self, stems: Iterable[str]) -> str:
    """Names the content of images that are there, without reading them."""
    digest = hashlib.sha256()
    for stem in stems:
      member = self._members[stem]
      digest.update(f"{member.name} {member.size} {member.stamp}\n".encode())
    return digest.hexdigest()

  def read(self, stems: Iterable[str], ids: Iterable[str]) -> Iterator[bytes]:
    """Reads and checks images in threads, in order; see `whole_rgb`.

    Raises:
      UserError: naming those that are no whole images, by their ids.
    """
    wanted = [*zip(stems, ids, strict=True)]
    return bad_images.read_all(self._read, wanted, len(wanted))

  def _read(self, stem_and_id):
    stem, id_str = stem_and_id
    member = self._members[stem]
    where, mend = f"galaxy {id_str}", f"download {member.place} again"
    with bad_images.naming(where, str(member), mend):
      return whole_rgb(self._encoded(member))

  def _encoded(self, member):
    check_bytes(member.size)
    if member.archive is None:
      return Path(member.place, member.name).read_bytes()
    # ZipFile counts its readers without a lock of its own.
    with self._lock:
      return member.archive.read(member.name)


def find(
  places: Sequence[AnyPath], names: Sequence[str], origin: str
) -> AnyPath:
  """The first file or folder of one of the names, in order of preference.

  Raises:
    UserError: if there is none; it says from which origin a user gets it.
  """
  for name in names:
    for place in places:
      if (place / name).exists():
        return place / name
  raise UserError(
    f"{places[0]} has no {' or '.join(names)}: get it from {origin}."
  )


class Files(contextlib.ExitStack):
  """Opens files, and closes all of them at its end.

  A zip in another zip is copied first, as compressed data cannot be read from
  the middle: to a file without a name, which goes when the process ends.
  """

  def __init__(self, scratch: Path):
    """Sets the folder of these copies."""
    super().__init__()
    self._scratch = scratch

  def open_zip(self, path: AnyPath) -> zipfile.ZipFile:
    """Opens a zip; UserError if it is damaged or none."""
    try:
      return self.enter_context(zipfile.ZipFile(self._seekable(path)))
    except (zipfile.BadZipFile, EOFError) as error:
      raise UserError(
        f"{path} is not a whole zip ({error}): download it again."
      ) from error

  def _seekable(self, path):
    if isinstance(path, Path):
      return path
    say(f"copying {path} to a temporary file in {self._scratch}")
    self._scratch.mkdir(parents=True, exist_ok=True)
    copy = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
    self.enter_context(copy)
    with path.open("rb") as file:
      shutil.copyfileobj(file, copy, _BLOCK)
    return copy

  def open_file(self, path: AnyPath) -> OpenFile:
    """Opens a file for reading; unpacks `.gz`, and `.zip` with one file in it.

    Raises:
      UserError: if the zip is damaged or holds more than one file.
    """
    if path.suffix == ".zip":
      archive = self.open_zip(path)
      names = [name for name in archive.namelist() if _is_file(name)]
      if len(names) != 1:
        raise UserError(
          f"{path} holds {len(names)} files instead of one: download it again."
        )
      return self.enter_context(archive.open(names[0]))
    file = self.enter_context(path.open("rb"))
    return gzip.open(file) if path.suffix == ".gz" else file

  def open_images(self, paths: Sequence[AnyPath]) -> Images:
    """Opens the images of folders and zips, at any depth.

    Raises:
      UserError: if a zip is damaged, an image is there twice, or there is none.
    """
    found = Images(member for path in paths for member in self._members(path))
    if not len(found):
      raise UserError(
        f"there are no images ({', '.join(_SUFFIXES)}) in "
        f"{', '.join(map(str, paths))}: download them again."
      )
    return found

  def _members(self, path) -> Iterator[Member]:
    if path.suffix == ".zip":
      return _zip_members(self.open_zip(path), str(path))
    if isinstance(path, Path):
      return _folder_members(path)
    return _zip_members(path.root, str(path.root.filename), path.at)


def verify(path: AnyPath, algorithm: str, published: Mapping[str, str]) -> None:
  """Checks a file against the published checksum of its name, if there is one.

  What is no file of its own is not checked. The algorithm is md5 or sha256.

  Raises:
    UserError: if they differ.
  """
  expected = published.get(path.name)
  if expected is None or not isinstance(path, Path) or path.is_dir():
    return
  digest = hashlib.new(algorithm, usedforsecurity=False)
  with path.open("rb") as file:
    blocks = iter(functools.partial(file.read, _BLOCK), b"")
    count = -(-path.stat().st_size // _BLOCK)
    for block in progress(blocks, count, f"checking {path.name}"):
      digest.update(block)
  if digest.hexdigest() != expected:
    raise UserError(
      f"{path} is not the published file: its {algorithm} is "
      f"{digest.hexdigest()}, not {expected}; download it again (or, if you "
      "changed it yourself, set verify=False)."
    )


def _folder_members(folder: Path) -> Iterator[Member]:
  for path in sorted(folder.rglob("*")):
    name = path.relative_to(folder).as_posix()
    if _is_image(name):
      state = path.stat()
      yield Member(str(folder), None, name, state.st_size, state.st_mtime_ns)


def _zip_members(archive, place, under="") -> Iterator[Member]:
  for info in archive.infolist():
    if info.filename.startswith(under) and _is_image(info.filename):
      yield Member(place, archive, info.filename, info.file_size, info.CRC)


def _is_file(name: str) -> bool:
  """Whether it is neither a folder nor what macOS adds to a zip."""
  path = PurePosixPath(name)
  return not (
    name.endswith("/") or path.name.startswith("._") or "__MACOSX" in path.parts
  )


def _is_image(name: str) -> bool:
  return _is_file(name) and name.lower().endswith(_SUFFIXES)
