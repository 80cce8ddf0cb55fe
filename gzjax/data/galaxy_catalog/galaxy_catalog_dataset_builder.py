"""Your own galaxies: a table and a folder of images."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from gzjax.data.galaxy_catalog import images
from gzjax.data.galaxy_catalog.catalog import Catalog


@dataclasses.dataclass(kw_only=True)
class GalaxyCatalogConfig(tfds.core.BuilderConfig):
  """A checked catalogue, see `catalog.read_catalog`."""

  name: str
  catalog: Catalog = dataclasses.field(repr=False)


class Builder(tfds.core.GeneratorBasedBuilder):
  """DatasetBuilder for a catalogue of galaxies; needs no TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}

  def _info(self) -> tfds.core.DatasetInfo:
    catalog = self.builder_config.catalog
    features: dict[str, Any] = {
      "image": tfds.features.Image(shape=(None, None, 3)),
      "id_str": tfds.features.Text(),
    }
    features |= {
      name: _feature(catalog, name) for name in _recorded(catalog.frame)
    }
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      # Examples keep the order of the table.
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(
        {"tree": catalog.tree, "notes": list(catalog.notes)}
      ),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager
    return {"full": self._generate_examples()}

  def _generate_examples(self):
    catalog = self.builder_config.catalog
    recorded = _recorded(catalog.frame)
    for i, row in enumerate(catalog.frame.to_dict("records")):
      data = images.read_image(
        i + 1, row["id_str"], row["file"], row.get("crop", 0), catalog.stretch
      )
      example = {"image": data, "id_str": row["id_str"]}
      yield i, example | {name: row[name] for name in recorded}


def _recorded(frame):
  """Columns of the frame that become features as they are."""
  return [name for name in frame if name not in ("id_str", "file", "crop")]


def _feature(catalog, name):
  if name in ("label", "given_label"):
    return tfds.features.ClassLabel(names=list(catalog.classes))
  if name == "split":
    return tfds.features.Text()
  if name in ("ra", "dec"):
    # The default encoding rounds to 32 bits: 0.05 arc seconds.
    return tfds.features.Tensor(
      shape=(), dtype=np.float64, encoding=tfds.features.Encoding.BYTES
    )
  return tfds.features.Tensor(
    shape=catalog.frame[name].iloc[0].shape, dtype=np.float32
  )
