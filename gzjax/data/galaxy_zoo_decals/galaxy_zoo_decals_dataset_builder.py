"""Galaxy Zoo DECaLS: votes about galaxies of the DECaLS survey."""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from gzjax.data import galaxy_builder
from gzjax.data.downloads import records
from gzjax.data.galaxy_zoo_decals import release
from gzjax.errors import UserError
from gzjax.morphology.campaigns import GZD_1_2, GZD_5

_TREES = {"volunteers_5": GZD_5, "volunteers_1_and_2": GZD_1_2}


@dataclasses.dataclass(kw_only=True, eq=False)
class GalaxyZooDecalsConfig(tfds.core.BuilderConfig):
  """Which table of votes."""

  name: str
  description: str | None = None
  campaign: str  # volunteers_5 or volunteers_1_and_2
  verify: bool = True  # whether to check the checksum of the table
  sha256: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: release.SHA256
  )

  def __post_init__(self):
    if self.campaign not in _TREES:
      raise UserError(
        f"there is no campaign {self.campaign!r} of Galaxy Zoo DECaLS: choose "
        f"{' or '.join(_TREES)}."
      )


class Builder(galaxy_builder.GalaxyBuilder):
  """DatasetBuilder for Galaxy Zoo DECaLS; needs no TensorFlow."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar = [
    GalaxyZooDecalsConfig(
      name="volunteers_5",
      campaign="volunteers_5",
      description="GZD-5: 253,286 galaxies, 34 answers.",
    ),
    GalaxyZooDecalsConfig(
      name="volunteers_1_and_2",
      campaign="volunteers_1_and_2",
      description="GZD-1 and GZD-2: 30 answers.",
    ),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
  Put gz_decals_<config>.csv (or .parquet) and any of the four
  gz_decals_dr5_png_part<n>.zip (or the folders that they unpack to) into the
  folder and name it with --manual_dir=FOLDER; all of them are at
  {release.ZENODO}.
  """

  def _tree(self):
    return _TREES[self.builder_config.campaign]

  def _features(self) -> dict[str, Any]:
    return records.vote_features(self._tree())

  def _galaxies(self, dl_manager, stack):
    config = self.builder_config
    return release.read_release(
      galaxy_builder.manual_dir(dl_manager),
      self._scratch(),
      stack,
      campaign=config.campaign,
      tree=self._tree(),
      sha256=config.sha256 if config.verify else {},
    )
