"""audit: training dynamics -> audit/suspects.csv, and how good it is."""

import numpy as np
import pandas as pd

from gzjax.audit import suspicion
from gzjax.evaluation import attacks
from gzjax.files import write_json, write_table
from gzjax.pipeline.experiment import Experiment


def run(experiment: Experiment) -> None:
  """Writes the ranked suspects; `quality.json` compares with the true flips."""
  folder = experiment.workdir / "audit"
  table = pd.read_parquet(experiment.workdir / "train" / "dynamics.parquet")
  split = experiment.split.set_index("id_str").loc[table["id_str"]]
  found = suspicion.suspects(table, split["train_label"], experiment.classes)
  write_table(folder / "suspects.csv", found)
  truth = split.loc[found["id_str"]]
  flipped = truth["flipped"].to_numpy()
  right = found["suggested_label"].to_numpy() == truth["true_label"].to_numpy()
  score = found["score"].to_numpy()
  count = int(flipped.sum())
  write_json(
    folder / "quality.json",
    {
      "flipped": count,
      "auc": attacks.auc(score[flipped], score[~flipped]),
      "precision_at_flipped": float(np.mean(flipped[:count])),
      "suggestion_accuracy": float(np.mean(right[flipped])),
    },
  )
