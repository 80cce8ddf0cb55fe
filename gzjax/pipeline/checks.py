"""What is wrong with a config, found before any work starts."""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

import ml_collections

from gzjax import models, registry
from gzjax.data import builders
from gzjax.errors import UserError
from gzjax.morphology import noise
from gzjax.objectives import kinds
from gzjax.pipeline import defaults
from gzjax.unlearning import table
from gzjax.unlearning.methods import METHODS, TRAININGS

# What trainings other than that of the original change of its recipe.
RECIPES = (*(f"unlearn.{name}" for name in TRAININGS), "audit.train")


def check_config(config: ml_collections.ConfigDict) -> None:
  """Finds at once what would fail after hours."""
  defaults.complete(config)
  _check_values(config)
  recipes = (
    config.train,
    *({**config.train, **get(config, name)} for name in RECIPES),
  )
  _check_model(config)
  _check_classes(tuple(config.data.classes))
  _check_target(config)
  _check_split(config)
  for names in (config.unlearn.methods, config.discovery.methods):
    _check_methods(config, names)
  _check_profiled(config)
  for recipe in recipes:
    balanced_to, batch_size = recipe["balanced_to"], recipe["batch_size"]
    if balanced_to and balanced_to < batch_size:
      raise UserError(
        f"train.balanced_to is {balanced_to}: it must be 0, or at least "
        f"train.batch_size, {batch_size}."
      )
  for name, key in defaults.KEYS.items():
    section = name.partition(".")[0]
    # Readers of data share a section with keys that others look at, too.
    if key.table is not None and key.table is not builders.READERS:
      of = recipes if section == "train" else [config[section]]
      _check_unused(name, key.table, of)


def _check_values(config: ml_collections.ConfigDict) -> None:
  """Checks each key by itself."""
  keys = defaults.keys()
  for name, key in keys.items():
    registry.check(name, get(config, name), key.annotation)
  for section in RECIPES:
    for name, value in get(config, section).items():
      if name not in config.train:
        raise UserError(
          f"{section}.{name} is no key of config.train: "
          f"{registry.choose(tuple(sorted(config.train)))}."
        )
      allowed = keys[f"train.{name}"].annotation
      registry.check(f"{section}.{name}", value, allowed)


def _check_profiled(config: ml_collections.ConfigDict) -> None:
  """Finds what has no steps of its own to profile."""
  usual = ("train", "fisher")
  for name in config.profile.what:
    row = _row(config.unlearn, name)
    if name not in usual and (row is None or row.make):
      steps = (name for name, row in METHODS.items() if not row.make)
      raise UserError(
        f"profile.what names {name!r}: {registry.choose((*usual, *steps))}."
      )


def _row(unlearn: ml_collections.ConfigDict, name: str) -> table.Row | None:
  """The row that a section of `config.unlearn` names; None if it is none."""
  section = unlearn.get(name)
  if not isinstance(section, ml_collections.ConfigDict):
    return None
  return METHODS.get(str(section.get("method", name)))


def _check_methods(
  config: ml_collections.ConfigDict, names: Sequence[str]
) -> None:
  """Finds sections of `config.unlearn` that are no methods of the network."""
  unlearn, target, tied = config.unlearn, config.target.kind, config.model.tied
  for name in names:
    section: Any = unlearn.get(name)
    row = _row(unlearn, name)
    if row is None or row.given:
      rows = (name for name, row in METHODS.items() if not row.given)
      raise UserError(
        f"unlearn.methods names {name!r}: choose from {', '.join(rows)}."
      )
    if kinds.TARGETS[target].needs_votes and row.softmax_only:
      raise UserError(
        f"unlearn.methods names {name}, which compares softmax outputs and so "
        f"does not apply to target.kind={target}: leave it out."
      )
    if not row.make:
      for key, allowed in table.annotations(row.name).items():
        registry.check(f"unlearn.{name}.{key}", section.get(key), allowed)
    if row.needs_ties and section.shared != tied:
      raise UserError(
        f"unlearn.{name}.shared is {section.shared} and model.tied is {tied}: "
        f"{row.name} needs a network whose channels are tied in training, and "
        "the same share in both."
      )


def _check_unused(
  name: str, rows: registry.Table, sections: Sequence[Mapping[str, Any]]
) -> None:
  """Finds settings of other rows than those that are named."""
  section, _, kind = name.rpartition(".")
  named = [part[kind] for part in sections]
  used = {key for row in named if row in rows for key in rows.settings(row)}
  for key, usual in rows.all_settings().items():
    for part in sections:
      if key not in used and part[key] != usual:
        raise UserError(
          f"{section}.{key} is {part[key]!r}, which {name}={named[0]} does not "
          f"have: it must be {usual!r}."
        )


def _check_model(config: ml_collections.ConfigDict) -> None:
  name, weights = config.model.name, config.model.weights
  smallest = models.smallest_image(name)
  if config.data.size < smallest:
    raise UserError(
      f"data.size is {config.data.size}: model.name={name} needs at least "
      f"{smallest}."
    )
  if config.model.frozen and config.evaluate.views != 1:
    raise UserError(
      f"evaluate.views is {config.evaluate.views}: with model.frozen each "
      "galaxy is seen once, so it must be 1."
    )
  if weights and name == "cnn":
    raise UserError(
      f"model.weights is {weights!r}: there are none for model.name=cnn; "
      "leave it out."
    )


def _check_classes(classes: tuple[Any, ...]) -> None:
  if classes and len(set(classes)) < max(len(classes), 2):
    raise UserError(
      f"data.classes is {classes}: name two or more different classes."
    )
  if not all(isinstance(name, str) for name in classes):
    raise UserError(
      f"data.classes is {classes}: give text, such as "
      "--config.data.classes=\"('0', '1')\"."
    )


# What a network of votes has no use for, and what it needs.
_OF_VOTES = {
  "labels.kind": "question",
  "train.loss": "cross_entropy",
  "train.class_weights": "none",
}


def _check_target(config: ml_collections.ConfigDict) -> None:
  target = config.target
  if not kinds.TARGETS[target.kind].needs_votes:
    if config.model.per_question:
      raise UserError(
        "model.per_question needs the questions of a tree: use another "
        "--config.target.kind than classes."
      )
    return
  if target.kind == "branches" and target.questions:
    raise UserError(
      f"target.questions is {tuple(target.questions)}: target.kind=branches has"
      " five questions of its own; leave it out."
    )
  for name, wanted in _OF_VOTES.items():
    if get(config, name) != wanted:
      raise UserError(
        f"{name} is {get(config, name)!r}: with target.kind={target.kind} it "
        f"must be {wanted!r}."
      )
  if target.kind == "counts" and config.unlearn.fisher.kind == "true":
    raise UserError(
      "unlearn.fisher.kind=true has no closed form for target.kind=counts: use "
      "--config.unlearn.fisher.kind=sampled."
    )


def _check_split(config: ml_collections.ConfigDict) -> None:
  if config.flips.kind == noise.NONE and config.data.split_by != "id":
    raise UserError(
      f"data.split_by is {config.data.split_by!r}: with flips.kind={noise.NONE}"
      " it must be 'id', or a corrected label would draw another split."
    )


def get(config: ml_collections.ConfigDict | Mapping, name: str) -> Any:
  """The value of a key by its full name, such as train.epochs."""
  return functools.reduce(lambda part, key: part[key], name.split("."), config)
