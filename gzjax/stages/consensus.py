"""All galaxies of a split, also those that volunteers do not agree on.

These have no label, so that networks of classes do not learn them; a network
that knows its limits calls them uncertain.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gzjax import label_metrics, metrics
from gzjax.data import dataset, labels, splits
from gzjax.stages.experiment import Experiment


def of_splits(
  experiment: Experiment, names: Sequence[str], min_votes: int
) -> tuple[dataset.Dataset, np.ndarray] | None:
  """The galaxies of some splits that so many volunteers saw, labelled or not.

  Returns:
    The N galaxies and the split of each, str[N]; None where the split depends
    on the labels.
  """
  whole = dataset.load(
    Path(experiment.prepared["folder"]),
    crop=experiment.crop,
    size=experiment.config.data.size,
  )
  parts = experiment.split_of(whole.table)
  if parts is None:
    return None
  split = np.asarray(splits.SPLITS)[parts]
  inside = np.isin(split, names)
  if min_votes and whole.votes is not None:
    first = whole.votes.tree.questions[0].name
    inside &= labels.answered(whole.votes, first) >= min_votes
  return whole.select(np.flatnonzero(inside)), split[inside]


def study(
  label: np.ndarray, probabilities: Mapping[str, np.ndarray], below: float
) -> dict[str, Any]:
  """How networks do on all galaxies, and on those that people agree on.

  Args:
    label: i[N], index of a class or LEFT_OUT.
    probabilities: method -> f64[N,C].
    below: see `label_metrics.with_uncertain`.

  Returns:
    By method: `common`, the confusion of all galaxies, rows and columns the
    classes and uncertain; `balanced`, that of the galaxies with a label as
    shares of their class, so that each class weighs the same; `coverage` and
    `accuracy` of those, see `label_metrics.coverage_accuracy`, and `forced`,
    the accuracy if the network has to choose.
  """
  known = label != labels.LEFT_OUT
  found = {}
  for method, p in probabilities.items():
    common = label_metrics.confusion_with_uncertain(label, p, below)
    balanced = common[:-1] / np.maximum(
      common[:-1].sum(axis=1, keepdims=True), 1
    )
    forced = metrics.accuracy(label[known], metrics.predicted_class(p[known]))
    found[method] = {
      "common": common.tolist(),
      "balanced": balanced.tolist(),
      **label_metrics.coverage_accuracy(label, p, below),
      "forced": forced,
    }
  return found
