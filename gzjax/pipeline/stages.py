"""The stages of a run: what each reads, needs and writes."""

from collections.abc import Callable
import functools
import importlib.metadata
import sys
from typing import Any, NamedTuple

import jax
import ml_collections

import gzjax
from gzjax import report
from gzjax.errors import UserError
from gzjax.files import read_json, to_json, write_json
from gzjax.pipeline import (
  audit,
  checks,
  evaluate,
  predict,
  prepare,
  seeds,
  sweeps,
  systems,
  train,
  unlearn,
)
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.runs import Sources
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say
from gzjax.revision import git_revision


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
    experiment.workdir.root,
    experiment.dataset.image,
    gallery=experiment.config.report.gallery,
  )


_TO_TRAIN = ("prepare", "train")
_TO_AUDIT = (*_TO_TRAIN, "audit")
_TO_UNLEARN = (*_TO_AUDIT, "unlearn")

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
  config_file: str | None = None,
) -> None:
  """Runs a stage, or all of them, and prints the scoreboard at the end.

  Args:
    config: see `gzjax.pipeline.defaults`.
    workdir: the folder of the run.
    stage: a name of `STAGES` or "all".
    overwrite: start the asked stages, and those that need them, anew.
    data_dir: TFDS folder; None is TFDS's own default.
    manual_dir: folder of files that the user downloaded.
    config_file: see `config_files.identity`.

  Raises:
    UserError: for anything that the user can mend.
  """
  sources = Sources(config_file, data_dir, manual_dir)
  run_one = functools.partial(
    _run_one, stage=stage, overwrite=overwrite, sources=sources
  )
  if "systems" in config:
    systems.check(config)
    for name in config.compared:
      checks.check_config(config.systems[name])
    place = Workdir(workdir)
    remember(config, place, stage, sources)
    compares = stage in ("all", "evaluate", "report")
    systems.run(config, place, run_one, compares=compares)
    return
  checks.check_config(config)
  place = Workdir(workdir)
  seeds.check_layout(place, config.seeds)
  if config.seeds:
    remember(config, place, stage, sources)
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
  sources: Sources,
) -> None:
  """Runs the asked stages of one seed that are not finished."""
  asked = [stage]
  if stage == "all":
    asked = [name for name, one in STAGES.items() if one.in_all]
  if overwrite:
    _clear(place, asked)
  experiment = Experiment(config, place, sources.data_dir, sources.manual_dir)
  to_do = _to_do(experiment, stage, asked)
  if to_do:
    remember(config, place, to_do[0], sources)
  for name in to_do:
    say(f"stage {name}")
    place.start(name, _part(config, name))
    STAGES[name].run(experiment)
    if name == "prepare":
      remember(config, place, name, sources)  # the data set is known now
    place.finish(name)


def _to_do(experiment: Experiment, stage: str, asked: list[str]) -> list[str]:
  """The stages to run, in their order.

  UserError if one that they need has not finished, or if one was run with
  another config and may not be done anew.
  """
  place, needed = experiment.workdir, STAGES[asked[0]].needs
  finished = {
    name: place.check(
      name,
      _part(experiment.config, name),
      redo=STAGES[name].derived,
      restart=STAGES[name].restarts,
    )
    for name in (*needed, *asked)
  }
  if finished.get("unlearn"):
    finished["unlearn"] = unlearn.is_finished(experiment)
  for name in needed:
    if not finished[name]:
      raise UserError(
        f"stage {stage} needs stage {name}, which has not finished in "
        f"{place.root}: run --stage={name} first, or leave out --stage."
      )
  found: list[str] = []
  for name in asked:
    again = STAGES[name].applies or set(found) & set(STAGES[name].needs)
    if again or not finished[name]:
      found.append(name)
  last = STAGES[found[-1]] if found else None
  is_sweep = last and not (last.in_all or last.applies)
  if is_sweep and (place / "report.html").exists():
    found.append("report")  # that shows the new sweep
  return found


def _clear(place: Workdir, asked: list[str]) -> None:
  """Deletes what the asked stages left, and all that was made of it."""
  for name, other in STAGES.items():
    if name in asked or set(asked) & set(other.needs):
      place.clear(name, other.outputs)


def _part(config: ml_collections.ConfigDict, name: str) -> dict[str, Any]:
  values = config.to_dict()
  return {key: to_json(checks.get(values, key)) for key in STAGES[name].keys}


def remember(
  config: ml_collections.ConfigDict,
  place: Workdir,
  stage: str,
  sources: Sources,
) -> None:
  """Writes `config.json`, before anything is done: a killed run goes on by it.

  A stage that is no part of `all` changes its own section only; one that puts
  the run to use changes nothing.
  """
  path = place / "config.json"
  before = read_json(path)
  now = to_json(config.to_dict())
  if before and stage != "all" and not STAGES[stage].in_all:
    if STAGES[stage].applies:
      return
    now = {**before["config"], stage: now[stage]}
  packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
  data = read_json(place / "stages" / "dataset.json") or {}
  write_json(
    path,
    {
      "config": now,
      **sources._asdict(),
      "command": sys.argv,
      "versions": {
        "gzjax": gzjax.__version__,
        "python": sys.version.split()[0],
        **{name: importlib.metadata.version(name) for name in packages},
      },
      "device_kind": jax.devices()[0].device_kind,
      "device_count": jax.device_count(),
      "dataset_fingerprint": data.get("fingerprint"),
      "git_revision": git_revision(),
    },
  )
