"""Runs of the tiny demo with other settings, in a folder with its data sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from configs import demo
from gzjax.pipeline import stages


def config(*changes: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The tiny demo with these settings, the last ones where they differ."""
  found = demo.get_config("tiny")
  for settings in changes:
    found.update_from_flattened_dict(settings)
  return found


def run(folder: Path, asked: ml_collections.ConfigDict, *names: str) -> None:
  """Runs stages in run/, with the TFDS folder tfds/."""
  for name in names:
    stages.run(asked, folder / "run", name, data_dir=str(folder / "tfds"))
