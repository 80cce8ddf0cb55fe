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
  label: np.ndarray  # i64[N], index of a class or LEFT_OUT
  shares: np.ndarray | None  # f64[N,C], how much volunteers were for each


def everyone(experiment: Experiment, split: str) -> Everyone | None:
  """The galaxies of a split with `labels.min_votes`, labelled or not.

  None where the split depends on the labels.
  """
  config = experiment.config
  whole = dataset.load(
    Path(experiment.prepared["folder"]),
    crop=experiment.crop,
    size=config.data.size,
  )
  parts = experiment.split_of(whole.table)
  if parts is None:
    return None
  found = labelling.find_labels(config, whole)
  inside = parts == splits.SPLITS.index(split)
  if config.labels.min_votes and whole.votes is not None:
    first = whole.votes.tree.questions[0].name
    inside &= labels.answered(whole.votes, first) >= config.labels.min_votes
  rows = np.flatnonzero(inside)
  return Everyone(
    whole.select(rows),
    found.label[rows],
    None if found.shares is None else found.shares[rows],
  )


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
  known = galaxies.label != labels.LEFT_OUT
  found = {}
  for method, p in probabilities.items():
    common = label_metrics.confusion_with_uncertain(galaxies.label, p, below)
    balanced = common[:-1] / np.maximum(
      common[:-1].sum(axis=1, keepdims=True), 1
    )
    forced = metrics.accuracy(
      galaxies.label[known], metrics.predicted_class(p[known])
    )
    found[method] = {
      "common": common.tolist(),
      "balanced": balanced.tolist(),
      **label_metrics.coverage_accuracy(galaxies.label, p, below),
      "forced": forced,
    }
  return found
