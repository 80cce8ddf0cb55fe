"""The audit ranks by mean loss and never suggests the given label."""

import numpy as np
import pandas as pd

from gzjax.audit import scores


def test_suspects_are_ranked_and_get_the_likeliest_other_label():
  table = pd.DataFrame(
    {
      "id_str": ["a", "b", "c"],
      "mean_loss": [0.1, 2.0, 0.5],
      "p_x": [0.9, 0.1, 0.5],
      "p_y": [0.06, 0.7, 0.3],
      "p_z": [0.04, 0.2, 0.2],
    }
  )
  got = scores.suspects(table, pd.Series(["x", "z", "x"]), ("x", "y", "z"))
  assert list(got.columns) == [
    "id_str", "train_label", "suggested_label", "score", "rank",
  ]  # fmt: skip
  assert list(got["id_str"]) == ["b", "c", "a"]
  assert list(got["suggested_label"]) == ["y", "y", "y"]
  np.testing.assert_array_equal(got["rank"], [1, 2, 3])
