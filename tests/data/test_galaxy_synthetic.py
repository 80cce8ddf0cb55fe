"""The records of the synthetic sky hold the votes and the truth."""

import numpy as np

from gzjax.data import dataset, decision_tree, sky, volunteers

COUNT = 130  # two chunks and a bit


def test_records_are_the_survey(tmp_path):
  builder = dataset.synthetic_builder(
    galaxies=COUNT,
    image_size=16,
    class_fractions=(0.4, 0.4, 0.2),
    seed=5,
    data_dir=str(tmp_path),
  )
  dataset.prepare(builder)
  records = builder.as_data_source("full")
  assert len(records) == COUNT
  assert builder.info.metadata["tree"] == "gz2"
  label = sky.sample_labels(5, COUNT, (0.4, 0.4, 0.2)).astype(np.int32)
  images = np.array(list(sky.pictures(5, np.arange(COUNT), label, 16)), int)
  scenes, votes = volunteers.vote_all(5, label)
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
  assert counts.shape == (COUNT, len(decision_tree.GZ2.answers))
  assert counts.dtype == np.float32
