"""Small catalogues for tests."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.data import builders
from gzjax.data.galaxy_catalog.catalog import Columns, read_catalog
from gzjax.errors import UserError

CLASSES = ("smooth", "featured", "artifact")


def write_catalog(
  folder: Path, count: int, kind: str = "png", size: int = 16
) -> Path:
  """A catalogue of `count` galaxies, ids from 1000, classes in turn.

  The images are noise around a brightness that tells the class.
  """
  rng = np.random.default_rng(0)
  (folder / "images").mkdir(parents=True, exist_ok=True)
  label = np.arange(count) % len(CLASSES)
  for i in range(count):
    noise = rng.normal(60 + 70 * label[i], 25, (size, size, 3))
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    image.save(folder / "images" / f"{i}.{kind}")
  table = pd.DataFrame(
    {
      "id_str": [str(1000 + i) for i in range(count)],
      "file_loc": [f"images/{i}.{kind}" for i in range(count)],
      "label": [CLASSES[k] for k in label],
    }
  )
  path = folder / "catalog.csv"
  table.to_csv(path, index=False)
  return path


def add_columns(path: Path, columns: dict) -> None:
  """Writes more columns into a CSV catalogue."""
  table = pd.read_csv(path, dtype=str)
  pd.concat([table, pd.DataFrame(columns)], axis=1).to_csv(path, index=False)


def edit(path: Path, row: int, column: str, value: str | None) -> None:
  """Writes another value into a cell of a CSV catalogue."""
  table = pd.read_csv(path, dtype=str)
  table.loc[row, column] = value
  table.to_csv(path, index=False)


def builder_of(path: Path, columns: Columns | None = None, classes=CLASSES):
  """The builder of a catalogue, whose data sets lie beside it in tfds/."""
  found = read_catalog(path, path.parent, columns or Columns(), classes)
  return builders.builder_of(found, path, str(path.parent / "tfds"))


def refusal(
  path: Path, columns: Columns | None = None, images: Path | None = None
) -> str:
  """The one line with which a catalogue is refused."""
  with pytest.raises(UserError) as caught:
    read_catalog(path, images or path.parent, columns or Columns(), CLASSES)
  message = str(caught.value)
  assert "\n" not in message
  assert len(message) < 900
  return message
