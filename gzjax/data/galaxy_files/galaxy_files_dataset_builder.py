"""Galaxies with their images inside of files."""

import dataclasses
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from gzjax.data import bad_images, frames
from gzjax.data.galaxy_builder import Galaxies, GalaxyBuilder
from gzjax.data.galaxy_files.embedded import Embedded, fingerprint
from gzjax.morphology import campaigns


@dataclasses.dataclass(kw_only=True)
class GalaxyFilesConfig(tfds.core.BuilderConfig):
  """Checked galaxies."""

  name: str
  galaxies: Embedded = dataclasses.field(repr=False)


class Builder(GalaxyBuilder):
  """DatasetBuilder for galaxies inside of files; needs no TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}

  def _tree(self):
    name = self.builder_config.galaxies.tree
    return campaigns.find(name) if name else None

  def _features(self) -> dict[str, Any]:
    galaxies = self.builder_config.galaxies
    return frames.features(galaxies.frame, galaxies.classes)

  def _galaxies(self, dl_manager, files) -> Galaxies:
    del dl_manager, files
    galaxies = self.builder_config.galaxies
    images, places = galaxies.images, galaxies.frame.index.to_numpy()
    return Galaxies(
      columns=frames.columns(galaxies.frame),
      images=lambda rows: bad_images.read_all(
        images.encode, images.read(places[rows]), len(rows)
      ),
      sizes=images.sizes[places],
      source=fingerprint(galaxies),
      left_out=galaxies.left_out,
      notes=galaxies.notes,
    )
