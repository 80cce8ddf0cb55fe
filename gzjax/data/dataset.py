"""A prepared data set: TFDS records on disk and their decoded pixels."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from gzjax import progress
from gzjax.data import pixels
from gzjax.data.galaxy_catalog import catalog, galaxy_catalog_dataset_builder
from gzjax.data.galaxy_synthetic import galaxy_synthetic_dataset_builder
from gzjax.errors import UserError

# TFDS's default, tfrecord, needs TensorFlow.
FILE_FORMAT = "array_record"


class Dataset(NamedTuple):
  """N galaxies in a fixed order."""

  fingerprint: str
  classes: tuple[str, ...]
  table: pd.DataFrame  # id_str, label (int64) and perhaps votes
  image: np.ndarray  # u8[N,S,S,3], a memory map


def catalog_builder(
  path: Path,
  images: Path,
  columns: catalog.Columns,
  classes: tuple[str, ...],
  data_dir: str | None,
) -> tfds.core.DatasetBuilder:
  """The builder of a catalogue; the fingerprint of its content is its name.

  Raises:
    UserError: see `catalog.read_catalog`.
  """
  found = catalog.read_catalog(path, images, columns, classes)
  config = galaxy_catalog_dataset_builder.GalaxyCatalogConfig(
    name=f"{path.name.partition('.')[0]}-{catalog.fingerprint(found)}",
    catalog=found,
  )
  return galaxy_catalog_dataset_builder.Builder(
    config=config, data_dir=data_dir, file_format=FILE_FORMAT
  )


def synthetic_builder(
  *,
  galaxies: int,
  image_size: int,
  class_fractions: tuple[float, ...],
  seed: int,
  data_dir: str | None,
) -> tfds.core.DatasetBuilder:
  """The builder of a synthetic sky."""
  config = galaxy_synthetic_dataset_builder.GalaxySyntheticConfig(
    galaxies=galaxies,
    image_size=image_size,
    class_fractions=class_fractions,
    seed=seed,
  )
  return galaxy_synthetic_dataset_builder.Builder(
    config=config, data_dir=data_dir, file_format=FILE_FORMAT
  )


def prepare(builder: tfds.core.DatasetBuilder) -> Path:
  """Writes the records unless they are there; returns their folder.

  TFDS writes into a temporary folder and renames it: a killed run leaves
  nothing half-written under the final name.
  """
  if not progress.on_terminal():
    tfds.disable_progress_bar()
  try:
    builder.download_and_prepare()
  except OSError as error:
    raise UserError(
      f"cannot write the data set to {builder.data_dir} ({error.strerror}): "
      "choose another folder with --data_dir=FOLDER."
    ) from error
  return Path(os.fspath(builder.data_dir))


def load(folder: Path, *, crop: int, size: int) -> Dataset:
  """Opens a prepared data set, decoding its images on first use.

  Args:
    folder: what `prepare` returned.
    crop: see `pixels.to_square`.
    size: see `pixels.to_square`.

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
    lambda: (example["image"] for example in source),
    len(source),
    crop=crop,
    size=size,
  )
  rows = [
    {name: value for name, value in example.items() if name != "image"}
    for example in source
  ]
  table = pd.DataFrame(rows)
  table["id_str"] = table["id_str"].str.decode("utf-8")
  return Dataset(
    fingerprint=f"{builder.info.name}/{builder.builder_config.name}"
    if builder.builder_config
    else builder.info.name,
    classes=tuple(builder.info.features["label"].names),
    table=table,
    image=image,
  )
