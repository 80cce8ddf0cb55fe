"""How labels are made of a data set, and how some are made wrong, by config."""

from typing import NamedTuple

import ml_collections
import numpy as np
import pandas as pd

from gzjax.data.dataset import Dataset
from gzjax.errors import SettingError, UserError, naming
from gzjax.morphology import campaigns, labels, noise
from gzjax.morphology.trees import Tree
from gzjax.objectives import kinds, targets
from gzjax.registry import choose


def find_labels(
  config: ml_collections.ConfigDict, data: Dataset
) -> labels.Labels:
  """The labels of all galaxies, as `config.labels` says.

  UserError for labels or votes that the data set does not have, and those of
  `labels.make` and `labels.only`.
  """
  wanted = config.labels
  with naming("labels"):
    if wanted.kind == "column":
      found = _recorded(data)
    elif data.votes is None:
      raise SettingError(
        f"kind={wanted.kind} needs votes, and this data set has none: use "
        "--config.labels.kind=column."
      )
    else:
      settings = labels.SCHEMES.take(wanted.kind, wanted)
      found = labels.make(data.votes, wanted.kind, **settings)
    return labels.only(found, tuple(wanted.classes))


def _recorded(data: Dataset) -> labels.Labels:
  if not data.classes:
    raise SettingError(
      "kind is 'column', but this data set holds votes and no labels: "
      f"{choose(labels.SCHEMES)}."
    )
  voted = _majority(data)
  shares = voted.shares if voted and voted.classes == data.classes else None
  label = data.table["label"].to_numpy(np.int64)
  unlabelled = int(np.sum(label == labels.LEFT_OUT))
  why = "no label (predicted, not audited)"
  return labels.Labels(data.classes, label, shares, {why: unlabelled})


def _majority(data: Dataset) -> labels.Labels | None:
  return labels.make(data.votes, "question") if data.votes else None


class VoteTask(NamedTuple):
  """What a network of votes learns of N galaxies."""

  tree: Tree  # its questions
  class_answers: tuple[int, ...]  # the answers of the tree that are the classes
  votes: np.ndarray  # f32[N,A], what the objective of the target wants
  known: np.ndarray  # bool[N]: whether it can be learned


def task(
  config: ml_collections.ConfigDict, data: Dataset, classes: tuple[str, ...]
) -> VoteTask:
  """What the network learns, as `config.target` says.

  UserError for data without the votes that are needed, questions that the tree
  does not have, or classes that are no answers to one of them.
  """
  kind, size = kinds.TARGETS[config.target.kind], len(data.table)
  if not kind.needs_votes:
    tree, places = targets.classes(classes).tree, tuple(range(len(classes)))
    nothing = np.zeros((size, 0), np.float32)
    return VoteTask(tree, places, nothing, np.ones(size, bool))
  voted = data.votes
  if voted is None or voted.tree.name == campaigns.OF_CLASSES:
    raise UserError(
      f"target.kind={config.target.kind} needs the votes on a decision tree, "
      "and this data set has none: name it with --config.data.tree=TREE, or "
      "use --config.target.kind=classes."
    )
  tree = _target_tree(config, voted.tree)
  asked = config.labels.question or voted.tree.questions[0].stem
  try:
    question = tree.question(asked)
  except ValueError:
    learned = tuple(q.name for q in tree.questions)
    raise UserError(
      f"labels.question is {asked!r}, which target.kind={config.target.kind} "
      f"does not learn: {choose(learned)}."
    ) from None
  names = labels.class_names(tree, question)
  first = tree.slices[question].start
  own = kinds.TARGETS.take(config.target.kind, config.target)
  try:
    votes, known = kind.learn(voted, tree, **own)
  except ValueError as error:
    raise UserError(f"target.kind={config.target.kind}: {error}.") from None
  places = tuple(first + names.index(name) for name in classes)
  return VoteTask(tree, places, votes.astype(np.float32), known)


def _target_tree(config: ml_collections.ConfigDict, tree: Tree) -> Tree:
  questions = tuple(config.target.questions)
  try:
    return kinds.TARGETS[config.target.kind].ask(tree, questions)
  except ValueError as error:
    raise UserError(
      f"target.questions is {questions} ({error}): choose of "
      f"{', '.join(q.name for q in tree.questions)}, each with those that lead "
      "to it."
    ) from None


def flip_model(
  config: ml_collections.ConfigDict, classes: tuple[str, ...], seed: int
) -> noise.FlipModel:
  """The flip model of `config.flips`."""
  kind = config.flips.kind
  settings = noise.NOISE_MODELS.take(kind, config.flips)
  return noise.FlipModel(kind, classes, seed, settings)


def mark(config: ml_collections.ConfigDict) -> str:
  """What is painted on galaxies with wrong labels, see `marks`; "": nothing."""
  settings = noise.NOISE_MODELS.take(config.flips.kind, config.flips)
  return settings.get("mark", "")


def evidence(
  config: ml_collections.ConfigDict, data: Dataset, found: labels.Labels
) -> noise.Evidence:
  """What the flip models may know about the galaxies of `data`.

  UserError if `flips.column` names what the data set does not have.
  """
  column = config.flips.column
  if not column:
    return noise.Evidence(found.shares)
  voted = _majority(data) if column == "votes" else None
  if voted:
    classes, label = voted.classes, voted.label
  elif "given_label" in data.table:
    classes, label = data.classes, data.table["given_label"].to_numpy()
  else:
    raise UserError(
      f"flips.column is {column!r}: this data set has neither votes nor a "
      "second label column."
    )
  # The last entry is for galaxies without a label.
  names = pd.Index(np.asarray([*classes, ""], object)[label])
  given = pd.Index(found.classes).get_indexer(names)
  # Where nobody gave one of these classes the label stays.
  return noise.Evidence(found.shares, np.where(given < 0, found.label, given))
