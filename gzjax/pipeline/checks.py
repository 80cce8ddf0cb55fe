"""What is wrong with a config, found before any work starts."""

from collections.abc import Sequence
import functools
from typing import Any

import ml_collections

from gzjax import models
from gzjax.errors import UserError
from gzjax.models import cnn
from gzjax.morphology import labels, noise, splits
from gzjax.objectives import targets
from gzjax.pipeline import defaults, labels_and_flips
from gzjax.pipeline.experiment import OF_CNNS, OF_RESNETS
from gzjax.unlearning.methods import METHODS

_CHOICES = {
  "data.normalise": ("imagenet", "training"),
  "data.split_by": ("label", "id"),
  "labels.kind": ("column", *labels.SCHEMES),
  "flips.kind": noise.FLIP_MODELS,
  "target.kind": targets.TARGETS,
  "target.head": targets.HEADS,
  "train.optimizer": ("adam", "adamw", "sgd"),
  "train.schedule": ("cosine", "constant", "plateau"),
  "train.loss": ("cross_entropy", "focal"),
  "train.class_weights": ("none", "balanced", "effective"),
  "train.select": ("last", "best"),
  "model.conv_form": ("auto", "native", "dot"),
  "model.name": tuple(models.MODELS),
  "model.head": ("pool", "flatten"),
  "model.dtype": ("float32", "bfloat16"),
  "unlearn.fisher.kind": ("empirical", "true", "sampled"),
  "unlearn.fisher.estimator": ("exact", "vmap", "signs", "batch_mean"),
  "unlearn.suggestions": ("true", "audit"),
  "evaluate.views": (1, 4, 8),
}


_AT_LEAST_ONE = (
  "train.epochs",
  "train.batch_size",
  "unlearn.batch_size",
  "data.size",
  "data.galaxies",
  "model.width",
  "model.hidden",
)


def check_config(config: ml_collections.ConfigDict) -> None:
  """Finds at once what would fail after hours."""
  for name, choices in _CHOICES.items():
    value = get(config, name)
    if value not in choices:
      raise UserError(
        f"{name} is {value!r}: choose one of {', '.join(map(str, choices))}."
      )
  for name in _AT_LEAST_ONE:
    if get(config, name) < 1:
      raise UserError(f"{name} is {get(config, name)}: it must be at least 1.")
  for name in ("seed", "data.crop", "predict.shown"):
    if get(config, name) < 0:
      raise UserError(f"{name} is {get(config, name)}: it must be at least 0.")
  _check_model(config)
  _check_data(config)
  _check_target(config)
  noise.check_fraction(config.flips.fraction)
  for methods in (config.unlearn.methods, config.discovery.methods):
    _check_methods(config.unlearn, methods, config.target.kind)
  for share in (config.unlearn.discovered, *config.discovery.shares):
    noise.check_discovered(share)
  unknown = set(config.unlearn.retrain) - set(config.train)
  if unknown:
    raise UserError(
      f"unlearn.retrain.{min(unknown)} is no key of config.train: choose one "
      f"of {', '.join(sorted(config.train))}."
    )
  for recipe in (config.train, {**config.train, **config.unlearn.retrain}):
    _check_balance(recipe["balanced_to"], recipe["batch_size"])


def _check_methods(
  config: ml_collections.ConfigDict, names: Sequence[str], target: str
) -> None:
  """Raises UserError for methods and settings that cannot be.

  Args:
    config: `config.unlearn`.
    names: of its sections.
    target: `config.target.kind`.
  """
  rows = {name: row for name, row in METHODS.items() if not row.given}
  for name in names:
    section = config.get(name)
    is_section = isinstance(section, ml_collections.ConfigDict)
    row = rows.get(section.get("method", name)) if is_section else None
    if row is None:
      raise UserError(
        f"unlearn.methods names {name!r}: choose from {', '.join(rows)}."
      )
    if targets.TARGETS[target].needs_votes and row.softmax_only:
      raise UserError(
        f"unlearn.methods names {name}, which compares softmax outputs and so "
        f"does not apply to target.kind={target}: leave it out."
      )
    for key, value in section.items():
      if not row.make and isinstance(value, int | float) and value < 0:
        raise UserError(
          f"unlearn.{name}.{key} is {value:g}: it must not be negative."
        )


def _check_balance(balanced_to: int, batch_size: int) -> None:
  if balanced_to and balanced_to < batch_size:
    raise UserError(
      f"train.balanced_to is {balanced_to}: it must be 0, or at least "
      f"train.batch_size, {batch_size}."
    )


def _check_model(config: ml_collections.ConfigDict) -> None:
  if config.model.name == "cnn":
    _check_cnn(config)
  usual = defaults.get_config().model
  others = [
    *(OF_RESNETS if config.model.name not in models.RESNETS else ()),
    *(OF_CNNS if config.model.name not in models.CNNS else ()),
  ]
  for name in others:
    if config.model[name] != usual[name]:
      raise UserError(
        f"model.{name} is {config.model[name]!r}, which {config.model.name} "
        f"does not have: it must be {usual[name]!r}."
      )


def _check_cnn(config: ml_collections.ConfigDict) -> None:
  if config.data.size < cnn.SMALLEST:
    raise UserError(
      f"data.size is {config.data.size}: model.name=cnn needs at least "
      f"{cnn.SMALLEST}."
    )
  if config.model.weights:
    raise UserError(
      f"model.weights is {config.model.weights!r}: there are none for "
      "model.name=cnn; leave it out."
    )


def _check_data(config: ml_collections.ConfigDict) -> None:
  splits.check_shares(config.data.split)
  labels.check_settings(
    config.labels.kind, labels_and_flips.label_settings(config)
  )
  classes = tuple(config.data.classes)
  if len(set(classes)) < 2 or len(set(classes)) < len(classes):
    raise UserError(
      f"data.classes is {classes}: name two or more different classes."
    )
  if not all(isinstance(name, str) for name in classes):
    raise UserError(
      f"data.classes is {classes}: give text, such as "
      "--config.data.classes=\"('0', '1')\"."
    )
  if config.flips.column and config.flips.kind != "column":
    raise UserError(
      f"flips.column={config.flips.column} needs --config.flips.kind=column."
    )


# What a network of votes has no use for, and what it needs.
_OF_VOTES = {
  "labels.kind": "question",
  "train.loss": "cross_entropy",
  "train.class_weights": "none",
}


def _check_target(config: ml_collections.ConfigDict) -> None:
  target = config.target
  if not targets.TARGETS[target.kind].needs_votes:
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
        f"{name} is {get(config, name)!r}: with target.kind="
        f"{config.target.kind} it must be {wanted!r}."
      )
  if config.target.kind == "counts" and config.unlearn.fisher.kind == "true":
    raise UserError(
      "unlearn.fisher.kind=true has no closed form for target.kind=counts: use "
      "--config.unlearn.fisher.kind=sampled."
    )


def get(config: ml_collections.ConfigDict, name: str) -> Any:
  """The value of a key by its full name, such as train.epochs."""
  return functools.reduce(lambda part, key: part[key], name.split("."), config)
