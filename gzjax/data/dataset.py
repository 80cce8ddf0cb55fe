"""A prepared data set: TFDS records on disk and their decoded pixels."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from gzjax import progress
from gzjax.data import (
  decision_tree,
  galaxy_zoo2,
  galaxy_zoo_decals,
  labels,
  pixels,
)
from gzjax.data.galaxy_catalog import (
  catalog,
  fits_images,
  galaxy_catalog_dataset_builder,
)
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_synthetic import galaxy_synthetic_dataset_builder
from gzjax.errors import UserError
from gzjax.workdir import write_whole


class Dataset(NamedTuple):
  """N galaxies in a fixed order."""

  fingerprint: str
  classes: tuple[str, ...]  # of the recorded labels; () if there are none
  # id_str, and what else was recorded with one value a galaxy: label and
  # given_label (indices of `classes`), ra, dec, split, ...
  table: pd.DataFrame
  votes: labels.Votes | None
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
      image=pixels.Rows(np.asarray(self.image), rows),
    )


def catalog_builder(
  path: Path,
  images: Path,
  columns: catalog.Columns,
  classes: tuple[str, ...],
  data_dir: str | None,
  stretch: Stretch = fits_images.DEFAULT,
) -> tfds.core.DatasetBuilder:
  """The builder of a catalogue; the fingerprint of its content is its name.

  Raises:
    UserError: see `catalog.read_catalog`.
  """
  return builder_of(
    catalog.read_catalog(path, images, columns, classes, stretch),
    path,
    data_dir,
  )


def builder_of(
  found: catalog.Catalog, path: Path, data_dir: str | None
) -> tfds.core.DatasetBuilder:
  """The builder of a catalogue that was checked.

  Args:
    found: its content.
    path: the table that it was read from; the builder is called like it.
    data_dir: TFDS folder; None is TFDS's own default.
  """
  config = galaxy_catalog_dataset_builder.GalaxyCatalogConfig(
    name=f"{path.name.partition('.')[0]}-{catalog.fingerprint(found)}",
    catalog=found,
  )
  return galaxy_catalog_dataset_builder.Builder(
    config=config, data_dir=data_dir
  )


def synthetic_builder(
  *,
  galaxies: int,
  image_size: int,
  class_fractions: tuple[float, ...],
  seed: int,
  data_dir: str | None,
  tree: str = decision_tree.GZ2.name,
) -> tfds.core.DatasetBuilder:
  """The builder of a synthetic sky.

  Args:
    galaxies: how many.
    image_size: edge of the pictures in pixels.
    class_fractions: shares of `sky.CLASSES`.
    seed: names the sky.
    data_dir: TFDS folder; None is TFDS's own default.
    tree: through which the volunteers vote, a key of `volunteers.CAMPAIGNS`.

  Raises:
    UserError: for any other tree.
  """
  config = galaxy_synthetic_dataset_builder.GalaxySyntheticConfig(
    galaxies=galaxies,
    image_size=image_size,
    class_fractions=class_fractions,
    seed=seed,
    tree=tree,
  )
  return galaxy_synthetic_dataset_builder.Builder(
    config=config, data_dir=data_dir
  )


def zoo_builder(
  name: str,
  manual_dir: str | None,
  *,
  verify: bool,
  samples: tuple[str, ...],
  data_dir: str | None,
) -> tfds.core.DatasetBuilder:
  """The builder of files of Galaxy Zoo; their fingerprint is in its name.

  Otherwise a data set that was made from a part of the files would be taken for
  that of all.

  Args:
    name: such as galaxy_zoo2/kaggle.
    manual_dir: folder of the files that the user downloaded; None is TFDS's
      own default.
    verify: whether published checksums are compared.
    samples: of Hart et al. (2016): original, extra, stripe82.
    data_dir: TFDS folder; None is TFDS's own default.

  Raises:
    UserError: for an unknown name, or a folder without the files.
  """
  family, _, config_name = name.partition("/")
  configs = {
    f"{k}/{c}": config
    for k, builder in _ZOO.items()
    for c, config in builder.builder_configs.items()
  }
  if name not in configs:
    raise UserError(
      f"data.builder is {name!r}: choose one of {', '.join(configs)}, "
      "galaxy_catalog or galaxy_synthetic."
    )
  folder = Path(manual_dir) if manual_dir else _default_manual_dir(data_dir)
  files = _listing(folder)
  if not files:
    raise UserError(
      f"there are none of Galaxy Zoo's files in the folder {folder}: "
      f"{_ZOO[family].MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )
  changes = {"samples": samples} if config_name == "hart16" else {}
  known = repr((files, changes)).encode()
  config = dataclasses.replace(
    configs[name],
    name=f"{config_name}-{hashlib.sha256(known).hexdigest()[:12]}",
    verify=verify,
    **changes,
  )
  return _ZOO[family](config=config, data_dir=data_dir)


_ZOO: dict[str, Any] = {
  "galaxy_zoo2": galaxy_zoo2.Builder,
  "galaxy_zoo_decals": galaxy_zoo_decals.Builder,
}
# How the names of their files and folders begin.
_FILES = (
  "J",
  "galaxy-zoo",
  "gz2_",
  "gz_decals",
  "images",
  "training_solutions",
)


def _default_manual_dir(data_dir: str | None) -> Path:
  root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  return root / "downloads" / "manual"


def _listing(folder: Path) -> list[tuple[str, int, int]]:
  """Galaxy Zoo's files in a folder: names, sizes and times of change."""
  if not folder.is_dir():
    return []
  found = [
    path
    for top in folder.iterdir()
    if top.name.startswith(_FILES)
    for path in (top, *top.rglob("*"))
  ]
  return sorted(
    (str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns)
    for path, stat in ((path, path.stat()) for path in found)
  )


