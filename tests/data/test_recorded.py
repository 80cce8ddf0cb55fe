"""The table that builders leave is the one that the records hold."""

import numpy as np
import pandas as pd
import pytest

from gzjax.data import builders, dataset, recorded
from gzjax.data.galaxy_zoo2 import Builder as GalaxyZoo2
from gzjax.data.galaxy_zoo_decals import Builder as Decals
from gzjax.data.galaxy_zoo_decals import GalaxyZooDecalsConfig
from gzjax.morphology import campaigns
from tests.data import zoo_files
from tests.data.catalogs import add_columns, write_catalog
from tests.data.galaxy_files import galaxy10, write_evo, write_hdf5

COUNT = 12


def _reader(name, folder, **settings):
  place = builders.Place(data_dir=str(folder / "tfds"), size=8)
  return builders.READERS[name](place, **settings)


def _synthetic(folder):
  return _reader("galaxy_synthetic", folder, galaxies=COUNT)


def _catalog(folder):
  path = write_catalog(folder, COUNT)
  columns = {
    "ra": np.arange(COUNT) / 7,
    "dec": np.arange(COUNT) / 9,
    "split": ["train", "validation", "test"] * (COUNT // 3),
    **{f"p_{name}": np.arange(COUNT) / 13 for name in "abc"},
  }
  add_columns(path, columns)
  votes = ("p_a", "p_b", "p_c")
  return _reader(
    "galaxy_catalog", folder, catalog=str(path), vote_columns=votes
  )


def _evo(folder):
  path = write_evo(folder / "gz_evo")
  return _reader("galaxy_zoo_parquet", folder, catalog=str(path))


def _galaxy10(folder):
  path = write_hdf5(folder / "Galaxy10_DECals.h5", galaxy10(20))
  return _reader("galaxy10_decals", folder, catalog=str(path))


def _kaggle(folder):
  zoo_files.write_kaggle(folder, COUNT)
  builder = GalaxyZoo2(config="kaggle", data_dir=str(folder / "tfds"))
  return zoo_files.prepare(builder, folder)


def _decals(folder):
  zoo_files.write_decals(
    folder, campaigns.GZD_5, "gz_decals_volunteers_5", COUNT
  )
  config = GalaxyZooDecalsConfig(
    name="test", campaign="volunteers_5", verify=False
  )
  builder = Decals(config=config, data_dir=str(folder / "tfds"))
  return zoo_files.prepare(builder, folder)


@pytest.mark.parametrize(
  "make", [_synthetic, _catalog, _evo, _galaxy10, _kaggle, _decals]
)
def test_the_builder_leaves_what_the_records_hold(tmp_path, monkeypatch, make):
  folder = dataset.prepare(make(tmp_path))
  with monkeypatch.context() as patch:
    patch.setattr(recorded, "of_records", lambda *_: pytest.fail("read again"))
    left = dataset.load(folder, crop=0, size=8)
  table = pd.read_parquet(folder / "table.parquet")
  for name in recorded.FILES:
    (folder / name).unlink()
  again = dataset.load(folder, crop=0, size=8)
  pd.testing.assert_frame_equal(left.table, again.table, check_exact=True)
  pd.testing.assert_frame_equal(
    table, pd.read_parquet(folder / "table.parquet"), check_exact=True
  )


def test_a_damaged_table_is_made_again_of_the_records(tmp_path):
  folder = dataset.prepare(_synthetic(tmp_path))
  path = folder / "table.parquet"
  whole = path.read_bytes()
  path.write_bytes(whole[:-9])
  name = dataset.encoded_images(folder)  # of which it needs the ids alone
  assert path.read_bytes() == whole
  assert name("sky0-000003") == dataset.some_images(folder, COUNT)[3]
  dataset.verify(folder)
