"""Galaxy Zoo DECaLS: votes about galaxies of the DECaLS survey."""

from collections.abc import Mapping
import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from gzjax.data import galaxy_builder
from gzjax.data.downloads import archives, records, tables
from gzjax.errors import UserError
from gzjax.morphology.campaigns import GZD_1_2, GZD_5

_TREES = {"volunteers_5": GZD_5, "volunteers_1_and_2": GZD_1_2}
_ZENODO = "zenodo.org/records/4573248"
# As the file lists of public builders have them.
_SHA256: Mapping[str, str] = {
  "gz_decals_volunteers_5.csv": (
    "aa509fc286f6a68a2a1ab7e57c04b4160be06a713f641e9c5860a498448b4c9b"
  ),
  "gz_decals_volunteers_1_and_2.csv": (
    "fab8dccfd963748c43d27ce650b13bf84c43c14796dac6a4260cc38c1b430887"
  ),
}
_PARTS = tuple(f"gz_decals_dr5_png_part{i}" for i in range(1, 5))


@dataclasses.dataclass(kw_only=True, eq=False)
class GalaxyZooDecalsConfig(tfds.core.BuilderConfig):
  """Which table of votes."""

  name: str
  description: str | None = None
  campaign: str  # volunteers_5 or volunteers_1_and_2
  verify: bool = True  # whether to check the checksum of the table
  sha256: Mapping[str, str] = dataclasses.field(default_factory=lambda: _SHA256)

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
  gz_decals_dr5_png_part<n>.zip (or the folders that they unpack to) into a
  folder and name it as manual_dir; all of them are at {_ZENODO}.
  """

  def _tree(self):
    return _TREES[self.builder_config.campaign]

  def _features(self) -> dict[str, Any]:
    return records.vote_features(self._tree())

  def _galaxies(self, dl_manager, files):
    """Those of the table that have an image, named by `iauname`."""
    config = self.builder_config
    folder = galaxy_builder.manual_dir(dl_manager)
    stem = f"gz_decals_{config.campaign}"
    path = archives.find([folder], (f"{stem}.csv", f"{stem}.parquet"), _ZENODO)
    places = _image_places(folder)
    if config.verify:
      archives.verify(path, "sha256", config.sha256)
    votes = records.read_votes(files, path, ["iauname"], self._tree().answers)
    ids = votes.pop("iauname")
    images = files.open_images(places)
    found = images.has(ids)
    if not found.any():
      raise UserError(
        f"{', '.join(map(str, places))}: not one image is of a galaxy of "
        f"{path}; get {_PARTS[0]}.zip from {_ZENODO}."
      )
    return records.galaxies(
      images,
      ids,
      {"id_str": ids, **votes},
      {"repeated id": tables.repeated(ids), "no image": ~found},
    )


def _image_places(folder: Path) -> list[Path]:
  """Zips of images, or the folders that they unpack to."""
  places = []
  for part in _PARTS:
    names = (f"{part}.zip", part)
    places += [folder / name for name in names if (folder / name).exists()][:1]
  places += sorted(folder.glob("J[0-9][0-9][0-9]"))
  if not places:
    raise UserError(
      f"{folder} has no images: get {_PARTS[0]}.zip, or any of the four parts, "
      f"from {_ZENODO}."
    )
  return places
