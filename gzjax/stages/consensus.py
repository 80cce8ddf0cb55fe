"""All galaxies of a split, also those that volunteers do not agree on.

These have no label, so that networks of classes do not learn them; a network
that knows its limits calls them uncertain.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gzjax import label_metrics, metrics
from gzjax.data import dataset, labels, splits
from gzjax.stages import labelling
from gzjax.stages.experiment import Experiment


class Everyone(NamedTuple):
  """N galaxies of a split."""

  data: dataset.Dataset
  found: labels.Labels  # LEFT_OUT: volunteers do not agree on a class


def everyone(experiment: Experiment, split: str) -> Everyone | None:
  """The galaxies of a split, by the labels of the run or without one.

  None where the split depends on the labels.
  """
  config = experiment.config
  data = of_split(experiment, split, config.labels.min_votes)
  if data is None:
    return None
  return Everyone(data, labelling.find_labels(config, data))


def of_split(
  experiment: Experiment, split: str, min_votes: int
) -> dataset.Dataset | None:
  """The galaxies of a split that so many volunteers saw, labelled or not.

  None where the split depends on the labels.
  """
  whole = dataset.load(
    Path(experiment.prepared["folder"]),
    crop=experiment.crop,
    size=experiment.config.data.size,
  )
  parts = experiment.split_of(whole.table)
  if parts is None:
    return None
  inside = parts == splits.SPLITS.index(split)
  if min_votes and whole.votes is not None:
    first = whole.votes.tree.questions[0].name
    inside &= labels.answered(whole.votes, first) >= min_votes
  return whole.select(np.flatnonzero(inside))


def study(
  galaxies: Everyone, probabilities: Mapping[str, np.ndarray], below: float
) -> dict[str, Any]:
  """How networks do on all galaxies, and on those that people agree on.

  Args:
    galaxies: see `everyone`.
    probabilities: method -> f64[N,C].
    below: see `label_metrics.with_uncertain`.

  Returns:
    By method: `common`, the confusion of all galaxies, rows and columns the
    classes and uncertain; `balanced`, that of the galaxies with a label as
    shares of their class, so that each class weighs the same; `coverage` and
    `accuracy` of those, see `label_metrics.coverage_accuracy`, and `forced`,
    the accuracy if the network has to choose.
  """
  label, known = galaxies.found.label, galaxies.found.kept
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
