"""Your own galaxies: a CSV or parquet table and a folder of images."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from gzjax.data.galaxy_catalog import catalog


@dataclasses.dataclass(kw_only=True)
class GalaxyCatalogConfig(tfds.core.BuilderConfig):
  """A checked catalogue (see `catalog.read_catalog`) and its class names."""

  name: str
  frame: pd.DataFrame = dataclasses.field(repr=False)
  classes: tuple[str, ...]


class Builder(tfds.core.GeneratorBasedBuilder):
  """DatasetBuilder for a catalogue of galaxies; needs no TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    features: dict[str, Any] = {
      "image": tfds.features.Image(shape=(None, None, 3)),
      "id_str": tfds.features.Text(),
      "label": tfds.features.ClassLabel(names=list(config.classes)),
    }
    if "votes" in config.frame:
      features["votes"] = tfds.features.Tensor(
        shape=(len(config.classes),), dtype=np.float32
      )
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      # Examples keep the order of the table.
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager
    return {"full": self._generate_examples()}

  def _generate_examples(self):
    for row in self.builder_config.frame.itertuples():
      data = catalog.read_image(row.Index + 1, row.id_str, row.file)
      example = {"image": data, "id_str": row.id_str, "label": int(row.label)}
      if hasattr(row, "votes"):
        example["votes"] = row.votes
      yield int(row.Index), example
