"""TFDS builder for Galaxy Zoo DECaLS; to import it is to register it."""

from gzjax.data.galaxy_zoo_decals.galaxy_zoo_decals_dataset_builder import (
  Builder,
  GalaxyZooDecalsConfig,
)

__all__ = ("Builder", "GalaxyZooDecalsConfig")
