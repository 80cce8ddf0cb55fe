"""Parquet with images inside, in the layouts of Hugging Face."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from gzjax.data import builders, dataset
from gzjax.data.galaxy_files import parquet, shards
from gzjax.errors import UserError
from gzjax.morphology import campaigns
from tests.data.galaxy_files import (
  SUMMARIES,
  decoded,
  encoded,
  images,
  write_evo,
  write_labels,
)


def load(tmp_path, path, **settings):
  builder = builders.READERS["galaxy_zoo_parquet"](
    builders.Place(str(tmp_path / "tfds")), catalog=str(path), **settings
  )
  return dataset.load(dataset.prepare(builder), crop=0, size=16)


@pytest.mark.parametrize("empty", [0, np.nan])
def test_what_was_written_is_read(tmp_path, empty):
  found = load(tmp_path, write_evo(tmp_path / "gz_evo", empty=empty))
  assert len(found.table) == 40  # shards by name: test before train
  assert found.classes == ("smooth_round", "barred_spiral")
  assert found.votes.tree is campaigns.GZD_5
  for row, number in ((2, 32), (17, 7)):
    galaxy = found.table.iloc[row]
    assert galaxy["id_str"] == f"5877{number:014}"
    first = number - number % 10
    assert galaxy["ra"] == first + number % 10 / 7
    assert galaxy["dec"] == -first / 9 - number % 10 / 9
    np.testing.assert_array_equal(found.image[row], decoded(encoded(number)))
    wanted = SUMMARIES[number % 3]
    codes = {name: i for i, name in enumerate(found.classes)} | {"": -1}
    assert galaxy["label"] == codes[wanted]
    votes = [number % 10 % 7 + 3 * k + 1 for k in range(3)]
    assert number % 3 and found.votes.counts[row, :3].tolist() == votes
  asked = np.array([int(x) % 3 > 0 for x in found.table["id_str"].str[-4:]])
  np.testing.assert_array_equal(found.votes.counts.any(axis=1), asked)
  assert found.left_out == {}


def test_what_was_recognised_is_said(tmp_path):
  path = write_evo(tmp_path / "gz_evo")
  (path / "data" / "train-00001-of-00003.parquet").unlink()
  notes = load(tmp_path, path).notes
  assert notes[0] == (
    "gz_evo: 3 shards, campaigns gz2 and dr5 and dr8, 30 galaxies"
  )
  assert "2 of the 3 shards of train are there" in notes
  words = "tree gzd_5 of 19 galaxies; also of gz2 (11): data.tree takes several"
  assert any(words in x for x in notes)
  assert any(
    "validation is 20% of train, drawn with seed 42" in x for x in notes
  )


def test_the_published_split_is_kept(tmp_path):
  found = load(tmp_path, write_evo(tmp_path / "gz_evo"))
  split = found.table["split"].to_numpy()
  assert set(split[:10]) == {"test"}
  drawn = np.random.default_rng(42).permutation(30)[:6]
  assert sorted(drawn) == np.flatnonzero(split[10:] == "validation").tolist()
  assert np.sum(split == "train") == 24


def test_a_single_file_and_another_tree(tmp_path):
  path = write_evo(tmp_path / "gz_evo") / "data" / "test-00000-of-00001.parquet"
  found = load(tmp_path, path, tree="gz2", label_column="")
  assert found.classes == ()
  assert "split" not in found.table
  assert any("only test" in note for note in found.notes)
  asked = np.arange(30, 40) % 3 == 0
  np.testing.assert_array_equal(found.votes.counts.any(axis=1), asked)


def test_several_campaigns_of_one_table_are_read_together(tmp_path):
  path = write_evo(tmp_path / "gz_evo")
  found = load(tmp_path, path, tree="gz2+gzd_5")
  tree = found.votes.tree
  assert tree == campaigns.find("gz2+gzd_5")
  alone = {name: load(tmp_path, path, tree=name) for name in ("gz2", "gzd_5")}
  voted = {
    campaign: found.votes.counts[
      :, [tree.questions[q].campaign == campaign for q in tree.question_of]
    ]
    for campaign in ("gz2", "dr5", "dr8")
  }
  np.testing.assert_array_equal(voted["gz2"], alone["gz2"].votes.counts)
  both = voted["dr5"] + voted["dr8"]  # no galaxy has votes of both
  np.testing.assert_array_equal(both, alone["gzd_5"].votes.counts)
  assert np.isnan(found.votes.cumulative).any(axis=1).all()


def test_images_and_labels_with_names(tmp_path):
  names = ["Disturbed", "Merging", "Round Smooth", "Barred Spiral"]
  path = write_labels(tmp_path / "train.parquet", [3, 0, -1, 0], names)
  found = load(tmp_path, path)
  assert found.classes == tuple(names)
  assert found.table["label"].tolist() == [3, 0, -1, 0]
  assert found.table["id_str"].tolist() == [f"train_{i}" for i in range(4)]
  np.testing.assert_array_equal(found.image[3], decoded(encoded(3)))
  assert found.notes[0] == "train.parquet: 1 shard, 4 galaxies"


def test_labels_without_names_are_their_own(tmp_path):
  path = write_labels(
    tmp_path / "mine.parquet", [3, 1, 3, 1], objid=[9, 8, 7, 6]
  )
  found = load(tmp_path, path)
  assert found.classes == ("1", "3")
  assert found.table["label"].tolist() == [1, 0, 1, 0]
  assert found.table["id_str"].tolist() == ["9", "8", "7", "6"]
  others = load(tmp_path, path, classes=("3", "2", "1"))
  assert others.table["label"].tolist() == [0, 2, 0, 2]


def test_images_are_read_piece_by_piece(tmp_path, monkeypatch):
  path = write_evo(tmp_path / "gz_evo", count=40)
  galaxies = parquet.read(path)
  asked = []
  items = shards._items

  def spy(shard, wanted):
    asked.append(shard.path.name)
    return items(shard, wanted)

  monkeypatch.setattr(shards, "_items", spy)
  stream = iter(galaxies.images.read(np.arange(38, 160)))
  first = [next(stream) for _ in range(4)]
  assert [item.row for item in first] == [38, 39, 0, 1]
  assert asked == [
    "test-00000-of-00001.parquet",
    "train-00000-of-00003.parquet",
  ]
  assert len([*stream]) == 118
  assert np.all(galaxies.images.sizes > 300)


def refusal(tmp_path, path, **settings) -> str:
  with pytest.raises(UserError) as caught:
    load(tmp_path, path, **settings)
  message = str(caught.value)
  assert "\n" not in message
  assert len(message) < 900
  return message


def test_a_truncated_shard(tmp_path):
  path = write_evo(tmp_path / "gz_evo")
  shard = path / "data" / "train-00002-of-00003.parquet"
  shard.write_bytes(shard.read_bytes()[:-100])
  message = refusal(tmp_path, path)
  assert f"{shard} cannot be read as parquet" in message
  assert message.endswith("download it again.")


def test_a_shard_that_is_damaged_inside(tmp_path):
  path = write_labels(tmp_path / "a.parquet", [0, 1, 0, 1])
  data = bytearray(path.read_bytes())
  data[40:400] = bytes(360)
  path.write_bytes(data)
  assert f"{path}" in refusal(tmp_path, path)


@pytest.mark.parametrize("data", [b"hello", b"", None, encoded(1)[:200]])
def test_bytes_that_are_no_image(tmp_path, data):
  path = write_evo(tmp_path / "gz_evo", shards=1)
  shard = path / "data" / "train-00000-of-00001.parquet"
  table = pa.parquet.read_table(shard)
  rows = table["image"].to_pylist()
  rows[4]["bytes"] = data
  column = pa.array(rows, table["image"].type)
  pa.parquet.write_table(table.set_column(0, "image", column), shard)
  message = refusal(tmp_path, path)
  assert f"row 5 (id 5877{4:014}): {shard}:image is not a whole" in message
  found = load(tmp_path, path, skip_bad=True)
  assert found.left_out == {"the image cannot be used": 1}
  assert len(found.table) == 19
  np.testing.assert_array_equal(found.image[14], decoded(encoded(5)))


def test_ids_that_are_there_twice(tmp_path):
  path = write_labels(tmp_path / "a.parquet", [0, 1, 0], id_str=["x", "y", "x"])
  assert "row 3 (id x) repeats the id of row 1" in refusal(tmp_path, path)


def test_labels_outside_the_classes(tmp_path):
  path = write_labels(tmp_path / "a.parquet", [0, 1, 7], ["one", "two"])
  message = refusal(tmp_path, path)
  assert "row 3 (id 2): label 7 is none of the 2 classes, 0 to 1" in message
  path = write_labels(tmp_path / "b.parquet", [0, 1, 7])
  message = refusal(tmp_path, path, classes=("0", "1"))
  assert "row 3 (id 2): label '7' is none of the classes 0, 1" in message


def test_no_images_no_labels_no_files(tmp_path):
  plain = tmp_path / "plain.parquet"
  pd.DataFrame({"id_str": ["a"], "label": [1]}).to_parquet(plain)
  assert f"{plain} has no column of images" in refusal(tmp_path, plain)
  bare = tmp_path / "bare.parquet"
  pa.parquet.write_table(pa.table({"image": images(0, 2)}), bare)
  assert "has no labels, and no votes" in refusal(tmp_path, bare)
  (tmp_path / "empty").mkdir()
  message = refusal(tmp_path, tmp_path / "empty")
  assert message.startswith("catalog is ")


def test_shards_of_two_data_sets(tmp_path):
  folder = tmp_path / "mixed"
  folder.mkdir()
  write_labels(folder / "a.parquet", [0, 1, 0], id_str=["x", "y", "z"])
  write_labels(folder / "b.parquet", [0, 1, 0])
  message = refusal(tmp_path, folder)
  assert f"{folder / 'b.parquet'} has no column 'id_str'" in message


def test_votes_that_are_none(tmp_path):
  path = write_evo(tmp_path / "gz_evo", shards=1)
  shard = path / "data" / "train-00000-of-00001.parquet"
  table = pa.parquet.read_table(shard).to_pandas()
  table.loc[3, "smooth-or-featured-dr5_smooth"] = -4
  table.to_parquet(shard)
  message = refusal(tmp_path, path, tree="gzd_5")
  assert f"(id 5877{3:014}): column 'smooth-or-featured-dr5_smooth'" in message


def test_rows_are_counted_whatever_index_pandas_had(tmp_path):
  path = write_labels(tmp_path / "a.parquet", [0, 1, 0, 1])
  table = pd.read_parquet(path)
  table.index = [7, 3, 3, 0]
  table.to_parquet(path)
  found = load(tmp_path, path)
  assert found.table["label"].tolist() == [0, 1, 0, 1]
  np.testing.assert_array_equal(found.image[1], decoded(encoded(1)))
