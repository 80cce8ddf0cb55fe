"""Which labels are probably wrong."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def suspects(
  table: pd.DataFrame, train_label: pd.Series, classes: Sequence[str]
) -> pd.DataFrame:
  """Ranks training labels by the mean loss over all visits in training.

  Wrong labels are learned late, so their loss is high for most of the training
  even where the network has memorised them at the end.

  Args:
    table: id_str, mean_loss and p_<class> of N examples.
    train_label: N class names, as trained on.
    classes: K names.

  Returns:
    id_str, train_label, suggested_label (the likeliest other class, by the
    mean probability), score (mean loss, nats), rank (from 1, worst first).
  """
  label = pd.Index(classes).get_indexer(pd.Index(train_label))
  probability = table[[f"p_{name}" for name in classes]].to_numpy().copy()
  probability[np.arange(len(label)), label] = -1
  found = pd.DataFrame(
    {
      "id_str": table["id_str"],
      "train_label": train_label.to_numpy(),
      "suggested_label": np.asarray(classes)[probability.argmax(axis=1)],
      "score": table["mean_loss"],
    }
  )
  found = found.sort_values("score", ascending=False, kind="stable")
  found["rank"] = np.arange(1, len(found) + 1)
  return found.reset_index(drop=True)
