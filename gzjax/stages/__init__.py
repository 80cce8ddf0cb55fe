"""The shell: config -> objects -> files, stage by stage."""

from collections.abc import Callable
import functools
import importlib.metadata
import sys
from typing import Any, NamedTuple

import jax
import ml_collections

from gzjax import defaults, models, report, targets
from gzjax.data import labels, noise, splits
from gzjax.errors import UserError
from gzjax.models import cnn
from gzjax.progress import say
from gzjax.revision import git_revision
from gzjax.stages import (
  audit,
  evaluate,
  labelling,
  predict,
  prepare,
  seeds,
  sweeps,
  systems,
  train,
  unlearn,
)
from gzjax.stages.experiment import OF_CNNS, OF_RESNETS, Experiment
from gzjax.workdir import Workdir, to_json, write_json


class Stage(NamedTuple):
  """A stage: what it does, which config it depends on, what it writes."""

  run: Callable[[Experiment], None]
  keys: tuple[str, ...]  # of the config, `a.b` for a part
  outputs: tuple[str, ...]
  needs: tuple[str, ...]  # all stages that it needs
  # Whether it only presents what others found, and so is redone at any change.
  derived: bool = False
  in_all: bool = True  # part of --stage=all
  # Whether what a stage that never finished left behind suits any config.
  restarts: bool = False
  # Whether it puts the run to use on files that the run does not watch: done
  # whenever it is asked for, and no part of what the run tells about itself.
  applies: bool = False


def _report(experiment: Experiment) -> None:
  report.write(
    experiment.workdir,
    experiment.dataset.image,
    gallery=experiment.config.report.gallery,
  )


_TO_TRAIN = ("prepare", "train")
_TO_AUDIT = (*_TO_TRAIN, "audit")
_TO_EVALUATE = (*_TO_AUDIT, "unlearn", "evaluate")

STAGES = {
  "prepare": Stage(
    prepare.run,
    ("seed", "data", "labels", "target", "flips"),
    ("split.parquet", "data"),
    (),
    restarts=True,
  ),
  "train": Stage(train.run, ("model", "train"), ("train",), ("prepare",)),
  "audit": Stage(audit.run, (), ("audit",), _TO_TRAIN),
  "unlearn": Stage(
    unlearn.run,
    tuple(f"unlearn.{key}" for key in unlearn.SHARED),
    ("retrain", "fisher", "unlearn"),
    _TO_AUDIT,
  ),
  "evaluate": Stage(
    evaluate.run,
    ("unlearn", "evaluate"),
    ("evaluate", "scoreboard.csv", "scoreboard.json"),
    (*_TO_AUDIT, "unlearn"),
    derived=True,
  ),
  "report": Stage(
    _report, ("report",), ("report.html",), _TO_EVALUATE, derived=True
  ),
  "stabiliser": Stage(
    sweeps.stabiliser,
    ("stabiliser", "unlearn.batch_size", "unlearn.fisher"),
    ("stabiliser",),
    _TO_TRAIN,
    in_all=False,
  ),
  "discovery": Stage(
    sweeps.discovery,
    ("discovery", "unlearn"),
    ("discovery",),
    _TO_AUDIT,
    in_all=False,
  ),
  "predict": Stage(
    predict.run,
    ("predict", "evaluate.views"),
    predict.OUTPUTS,
    _TO_TRAIN,
    derived=True,
    in_all=False,
    applies=True,
  ),
}


def run(
  config: ml_collections.ConfigDict,
  workdir: str,
  stage: str = "all",
  *,
  overwrite: bool = False,
  data_dir: str | None = None,
  manual_dir: str | None = None,
) -> None:
  """Runs a stage, or all of them, and prints the scoreboard at the end.

  Args:
    config: see `gzjax.defaults`.
    workdir: the folder of the run.
    stage: a name of `STAGES` or "all".
    overwrite: start the asked stages, and those that need them, anew.
    data_dir: TFDS folder; None is TFDS's own default.
    manual_dir: folder of files that the user downloaded.

  Raises:
    UserError: for anything that the user can mend.
  """

  def run_one(config, place):
    _run_one(config, place, stage, overwrite, data_dir, manual_dir)

  if "systems" in config:
    systems.check(config)
    for name in config.compared:
      _check_config(config.systems[name])
    compares = stage in ("all", "evaluate", "report")
    systems.run(config, Workdir(workdir), run_one, compares=compares)
    return
  _check_config(config)
  place = Workdir(workdir)
  seeds.check_layout(place, config.seeds)
  if config.seeds:
    seeds.run(config, place, run_one)
  else:
    run_one(config, place)
    applies = stage != "all" and STAGES[stage].applies
    if not applies and (place / "scoreboard.json").exists():
      evaluate.show(place)


