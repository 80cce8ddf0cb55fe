"""What all our TFDS builders share: records in order, shard by shard.

TFDS's own GeneratorBasedBuilder holds up to 1 GB of records in memory and needs
TensorFlow for more. Here memory holds one shard, whatever the number of images,
and a build that was interrupted goes on after its last whole shard.
"""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import errno
import functools
import hashlib
import importlib.util
import itertools
import os
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from gzjax.data import recorded
from gzjax.data.downloads.archives import Files
from gzjax.errors import UserError
from gzjax.files import write_whole
from gzjax.morphology import trees
from gzjax.morphology.campaigns import TREES
from gzjax.morphology.trees import Tree
from gzjax.progress import progress, say

SPLIT = "full"
SHARD_BYTES = 128 << 20
SHARD_GALAXIES = 16384

# As plain floats TFDS stores 32 bits: off by 0.05 arc seconds. These are read
# as f64[] arrays.
DEGREES = tfds.features.Tensor(
  shape=(), dtype=np.float64, encoding=tfds.features.Encoding.BYTES
)


class Galaxies(NamedTuple):
  """N galaxies in the order of their records."""

  # N values of every feature but the image.
  columns: Mapping[str, Sequence[Any] | np.ndarray]
  # Rows i64[n] -> their encoded images in that order, read as they are taken.
  images: Callable[[np.ndarray], Iterable[bytes]]
  sizes: np.ndarray  # i64[N], about how many bytes each image has
  source: str  # names the state of the image files: changes when they do
  left_out: Mapping[str, int] = {}  # reason: number of galaxies not taken
  notes: Sequence[str] = ()  # what else the user should know


class GalaxyBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
  """Base of the builders: an image, an id and what else is known."""

  _parts: "_Parts"
  _stream: Iterator[tuple[int, dict[str, Any]]]

  def __init__(self, *, file_format: Any = None, **kwargs: Any):
    super().__init__(file_format=file_format, **kwargs)
    if file_format is None and not self.info.initialized:
      # TFDS's default, tfrecord, needs TensorFlow; array_record has no wheel
      # for some systems.
      default = "array_record" if _has("array_record") else "parquet"
      self.info.set_file_format(default, override=True)

  @abc.abstractmethod
  def _features(self) -> dict[str, Any]:
    """The TFDS features of a record beside `image` and `id_str`."""

  @abc.abstractmethod
  def _galaxies(
    self, dl_manager: tfds.download.DownloadManager, files: Files
  ) -> Galaxies:
    """What to record; `files` closes what it opened once that is written.

    Raises:
      UserError: naming the file and the mend.
    """

  def _tree(self) -> Tree | None:
    """Whose answers the votes are."""
    return None

  def _info(self) -> tfds.core.DatasetInfo:
    tree = self._tree()
    features = {
      "image": tfds.features.Image(shape=(None, None, 3)),
      "id_str": tfds.features.Text(),
      **self._features(),
    }
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      metadata=tfds.core.MetadataDict(
        tree=_record(tree) if tree else None, left_out={}, notes=[]
      ),
      disable_shuffling=True,
    )

  def _download_and_prepare(self, dl_manager, download_config=None):
    with Files(Path(self.data_dir).parent) as files:
      galaxies = self._galaxies(dl_manager, files)
      if not len(galaxies.sizes):
        raise UserError(
          f"no galaxy is left for {self.info.full_name} (left out: "
          f"{dict(galaxies.left_out) or 'none'}): give the files that it needs."
        )
      self.info.metadata["left_out"] = dict(galaxies.left_out)
      self.info.metadata["notes"] = list(galaxies.notes)
      self._parts = self._open_parts(galaxies)
      rows = itertools.chain.from_iterable(self._parts.missing.values())
      todo = np.fromiter(rows, np.int64)
      words = f"writing {self.info.full_name}"
      stream = progress(_examples(galaxies, todo), len(todo), words)
      self._stream = files.enter_context(contextlib.closing(stream))
      with _room_for(galaxies.sizes[todo].sum(), self._parts.folder):
        super()._download_and_prepare(dl_manager, download_config)
        self._write_table(galaxies)

  def _write_table(self, galaxies: Galaxies) -> None:
    """All but the images, which else had to be read out of every record."""
    types = {
      name: feature.np_dtype
      for name, feature in self.info.features.items()
      if name != "image"
    }
    table = recorded.of_columns(types, galaxies.columns)
    recorded.write(Path(self.data_dir), table)

  def _shard_iterators_per_split(self, dl_manager):
    del dl_manager
    shards = self._parts.shards.items()
    return {SPLIT: [functools.partial(self._shard, *shard) for shard in shards]}

  def _shard(self, name: str, rows: range) -> Iterator[Any]:
    if name in self._parts.missing:
      return itertools.islice(self._stream, len(rows))
    return iter(rows)  # TFDS counts them; the writer does not read them

  def _example_writer(self):
    return _PartsWriter(self.info.file_format, self._parts)

  def _post_download_and_prepare_hook(self):
    # Another process may be writing there, to no avail.
    shutil.rmtree(self._parts.folder, ignore_errors=True)

  def _open_parts(self, galaxies: Galaxies) -> "_Parts":
    """The folder of finished shards; those of other galaxies are deleted."""
    bounds = shard_rows(galaxies.sizes)
    template = self._get_filename_template(SPLIT)
    name = functools.partial(template.sharded_filepath, num_shards=len(bounds))
    shards = {name(shard_index=i).name: x for i, x in enumerate(bounds)}
    # It stays, other than the folder that TFDS writes into.
    beside = Path(self.data_dir).parent
    prefix = f"parts.{self.version}."
    folder = beside / (prefix + _fingerprint(galaxies, *map(str, bounds)))
    for stale in set(beside.glob(f"{prefix}*")) - {folder}:
      shutil.rmtree(stale)
    folder.mkdir(exist_ok=True)
    missing = {k: x for k, x in shards.items() if not (folder / k).exists()}
    if done := len(shards) - len(missing):
      say(f"{folder}: {done} of {len(shards)} shards are there")
    return _Parts(folder, shards, missing)


