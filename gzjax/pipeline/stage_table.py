"""The stages of a run: what each reads, needs and writes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_collections

from gzjax import report
from gzjax.data.dataset import encoded_images
from gzjax.files import to_json
from gzjax.pipeline import (
  audit,
  checks,
  defaults,
  embeddings,
  evaluate,
  predict,
  prepare,
  profile,
  similar,
  sweeps,
  train,
  unlearn,
)
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir


class Stage(NamedTuple):
  """A stage: what it does, which config it depends on, what it writes."""

  run: Callable[[Experiment], None]
  keys: tuple[str, ...]  # of the config, `a.b` for a part
  outputs: tuple[str, ...]
  needs: tuple[str, ...]  # all stages that it needs
  # Whether it is redone at any change, of what it keeps of itself or others.
  derived: bool = False
  in_all: bool = True  # part of --stage=all
  # Whether what a stage that never finished left behind suits any config.
  restarts: bool = False
  # Whether it puts the run to use on files that the run does not watch: done
  # whenever it is asked for, and no part of what the run tells about itself.
  applies: bool = False
  # Whether the stages that it needs are run before it, where they are missing.
  brings: bool = False


def _report(experiment: Experiment) -> None:
  report.page.write(
    experiment.workdir.root,
    encoded_images(experiment.data_folder),
    gallery=experiment.config.report.gallery,
    forget=experiment.sets.forget,
  )


_TO_TRAIN = ("prepare", "train")
TO_AUDIT = (*_TO_TRAIN, "audit")
_TO_UNLEARN = (*TO_AUDIT, "unlearn")
# What cannot be done before somebody says what is to be forgotten.
OF_FORGET_SET = ("unlearn", "evaluate", "stabiliser")

STAGES = {
  "prepare": Stage(
    prepare.run,
    ("seed", "data", "labels", "target", "flips"),
    ("split.parquet", "data", "stages/dataset.json", "stages/columns.json"),
    (),
    restarts=True,
  ),
  "train": Stage(train.run, ("model", "train"), ("train",), ("prepare",)),
  "audit": Stage(audit.run, ("audit",), ("audit",), _TO_TRAIN, derived=True),
  "unlearn": Stage(
    unlearn.run,
    tuple(f"unlearn.{key}" for key in unlearn.SHARED),
    ("retrain", "fisher", "unlearn"),
    TO_AUDIT,
  ),
  "evaluate": Stage(
    evaluate.run,
    ("unlearn", "evaluate"),
    ("evaluate", *(f"scoreboard.{x}" for x in ("csv", "json", "md", "tex"))),
    _TO_UNLEARN,
    derived=True,
  ),
  "report": Stage(
    _report,
    ("report",),
    ("report.html",),
    (*_TO_UNLEARN, "evaluate"),
    derived=True,
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
    TO_AUDIT,
    in_all=False,
  ),
  "plane": Stage(
    sweeps.plane,
    (
      *("seed", "data", "labels", "target", "flips", "model", "train"),
      *("audit", "unlearn", "evaluate", "discovery", "plane"),
    ),
    ("plane",),
    (),
    in_all=False,
  ),
  "embed": Stage(
    embeddings.run,
    (),
    embeddings.OUTPUTS,
    _TO_TRAIN,
    derived=True,
    in_all=False,
    applies=True,
  ),
  "similar": Stage(
    similar.run,
    ("similar",),
    (similar.ALIKE, similar.ODDITIES),
    _TO_TRAIN,
    derived=True,
    in_all=False,
    applies=True,
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
  "profile": Stage(
    profile.run,
    ("profile",),
    (profile.FOLDER,),
    ("prepare",),
    derived=True,
    in_all=False,
    applies=True,
    brings=True,
  ),
}


def is_done(
  place: Workdir, config: ml_collections.ConfigDict, name: str, **may_be: bool
) -> bool:
  """Whether a stage is finished with this config; see `Workdir.check`."""
  usual = part(defaults.get_config(), name)
  return place.check(name, part(config, name), usual=usual, **may_be)


def part(config: ml_collections.ConfigDict, name: str) -> dict[str, Any]:
  """The part of the config that a stage depends on, as JSON has it."""
  values = config.to_dict()
  return {key: to_json(checks.get(values, key)) for key in STAGES[name].keys}
