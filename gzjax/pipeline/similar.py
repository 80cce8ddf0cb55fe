"""similar: galaxies that look like one, and the oddest of all."""

import difflib

import numpy as np
import pandas as pd

from gzjax.audit import likeness
from gzjax.errors import UserError
from gzjax.files import write_table
from gzjax.pipeline import predict
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say

ALIKE, ODDITIES = "similar.csv", "oddities.csv"


def run(experiment: Experiment) -> None:
  """Writes oddities.csv, and of the galaxy `similar.id` similar.csv."""
  config, place = experiment.config.similar, experiment.workdir
  split, seen = experiment.split, experiment.embeddings
  known = pd.DataFrame(
    {"id_str": split["id_str"], "label": split["train_label"]}
  )
  (place / ALIKE).unlink(missing_ok=True)  # of another galaxy
  if config.id:
    row = _row(known["id_str"], config.id)
    found = likeness.most_alike(seen, row, config.neighbours)
    table = known.iloc[found.index].assign(similarity=found.cosine)
    write_table(place / ALIKE, table.reset_index(drop=True))
    predict.show(f"Most like {config.id}", table)
    say(str(place / ALIKE))
    return
  odd = known.assign(oddity=likeness.oddity(seen, config.neighbours))
  odd = odd.sort_values("oddity", ascending=False, ignore_index=True)
  write_table(place / ODDITIES, odd)
  predict.show("The oddest galaxies", odd.head(config.neighbours))
  say(f"{place / ODDITIES}; --id=NAME finds the galaxies that look like one")


def _row(ids: pd.Series, id_str: str) -> int:
  """Where a galaxy stands; UserError if it is not there."""
  found = np.flatnonzero(ids == id_str)
  if len(found):
    return int(found[0])
  close = difflib.get_close_matches(id_str, ids, 1)
  hint = f"did you mean {close[0]}?" if close else "split.parquet has the ids."
  raise UserError(f"--id is {id_str!r}: the run has no such galaxy; {hint}")
