"""A synthetic sky of smooth galaxies, featured galaxies and artifacts."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from gzjax.data.downloads import records
from gzjax.data.galaxy_builder import Galaxies, GalaxyBuilder
from gzjax.data.images import to_png
from gzjax.errors import SettingError
from gzjax.morphology import campaigns
from gzjax.morphology.campaigns import GZ2
from gzjax.sky import render, volunteers
from gzjax.sky.scene import CLASSES, Scene, sample_labels
from gzjax.threads import bounded_map


@dataclasses.dataclass(kw_only=True)
class GalaxySyntheticConfig(tfds.core.BuilderConfig):
  """Which sky: its parts are also its name, so that equal skies are shared."""

  galaxies: int = 2000
  image_size: int = 64
  class_fractions: tuple[float, ...] = (0.45, 0.45, 0.1)
  seed: int = 0
  tree: str = GZ2.name  # through which the volunteers vote
  name: str = ""

  def __post_init__(self):
    if self.tree not in volunteers.CAMPAIGNS:
      raise SettingError(
        f"tree is {self.tree!r}: volunteers of the synthetic sky vote through "
        f"{' or '.join(volunteers.CAMPAIGNS)} only; choose one of them."
      )
    shares = "-".join(f"{share:g}" for share in self.class_fractions)
    # Skies that were made when there was only Galaxy Zoo 2 stay valid.
    tree = "" if self.tree == GZ2.name else f"-{self.tree}"
    self.name = self.name or (
      f"n{self.galaxies}-px{self.image_size}-shares{shares}-seed{self.seed}"
      f"{tree}"
    )


class Builder(GalaxyBuilder):
  """DatasetBuilder for the synthetic sky; needs no TensorFlow."""

  VERSION = tfds.core.Version("2.0.0")
  RELEASE_NOTES: ClassVar = {
    "1.0.0": "First release.",
    "2.0.0": "All features of Galaxy Zoo 2, volunteers' votes and the truth.",
  }
  BUILDER_CONFIGS: ClassVar = [GalaxySyntheticConfig(name="small")]

  def _tree(self):
    return campaigns.TREES[self.builder_config.tree]

  def _features(self) -> dict[str, Any]:
    per_answer = records.per_answer(self._tree())
    return {
      "label": tfds.features.ClassLabel(names=list(CLASSES)),
      "counts": per_answer,
      "true_shares": per_answer,
      **dict.fromkeys(Scene._fields, tfds.features.Scalar(dtype=np.float32)),
    }

  def _galaxies(self, dl_manager, files) -> Galaxies:
    del dl_manager, files
    config = self.builder_config
    seed, size = config.seed, config.image_size
    label = sample_labels(seed, config.galaxies, config.class_fractions)
    scenes, votes = volunteers.vote_all(seed, label, self._tree())

    def images(rows):
      pictures = render.pictures(seed, rows, label[rows], size)
      return bounded_map(lambda x: to_png(Image.fromarray(x)), pictures)

    return Galaxies(
      columns={
        "id_str": [f"sky{seed}-{i:06d}" for i in range(len(label))],
        "label": label,
        "counts": np.asarray(votes.counts),
        "true_shares": np.asarray(votes.true_shares),
        **scenes._asdict(),
      },
      images=images,
      sizes=np.full(len(label), size * size * 3),
      source=config.name,
    )