def _run_one(
  config: ml_collections.ConfigDict,
  place: Workdir,
  stage: str,
  overwrite: bool,
  data_dir: str | None,
  manual_dir: str | None,
) -> None:
  """Runs the asked stages of one seed that are not finished."""
  asked = [name for name in STAGES if stage in ("all", name)]
  if stage == "all":
    asked = [name for name in asked if STAGES[name].in_all]
  if overwrite:
    for name, other in STAGES.items():
      if name in asked or set(asked) & set(other.needs):
        place.clear(name, list(other.outputs))
  needed = STAGES[asked[0]].needs
  finished = {
    name: place.check(
      name,
      _part(config, name),
      redo=STAGES[name].derived,
      restart=STAGES[name].restarts,
    )
    for name in (*needed, *asked)
  }
  if finished.get("unlearn"):
    finished["unlearn"] = unlearn.is_finished(place, config)
  for name in needed:
    if not finished[name]:
      raise UserError(
        f"stage {stage} needs stage {name}, which has not finished in "
        f"{place.root}: run --stage={name} first, or leave out --stage."
      )
  experiment = Experiment(config, place, data_dir, manual_dir)
  to_do: list[str] = []
  for name in asked:
    again = STAGES[name].applies or set(to_do) & set(STAGES[name].needs)
    if again or not finished[name]:
      to_do.append(name)
  if (
    to_do
    and not (STAGES[to_do[-1]].in_all or STAGES[to_do[-1]].applies)
    and (place / "report.html").exists()
  ):
    to_do.append("report")  # that shows the new sweep
  for name in to_do:
    say(f"stage {name}")
    place.start(name, _part(config, name))
    STAGES[name].run(experiment)
    if name == to_do[0] and not STAGES[name].applies:
      _write_config(experiment)
    place.finish(name)


def _part(config: ml_collections.ConfigDict, name: str) -> dict[str, Any]:
  return {key: to_json(_plain(_get(config, key))) for key in STAGES[name].keys}


def _plain(value: Any) -> Any:
  is_dict = isinstance(value, ml_collections.ConfigDict)
  return value.to_dict() if is_dict else value


def _write_config(experiment: Experiment) -> None:
  packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
  write_json(
    experiment.workdir / "config.json",
    {
      "config": experiment.config.to_dict(),
      "command": sys.argv,
      "versions": {
        "python": sys.version.split()[0],
        **{name: importlib.metadata.version(name) for name in packages},
      },
      "device_kind": jax.devices()[0].device_kind,
      "device_count": jax.device_count(),
      "dataset_fingerprint": experiment.dataset.fingerprint,
      "git_revision": git_revision(),
    },
  )


_CHOICES = {
  "data.normalise": ("imagenet", "training"),
  "data.split_by": ("label", "id"),
  "labels.kind": ("column", *labels.SCHEMES),
  "flips.kind": noise.FLIP_MODELS,
  "target.kind": (
    "classes",
    "fractions",
    "counts",
    "answers",
    "labels",
    "branches",
  ),
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


def _check_config(config: ml_collections.ConfigDict) -> None:
  """Finds at once what would fail after hours."""
  for name, choices in _CHOICES.items():
    value = _get(config, name)
    if value not in choices:
      raise UserError(
        f"{name} is {value!r}: choose one of {', '.join(map(str, choices))}."
      )
  for name in _AT_LEAST_ONE:
    if _get(config, name) < 1:
      raise UserError(f"{name} is {_get(config, name)}: it must be at least 1.")
  for name in ("seed", "data.crop", "predict.shown"):
    if _get(config, name) < 0:
      raise UserError(f"{name} is {_get(config, name)}: it must be at least 0.")
  _check_model(config)
  _check_data(config)
  _check_target(config)
  noise.check_fraction(config.flips.fraction)
  for methods in (config.unlearn.methods, config.discovery.methods):
    unlearn.check_methods(config.unlearn, methods, config.target.kind)
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
  labels.check_settings(config.labels.kind, labelling.label_settings(config))
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
  if target.kind == "classes":
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
    if _get(config, name) != wanted:
      raise UserError(
        f"{name} is {_get(config, name)!r}: with target.kind="
        f"{config.target.kind} it must be {wanted!r}."
      )
  if config.target.kind == "counts" and config.unlearn.fisher.kind == "true":
    raise UserError(
      "unlearn.fisher.kind=true has no closed form for target.kind=counts: use "
      "--config.unlearn.fisher.kind=sampled."
    )


def _get(config: ml_collections.ConfigDict, name: str) -> Any:
  return functools.reduce(lambda part, key: part[key], name.split("."), config)
