"""A data set and a config -> the label of each galaxy, and what may go wrong.

The config says how labels are made (`config.labels`) and how some of them are
made wrong (`config.flips`).
"""

import ml_collections
import numpy as np
import pandas as pd

from gzjax.data import decision_tree, labels, noise
from gzjax.data.dataset import Dataset
from gzjax.errors import UserError


def find_labels(
  config: ml_collections.ConfigDict, data: Dataset
) -> labels.Labels:
  """The labels of all galaxies, as `config.labels` says.

  Raises:
    UserError: see `labels.make` and `labels.only`; if labels or votes are asked
      for that the data set does not have.
  """
  wanted = config.labels
  settings = label_settings(config)
  if wanted.kind == "column":
    found = _recorded(data)
  elif data.votes is None:
    raise UserError(
      f"labels.kind={wanted.kind} needs votes, and this data set has none: use "
      "--config.labels.kind=column."
    )
  else:
    found = labels.make(data.votes, wanted.kind, settings)
  return labels.only(found, tuple(wanted.classes))


def label_settings(config: ml_collections.ConfigDict) -> labels.Settings:
  """The thresholds of `config.labels`."""
  return labels.Settings(
    **{name: config.labels[name] for name in labels.Settings._fields}
  )


def _recorded(data: Dataset) -> labels.Labels:
  if not data.classes:
    raise UserError(
      "this data set holds votes and no labels: choose one of "
      f"{', '.join(labels.SCHEMES)} with --config.labels.kind=KIND."
    )
  voted = _majority(data)
  shares = None
  if voted and voted.classes == data.classes:
    shares = voted.shares
  return labels.Labels(
    data.classes, data.table["label"].to_numpy(np.int64), shares, {}
  )


def _majority(data: Dataset) -> labels.Labels | None:
  if data.votes is None:
    return None
  return labels.make(data.votes, "question", labels.Settings())


def target_votes(
  config: ml_collections.ConfigDict, data: Dataset
) -> np.ndarray:
  """The votes that the network learns, f32[N,A].

  Cumulative fractions, or counts, as `config.target` says. Where only fractions
  are known, counts are those of `target.volunteers` people.

  Raises:
    UserError: for data without the votes that are needed.
  """
  target = config.target
  votes = data.votes
  if votes is None or votes.tree.name not in decision_tree.TREES:
    raise UserError(
      f"target.kind={target.kind} needs the votes on a decision tree, and this "
      "data set has none: name it with --config.data.tree=TREE, or use "
      "--config.target.kind=classes."
    )
  if target.kind == "fractions":
    return votes.cumulative.astype(np.float32)
  if votes.counts is not None:
    return votes.counts.astype(np.float32)
  if not target.volunteers:
    raise UserError(
      "target.kind=counts needs numbers of votes, and this data set has "
      "fractions only: say how many people looked at each galaxy, such as "
      "--config.target.volunteers=44."
    )
  return (target.volunteers * votes.cumulative).astype(np.float32)


def flip_model(
  config: ml_collections.ConfigDict, classes: tuple[str, ...], seed: int
) -> noise.FlipModel:
  """The flip model of `config.flips`."""
  flips = config.flips
  return noise.FlipModel(
    flips.kind, classes, flips.fraction, seed, tuple(flips.pair), flips.matrix
  )


def evidence(
  config: ml_collections.ConfigDict, data: Dataset, found: labels.Labels
) -> noise.Evidence:
  """What the flip models may know about the galaxies of `data`.

  Raises:
    UserError: if `flips.column` names what the data set does not have.
  """
  column = config.flips.column
  if not column:
    return noise.Evidence(found.shares)
  voted = _majority(data) if column == "votes" else None
  if voted:
    names = _names(voted.classes, voted.label)
  elif "given_label" in data.table:
    names = _names(data.classes, data.table["given_label"].to_numpy())
  else:
    raise UserError(
      f"flips.column is {column!r}: this data set has neither votes nor a "
      "second label column."
    )
  given = pd.Index(found.classes).get_indexer(pd.Index(names))
  # Where nobody gave one of these classes the label stays.
  return noise.Evidence(found.shares, np.where(given < 0, found.label, given))


def _names(classes, label):
  return np.asarray([*classes, ""], object)[label]
