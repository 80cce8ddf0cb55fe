"""TFDS builder for Galaxy Zoo 2; to import it is to register it."""

from gzjax.data.galaxy_zoo2.galaxy_zoo2_dataset_builder import (
  Builder,
  GalaxyZoo2Config,
)

__all__ = ("Builder", "GalaxyZoo2Config")