def _record(tree: Tree) -> Any:
  """A tree of ours by its name; another one as it is."""
  return tree.name if tree.name in TREES else trees.to_json(tree)


def manual_dir(dl_manager: tfds.download.DownloadManager) -> Path:
  """The folder of downloads; UserError names the files that it needs."""
  try:
    return Path(dl_manager.manual_dir)
  except AssertionError as error:
    raise UserError(str(error)) from error


def shard_rows(sizes: np.ndarray) -> list[range]:
  """Cuts N rows of so many bytes each, i64[N], into shards that fit in memory.

  They are ranges that follow one another, each of at most `SHARD_GALAXIES` rows
  and, unless it is a single row, `SHARD_BYTES` bytes.
  """
  ends = np.cumsum(sizes)
  shards, start = [], 0
  while start < len(sizes):
    full = (ends[start - 1] if start else 0) + SHARD_BYTES
    stop = int(np.searchsorted(ends, full, side="right"))
    stop = min(max(stop, start + 1), start + SHARD_GALAXIES)
    shards.append(range(start, stop))
    start = stop
  return shards


class _Parts(NamedTuple):
  """Finished shards, kept until TFDS has moved the data set to its place."""

  folder: Path  # its name tells what the shards are made from
  shards: dict[str, range]  # file name: rows
  # Those that this build writes. Fixed at the start: another process may build
  # the same data set.
  missing: dict[str, range]


class _PartsWriter(tfds.core.ExampleWriter):
  """Writes each shard to the parts: whole, or not at all."""

  def __init__(self, file_format: Any, parts: _Parts):
    super().__init__(file_format)
    self._parts = parts

  def write(self, path, examples):
    path, write_shard = Path(path), super().write

    def write(part):
      write_shard(part, examples)
      # Power may fail after a rename: wait until the file is on the disk.
      with part.open("rb") as file:
        os.fsync(file.fileno())

    if path.name in self._parts.missing:
      write_whole(self._parts.folder / path.name, write)
    # Before the last shard TFDS's folder stays empty, so that a killed build
    # leaves nothing in it.
    if path.name == next(reversed(self._parts.shards)):
      for name in self._parts.shards:
        _place(self._parts.folder / name, path.with_name(name))


def _place(part: Path, path: Path):
  """Gives a part its final name; keeps the old one if the disk has links."""
  try:
    os.link(part, path)
  except OSError:
    part.replace(path)


def _has(package: str) -> bool:
  return importlib.util.find_spec(package) is not None


def _examples(galaxies, rows):
  for i, image in zip(rows, galaxies.images(rows), strict=True):
    values = {name: column[i] for name, column in galaxies.columns.items()}
    yield int(i), {"image": image, **values}


def _fingerprint(galaxies: Galaxies, *texts: str) -> str:
  """Twelve hex digits that name the records."""
  digest = hashlib.sha256(repr((galaxies.source, texts)).encode())
  digest.update(np.asarray(galaxies.sizes, np.int64).tobytes())
  for name, column in galaxies.columns.items():
    values = np.asarray(column)
    if values.dtype == object:
      values = values.astype(str)
    digest.update(f"{name} {values.dtype} {values.shape}".encode())
    digest.update(values.tobytes())
  return digest.hexdigest()[:12]


@contextlib.contextmanager
def _room_for(size: int, folder: Path):
  """Says in one line that the disk is too small, before or while it fills."""
  message = (
    f"no room for the data set in {folder.parent}: it needs "
    f"{size / 1e6:,.0f} MB more; make room or choose another data_dir "
    "(finished shards are kept)."
  )
  if shutil.disk_usage(folder).free < size:
    raise UserError(message)
  try:
    yield
  except (OSError, RuntimeError) as error:
    # array_record raises RuntimeError, with the system's words in it.
    if os.strerror(errno.ENOSPC) not in str(error):
      raise
    raise UserError(message) from error
