"""Real Galaxy Zoo 2 cut-outs through the catalogue reader and the decoder."""

import numpy as np

from gzjax.data import builders
from gzjax.data.galaxy_catalog.catalog import Columns, read_catalog
from gzjax.data.galaxy_catalog.guess import guess
from gzjax.data.galaxy_catalog.images import read_image
from gzjax.data.images import to_square
from tests.data.catalogs import CLASSES
from tests.real_data import GALAXIES, needs_real


@needs_real(GALAXIES)
def test_every_row_is_read_and_galaxies_are_bright_in_the_middle():
  frame = read_catalog(
    GALAXIES / "catalog.csv", GALAXIES, Columns(), CLASSES
  ).frame
  assert list(np.bincount(frame["label"])) == [1727, 3191, 324]
  galaxies = frame[frame["label"] < 2].head(40)
  for row in galaxies.itertuples():
    data = read_image(row.Index + 1, row.id_str, row.path)
    square = to_square(data, crop=212, size=64).astype(float)
    assert square.shape == (64, 64, 3)
    edge = np.concatenate([square[0], square[-1]]).mean()
    assert square[24:40, 24:40].mean() > edge


@needs_real(GALAXIES)
def test_columns_of_real_tables_are_found():
  given = builders.READERS.settings("galaxy_catalog")
  found = guess(GALAXIES / "catalog.csv", GALAXIES, given)
  assert found.settings["label_column"] == "label"
  assert found.settings["file_column"] == "file_loc"
  assert found.classes == {"featured": 3191, "smooth": 1727, "artifact": 324}
