"""A prepared data set: TFDS records on disk and their decoded pixels."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from gzjax import digests, locks
from gzjax.data import pixels, recorded
from gzjax.errors import DamagedError, UserError
from gzjax.files import read_json, write_json
from gzjax.morphology import campaigns, trees
from gzjax.morphology.votes import Votes, from_counts, from_fractions

_DIGESTS = "digests.json"  # of what TFDS wrote


class Dataset(NamedTuple):
  """N galaxies in a fixed order."""

  fingerprint: str
  classes: tuple[str, ...]  # of the recorded labels; () if there are none
  # id_str, and what else was recorded with one value a galaxy: label and
  # given_label (indices of `classes`), ra, dec, split, ...
  table: pd.DataFrame
  votes: Votes | None
  left_out: dict[str, int]  # galaxies that the builder did not take, and why
  notes: tuple[str, ...]  # what else the builder has to say
  image: pixels.Images  # u8[N,S,S,3], on disk

  def select(self, rows: np.ndarray) -> "Dataset":
    """Some of the galaxies."""
    if np.array_equal(rows, np.arange(len(self.table))):
      return self
    return self._replace(
      table=self.table.iloc[rows].reset_index(drop=True),
      votes=self.votes and self.votes.select(rows),
      image=pixels.SelectedImages(np.asarray(self.image), rows),
    )


def prepare(
  builder: tfds.core.DatasetBuilder, manual_dir: str | None = None
) -> Path:
  """Writes the records unless they are there; returns their folder.

  A build that was interrupted goes on after its last whole shard, and nothing
  half-written ever has the final name. `manual_dir` has the files that the user
  downloaded.

  Raises:
    UserError: naming the file and the mend.
  """
  folder = Path(os.fspath(builder.data_dir))
  if builder.is_prepared():
    return folder
  config = tfds.download.DownloadConfig(manual_dir=manual_dir)
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Another process that wants the same data set waits, and then finds it; and
    # TFDS says on standard output what the bar says, too.
    alone = locks.waiting(folder.parent / ".lock")
    with alone, contextlib.redirect_stdout(None):
      builder.download_and_prepare(download_config=config)
      if not (folder / _DIGESTS).exists():  # nobody has used it yet
        _sign(folder)
  except OSError as error:
    raise UserError(
      f"cannot write the data set to {builder.data_dir} ({error.strerror}): "
      "choose another data_dir."
    ) from error
  return folder


def load(folder: Path, *, crop: int, size: int) -> Dataset:
  """Opens what `prepare` wrote, decoding its images on first use.

  For `crop` and `size` see `images.to_square`.

  Raises:
    UserError: if the folder is gone or its pixels are damaged.
  """
  records = _Records(folder)
  info = records.info
  metadata = info.metadata or {}
  image = pixels.cached_pixels(
    folder / f"pixels-crop{crop}-size{size}",
    lambda start: records.images(range(start, len(records))),
    len(records),
    crop=crop,
    size=size,
  )
  table = _table(folder, records)
  has_label = "label" in info.features
  classes = tuple(info.features["label"].names) if has_label else ()
  return Dataset(
    fingerprint="/".join(info.full_name.split("/")[:-1]) or info.name,
    classes=classes,
    table=table[[name for name in table.columns if "/" not in name]],
    votes=_votes(table, _tree(metadata.get("tree"), classes)),
    left_out=dict(metadata.get("left_out", {})),
    notes=tuple(metadata.get("notes", ())),
    image=image,
  )


def verify(folder: Path) -> None:
  """Reads all that was written.

  Raises:
    DamagedError: for something else.
  """
  _check(folder, thorough=True)
  pixels.verify(folder)


def encoded_images(folder: Path) -> Callable[[str], bytes]:
  """Id of a galaxy -> its image as it was recorded: JPEG or PNG.

  Raises:
    UserError: if the folder is gone.
  """
  records = _Records(folder)
  ids = _table(folder, records, ["id_str"])["id_str"]
  row_of = dict(zip(ids, range(len(ids)), strict=True))

  def image_of(id_str):
    (image,) = records.images([row_of[id_str]])
    return image

  return image_of


def some_images(folder: Path, count: int) -> list[bytes]:
  """Evenly spaced images as they were recorded.

  Raises:
    UserError: if the folder is gone.
  """
  records = _Records(folder)
  rows = np.unique(np.linspace(0, len(records) - 1, count).astype(int))
  return list(records.images(rows.tolist()))


class _Records:
  """What was recorded of N galaxies, read one by one."""

  def __init__(self, folder: Path):
    """Opens a prepared data set; UserError if its folder is gone."""
    if not folder.is_dir():
      raise UserError(
        f"the prepared data set {folder} is gone: run the stage prepare again, "
        "with overwrite."
      )
    _check(folder)
    builder = tfds.builder_from_directory(folder)
    self.info = builder.info
    (split,) = self.info.splits
    as_bytes = tfds.decode.DeserializeMethod.RAW_BYTES
    self._source = builder.as_data_source(split, deserialize_method=as_bytes)
    self._folder = folder

  def __len__(self) -> int:
    return len(self._source)

  def images(self, rows: Iterable[int]) -> Iterator[bytes]:
    """Encoded images; of the records nothing else is parsed."""
    features = self.info.features
    only = tfds.features.FeaturesDict({"image": features["image"]})
    return (record["image"] for record in self._read(rows, only))

  def whole(self) -> Iterator[dict[str, Any]]:
    """All records, with their images still encoded."""
    return self._read(range(len(self)), self.info.features)

  def _read(self, rows, features):
    """Of some of the records some features, or DamagedError for a bad one."""
    decoders: Any = {"image": tfds.decode.SkipDecoding()}
    for row in rows:
      try:
        record = features.deserialize_example_np(
          self._source[row], decoders=decoders
        )
      except Exception as error:  # of array_record, which checks what it reads
        raise _damaged(self._folder / f"record {row}", str(error)) from error
      yield record


def _sign(folder: Path) -> None:
  """Notes the digests of what TFDS wrote."""
  files = (path for path in folder.iterdir() if path.is_file())
  known = {
    path.name: digests.of_file(path)
    for path in files
    if path.name not in recorded.FILES  # they have a digest of their own
  }
  write_json(folder / _DIGESTS, digests.signed(known))


def _check(folder: Path, *, thorough: bool = False) -> None:
  """DamagedError for other notes of TFDS, or also records, than it wrote."""
  path = folder / _DIGESTS
  record = read_json(path)
  if record is None:  # of before there were digests
    return
  known = digests.unsigned(record)
  if known is None:
    raise _damaged(path, "its digest is another one")
  for name, digest in known.items():
    path = folder / name
    if not (thorough or path.suffix in (".json", ".txt")):
      continue
    if not path.exists() or digests.of_file(path) != digest:
      raise _damaged(path, "its digest is another one")


def _damaged(path: Path, why: str) -> DamagedError:
  mend = f"delete {path.parent}, and the same command makes it again"
  return DamagedError(path, why, mend)


def _table(
  folder: Path, records: _Records, columns: list[str] | None = None
) -> pd.DataFrame:
  """Some columns, or all, of what the builder has left beside the images.

  The records are read where that is not whole, or of before builders left it.
  """
  found = recorded.read(folder, columns)
  if found is None:
    recorded.write(folder, recorded.of_records(records.whole(), len(records)))
    return _table(folder, records, columns)
  return found


def _tree(record: Any, classes: tuple[str, ...]) -> trees.Tree:
  """The tree that a builder recorded, see `galaxy_builder`."""
  if isinstance(record, str):
    return campaigns.TREES[record]
  if record:
    return trees.from_json(record)
  # One vote column for each class: a single question.
  question = trees.Question("label", "Which class is it?", classes)
  return trees.Tree(campaigns.OF_CLASSES, (question,))


def _votes(table: pd.DataFrame, tree: trees.Tree) -> Votes | None:
  def vectors(name):
    columns = table.filter(regex=f"^{name}/")
    return None if columns.empty else columns.to_numpy(np.float64)

  debiased = vectors("debiased")
  for name in ("counts", "votes", "fractions"):
    if (found := vectors(name)) is not None:
      make = from_fractions if name == "fractions" else from_counts
      return make(tree, found, debiased)
  return None
