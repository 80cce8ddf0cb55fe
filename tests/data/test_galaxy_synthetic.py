"""The records of the synthetic sky hold the votes and the truth."""

import numpy as np
import pytest

from gzjax.data import builders, dataset
from gzjax.errors import UserError
from gzjax.morphology.campaigns import GZ2, GZD_5
from gzjax.sky import render, volunteers
from gzjax.sky.scene import sample_labels

COUNT = 130  # two chunks and a bit


def _builder(folder, **changes):
  return builders.READERS["galaxy_synthetic"](
    builders.Place(data_dir=str(folder), seed=5, size=16),
    galaxies=COUNT,
    class_fractions=(0.4, 0.4, 0.2),
    **changes,
  )


@pytest.mark.parametrize("tree", [GZ2, GZD_5], ids=lambda tree: tree.name)
def test_records_are_the_survey(tmp_path, tree):
  builder = _builder(tmp_path, tree=tree.name)
  dataset.prepare(builder)
  records = builder.as_data_source("full")
  assert len(records) == COUNT
  assert builder.info.metadata["tree"] == tree.name
  label = sample_labels(5, COUNT, (0.4, 0.4, 0.2)).astype(np.int32)
  images = np.array(list(render.pictures(5, np.arange(COUNT), label, 16)), int)
  scenes, votes = volunteers.vote_all(5, label, tree)
  for i in (0, 63, 64, 129):
    record = records[i]
    assert record["id_str"] == f"sky5-{i:06d}".encode()
    assert record["label"] == label[i]
    assert np.abs(record["image"].astype(int) - images[i]).max() <= 1
    np.testing.assert_array_equal(record["counts"], votes.counts[i])
    np.testing.assert_allclose(
      record["true_shares"], votes.true_shares[i], atol=1e-5
    )
    for name, values in scenes._asdict().items():
      np.testing.assert_allclose(record[name], values[i], rtol=1e-4, atol=1e-5)
  counts = np.stack([records[i]["counts"] for i in range(COUNT)])
  assert counts.shape == (COUNT, len(tree.answers))
  assert counts.dtype == np.float32


def test_skies_on_disk_keep_their_names(tmp_path):
  name = "n130-px16-shares0.4-0.4-0.2-seed5"
  assert _builder(tmp_path).info.config_name == name
  assert _builder(tmp_path, tree="gz2").info.config_name == name
  other = _builder(tmp_path, tree="gzd_5").info
  assert other.config_name == f"{name}-gzd_5"
  assert str(other.version) == "2.0.0"


@pytest.mark.parametrize("tree", ["gz2_kaggle", "gzd_1_2", "gz3"])
def test_a_tree_without_volunteers_is_told(tmp_path, tree):
  with pytest.raises(UserError, match=f"tree is '{tree}': .* gz2 or gzd_5"):
    _builder(tmp_path, tree=tree)
