"""Your own galaxies: a table and a folder of images."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from gzjax.data import bad_images, frames
from gzjax.data.galaxy_builder import Galaxies, GalaxyBuilder
from gzjax.data.galaxy_catalog.catalog import Catalog, fingerprint, reader
from gzjax.morphology import campaigns


@dataclasses.dataclass(kw_only=True)
class GalaxyCatalogConfig(tfds.core.BuilderConfig):
  """A checked catalogue, see `catalog.read_catalog`."""

  name: str
  catalog: Catalog = dataclasses.field(repr=False)


class Builder(GalaxyBuilder):
  """DatasetBuilder for a catalogue of galaxies; needs no TensorFlow."""

  VERSION = tfds.core.Version("1.1.0")
  RELEASE_NOTES: ClassVar = {
    "1.1.0": "The name of the image file; labels may be missing.",
    "1.0.0": "First release.",
  }

  def _tree(self):
    name = self.builder_config.catalog.tree
    return campaigns.find(name) if name else None

  def _features(self) -> dict[str, Any]:
    catalog = self.builder_config.catalog
    return frames.features(catalog.frame, catalog.classes)

  def _galaxies(self, dl_manager, files) -> Galaxies:
    del dl_manager, files
    catalog = self.builder_config.catalog
    frame, read = catalog.frame, reader(catalog)
    return Galaxies(
      columns=frames.columns(frame),
      images=lambda rows: bad_images.read_all(read, rows.tolist(), len(rows)),
      sizes=np.array([Path(path).stat().st_size for path in frame["path"]]),
      source=fingerprint(catalog),
      left_out=catalog.left_out,
      notes=catalog.notes,
    )
