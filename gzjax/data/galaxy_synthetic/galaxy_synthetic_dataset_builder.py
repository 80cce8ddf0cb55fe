"""A synthetic sky of smooth galaxies, featured galaxies and artifacts."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from gzjax.data import sky, volunteers, zoo_records
from gzjax.data.builder import Galaxies, GalaxyBuilder
from gzjax.data.decision_tree import GZ2
from gzjax.data.images import to_png
from gzjax.data.threads import bounded_map


@dataclasses.dataclass(kw_only=True)
class GalaxySyntheticConfig(tfds.core.BuilderConfig):
  """Which sky: its parts are also its name, so that equal skies are shared."""

  galaxies: int = 2000
  image_size: int = 64
  class_fractions: tuple[float, ...] = (0.45, 0.45, 0.1)
  seed: int = 0
  name: str = ""

  def __post_init__(self):
    shares = "-".join(f"{share:g}" for share in self.class_fractions)
    self.name = self.name or (
      f"n{self.galaxies}-px{self.image_size}-shares{shares}-seed{self.seed}"
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
    return GZ2

  def _features(self) -> dict[str, Any]:
    return {
      "label": tfds.features.ClassLabel(names=list(sky.CLASSES)),
      "counts": zoo_records.per_answer(GZ2),
      "true_shares": zoo_records.per_answer(GZ2),
      **dict.fromkeys(
        sky.Scene._fields, tfds.features.Scalar(dtype=np.float32)
      ),
    }

  def _galaxies(self, dl_manager, stack) -> Galaxies:
    del dl_manager, stack
    config = self.builder_config
    seed, size = config.seed, config.image_size
    label = sky.sample_labels(seed, config.galaxies, config.class_fractions)
    scenes, votes = volunteers.vote_all(seed, label)

    def images(rows):
      pictures = sky.pictures(seed, rows, label[rows], size)
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
