"""All galaxies of a split, labelled or not."""

from collections.abc import Sequence

import numpy as np

from gzjax.data import dataset
from gzjax.morphology import splits
from gzjax.morphology.votes import answered
from gzjax.pipeline.experiment import Experiment


def of_splits(
  experiment: Experiment, names: Sequence[str], min_votes: int
) -> tuple[dataset.Dataset, np.ndarray] | None:
  """The galaxies of some splits that so many volunteers saw, labelled or not.

  Returns:
    The N galaxies and the split of each, str[N]; None where the split depends
    on the labels.
  """
  whole = experiment.whole
  parts = experiment.split_of(whole.table)
  if parts is None:
    return None
  split = np.asarray(splits.SPLITS)[parts]
  inside = np.isin(split, names)
  if min_votes and whole.votes is not None:
    first = whole.votes.tree.questions[0].name
    inside &= answered(whole.votes, first) >= min_votes
  return whole.select(np.flatnonzero(inside)), split[inside]