def prepare(
  builder: tfds.core.DatasetBuilder, manual_dir: str | None = None
) -> Path:
  """Writes the records unless they are there; returns their folder.

  A build that was interrupted goes on after its last whole shard, and nothing
  half-written ever has the final name.

  Args:
    builder: of the data set.
    manual_dir: folder of the files that the user downloaded.

  Raises:
    UserError: naming the file and the mend.
  """
  folder = Path(os.fspath(builder.data_dir))
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Another process that wants the same data set waits, and then finds it.
    with (folder.parent / ".lock").open("w") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      _download_and_prepare(builder, manual_dir)
  except OSError as error:
    raise UserError(
      f"cannot write the data set to {builder.data_dir} ({error.strerror}): "
      "choose another folder with --data_dir=FOLDER."
    ) from error
  return folder


def _download_and_prepare(builder, manual_dir):
  config = tfds.download.DownloadConfig(manual_dir=manual_dir)
  # Else TFDS says on standard output what the bar says, too.
  with contextlib.redirect_stdout(None):
    builder.download_and_prepare(download_config=config)


def load(folder: Path, *, crop: int, size: int) -> Dataset:
  """Opens a prepared data set, decoding its images on first use.

  Args:
    folder: what `prepare` returned.
    crop: see `images.to_square`.
    size: see `images.to_square`.

  Raises:
    UserError: if the folder is gone or its pixels are damaged.
  """
  if not folder.is_dir():
    raise UserError(
      f"the prepared data set {folder} is gone: run again with --stage=prepare "
      "--overwrite."
    )
  builder = tfds.builder_from_directory(folder)
  (split,) = builder.info.splits
  source: Any = builder.as_data_source(
    split, decoders={"image": tfds.decode.SkipDecoding()}
  )
  image = pixels.cached_pixels(
    folder / f"pixels-crop{crop}-size{size}",
    lambda start: (source[i]["image"] for i in range(start, len(source))),
    len(source),
    crop=crop,
    size=size,
  )
  table = _table(folder / "table.parquet", source)
  info, metadata = builder.info, builder.info.metadata or {}
  has_label = "label" in info.features
  classes = tuple(info.features["label"].names) if has_label else ()
  return Dataset(
    fingerprint="/".join(info.full_name.split("/")[:-1]) or info.name,
    classes=classes,
    table=table[[name for name in table.columns if "/" not in name]],
    votes=_votes(table, metadata.get("tree"), classes),
    left_out=dict(metadata.get("left_out", {})),
    notes=tuple(metadata.get("notes", ())),
    image=image,
  )


def _table(path: Path, source: Any) -> pd.DataFrame:
  """All records without their images, kept as parquet after the first time.

  Vectors become a column for each element: `counts/0`, `counts/1`, ...
  """
  if not path.exists():
    columns: dict[str, Any] = {}
    for name, values in _columns(source).items():
      if values.ndim == 1:
        columns[name] = values
      else:
        columns |= {f"{name}/{i}": part for i, part in enumerate(values.T)}
    table = pd.DataFrame(columns)
    write_whole(path, lambda part: table.to_parquet(part, index=False))
  return pd.read_parquet(path)


def _columns(source: Any) -> dict[str, np.ndarray]:
  """The values of each feature but the image, [N,...]; text as objects."""
  columns = {}
  for i, record in enumerate(
    progress.progress(source, len(source), "reading the table")
  ):
    for name, value in record.items():
      if name == "image":
        continue
      if isinstance(value, bytes):
        value = value.decode()
      if i == 0:
        first = np.asarray(value, object if isinstance(value, str) else None)
        columns[name] = np.empty((len(source), *first.shape), first.dtype)
      columns[name][i] = value
  return columns


def _votes(
  table: pd.DataFrame, tree_name: str | None, classes: tuple[str, ...]
) -> labels.Votes | None:
  def vectors(name):
    columns = [x for x in table.columns if x.startswith(f"{name}/")]
    return table[columns].to_numpy(np.float64) if columns else None

  if tree_name:
    tree = decision_tree.TREES[tree_name]
  else:
    # One vote column for each class: a single question.
    question = decision_tree.Question("label", "Which class is it?", classes)
    tree = decision_tree.Tree("classes", (question,))
  debiased = vectors("debiased")
  for name, make in (
    ("counts", labels.from_counts),
    ("votes", labels.from_counts),
    ("fractions", labels.from_fractions),
  ):
    if (found := vectors(name)) is not None:
      return make(tree, found, debiased)
  return None
