"""Galaxy Zoo 2: 37 answers about galaxies of the Sloan Digital Sky Survey."""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from gzjax.data import galaxy_builder
from gzjax.data.downloads import records
from gzjax.data.galaxy_zoo2 import hart16, kaggle
from gzjax.errors import UserError
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE


@dataclasses.dataclass(kw_only=True, eq=False)
class GalaxyZoo2Config(tfds.core.BuilderConfig):
  """Which release of the votes; the other fields are for `hart16` alone."""

  name: str
  description: str | None = None
  release: str  # kaggle or hart16
  samples: tuple[str, ...] = ("original",)  # of original, extra, stripe82
  verify: bool = True  # whether to check the checksums
  md5: Mapping[str, str] = dataclasses.field(default_factory=lambda: hart16.MD5)

  def __post_init__(self):
    if self.release not in ("kaggle", "hart16"):
      raise UserError(
        f"there is no release {self.release!r} of Galaxy Zoo 2: choose kaggle "
        "or hart16."
      )


class Builder(galaxy_builder.GalaxyBuilder):
  """DatasetBuilder for Galaxy Zoo 2; needs no TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar = [
    GalaxyZoo2Config(
      name="kaggle",
      release="kaggle",
      description="The training set of the Galaxy Challenge, 61,578 galaxies.",
    ),
    GalaxyZoo2Config(
      name="hart16",
      release="hart16",
      description="The original sample of Hart et al. (2016), with counts.",
    ),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
  Put these files into a folder, as they are, and name it as manual_dir. For the
  config kaggle: images_training_rev1.zip and training_solutions_rev1.zip, from
  {kaggle.ORIGIN} (sign in and accept the rules). For the config hart16:
  images_gz2.zip and gz2_filename_mapping.csv, from {hart16.ZENODO}, and
  gz2_hart16.csv.gz, from {hart16.S3}.
  """

  def _tree(self):
    return GZ2_KAGGLE if self.builder_config.release == "kaggle" else GZ2

  def _features(self) -> dict[str, Any]:
    tree = self._tree()
    if self.builder_config.release == "kaggle":
      return {"fractions": records.per_answer(tree)}
    return records.vote_features(tree)

  def _galaxies(self, dl_manager, files):
    config = self.builder_config
    folder = galaxy_builder.manual_dir(dl_manager)
    if config.release == "kaggle":
      return kaggle.read_challenge(folder, files)
    md5 = config.md5 if config.verify else {}
    return hart16.read_release(folder, files, samples=config.samples, md5=md5)
