"""A synthetic sky of smooth galaxies, featured galaxies and artifacts."""

import dataclasses
import io
import itertools
from typing import ClassVar

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from gzjax.data import decision_tree, sky, volunteers


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


class Builder(tfds.core.GeneratorBasedBuilder):
  """DatasetBuilder for the synthetic sky; needs no TensorFlow."""

  VERSION = tfds.core.Version("2.0.0")
  RELEASE_NOTES: ClassVar = {
    "1.0.0": "First release.",
    "2.0.0": "All features of Galaxy Zoo 2, volunteers' votes and the truth.",
  }
  BUILDER_CONFIGS: ClassVar = [GalaxySyntheticConfig(name="small")]

  def _info(self) -> tfds.core.DatasetInfo:
    answers = (len(decision_tree.GZ2.answers),)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(None, None, 3)),
          "id_str": tfds.features.Text(),
          "label": tfds.features.ClassLabel(names=list(sky.CLASSES)),
          "counts": tfds.features.Tensor(shape=answers, dtype=np.float32),
          "true_shares": tfds.features.Tensor(shape=answers, dtype=np.float32),
          **dict.fromkeys(
            sky.Scene._fields, tfds.features.Scalar(dtype=np.float32)
          ),
        }
      ),
      metadata=tfds.core.MetadataDict(tree=decision_tree.GZ2.name),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager
    return {"full": self._generate_examples()}

  def _generate_examples(self):
    config = self.builder_config
    label = sky.sample_labels(
      config.seed, config.galaxies, config.class_fractions
    )
    number = itertools.count()
    for images, scenes, votes in volunteers.survey(
      config.seed, label, config.image_size
    ):
      for row, (image, i) in enumerate(zip(images, number)):
        yield (
          i,
          {
            "image": _png(image),
            "id_str": f"sky{config.seed}-{i:06d}",
            "label": int(label[i]),
            "counts": votes.counts[row],
            "true_shares": votes.true_shares[row],
            **{name: x[row] for name, x in scenes._asdict().items()},
          },
        )


def _png(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "PNG")
  return buffer.getvalue()
