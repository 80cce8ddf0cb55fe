"""The stages of a run: what each reads, needs and writes."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import importlib.metadata
from pathlib import Path
import sys
from typing import Any, NamedTuple

import jax
import ml_collections

import gzjax
from gzjax import digests, report
from gzjax.data import dataset
from gzjax.errors import UserError
from gzjax.files import read_json, to_json, write_json
from gzjax.pipeline import (
  audit,
  checks,
  columns,
  defaults,
  evaluate,
  predict,
  prepare,
  reviews,
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
  # Whether it is redone at any change, of what it keeps of itself or others.
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
    forget=experiment.sets.forget,
  )


_TO_TRAIN = ("prepare", "train")
_TO_AUDIT = (*_TO_TRAIN, "audit")
_TO_UNLEARN = (*_TO_AUDIT, "unlearn")
# What cannot be done before somebody says what is to be forgotten.
_OF_FORGET_SET = ("unlearn", "evaluate", "stabiliser")

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
  workdir: str | Path,
  stage: str = "all",
  *,
  overwrite: bool = False,
  verify: bool = False,
  forget: str | None = None,
  with_needed: bool = False,
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
    verify: compare the digests of galaxies and networks, too, before anything.
    forget: what a person found: a table as the review page exports it, a list
      of ids, or `reviews.SUSPECTS`; unlearning then goes on to the report.
    with_needed: run the stages that the asked one needs, too.
    data_dir: TFDS folder; None is TFDS's own default.
    manual_dir: folder of files that the user downloaded.
    config_file: see `config_files.identity`.

  Raises:
    UserError: for anything that the user can mend.
  """
  sources = Sources(config_file, data_dir, manual_dir)
  run_one = functools.partial(
    _run_one,
    stage=stage,
    overwrite=overwrite,
    verify=verify,
    forget=forget,
    with_needed=with_needed,
    sources=sources,
  )
  if forget and ("systems" in config or config.seeds):
    raise UserError(
      "--forget is for a single run: give the folder of one of these seeds or "
      "systems as --workdir, without --config."
    )
  if forget and stage not in ("all", "unlearn"):
    raise UserError(
      f"--forget is for the stages unlearn and all, not for {stage}."
    )
  if "systems" in config:
    systems.check(config)
    for name in config.compared:
      checks.check_config(config.systems[name])
    place = Workdir(workdir)
    compares = stage in ("all", "evaluate", "report")
    with place.hold():
      remember(config, place, stage, sources)
      systems.run(config, place, run_one, compares=compares)
    return
  checks.check_config(config)
  place = Workdir(workdir)
  seeds.check_layout(place, config.seeds)
  if config.seeds:
    with place.hold():
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
  verify: bool,
  forget: str | None,
  with_needed: bool,
  sources: Sources,
) -> None:
  """Runs the asked stages of one seed that are not finished."""
  with place.hold():
    _recover(place, config, overwrite)
    _reopen(place)
    if not (overwrite and stage in ("all", "prepare")):
      columns.recall(config, place)
    make = functools.partial(
      Experiment, config, place, sources.data_dir, sources.manual_dir
    )
    asked = _asked(place, stage, forget)
    anew = overwrite and "prepare" in asked
    if place.is_finished("prepare") and not anew:
      prepare.check(make())
      prepare.find_again(make())
      if verify:
        _verify(make())
    is_late = forget and not _take_up(
      make(), forget, asked if overwrite else ()
    )
    if not is_late:
      asked = _possible(make(), stage, asked, forget)
    with _undone_by_an_error(place) if overwrite else contextlib.nullcontext():
      if overwrite:
        _set_aside(place, config, asked)
      if with_needed:
        asked = [*_needed(make(), asked), *asked]
      _run_stages(make, stage, asked, bool(is_late), sources)


def _run_stages(
  make: Callable[[], Experiment],
  stage: str,
  asked: Sequence[str],
  is_late: bool,
  sources: Sources,
) -> None:
  """Runs those of the asked stages that are not finished."""
  experiment = make()
  config, place = experiment.config, experiment.workdir
  _check_needed(experiment, stage, asked)
  ran: list[str] = []
  for name in asked:
    if name == "unlearn" and is_late:
      _review(experiment, reviews.SUSPECTS)
      experiment = make()
    if name in _OF_FORGET_SET and _has_nothing_to_forget(experiment):
      continue
    if not _is_due(experiment, name, ran):
      continue
    if not ran:
      remember(config, place, name, sources)
    _run_stage(experiment, name)
    ran.append(name)
    if name == "prepare":
      remember(config, place, name, sources)  # the data set is known now
      experiment = make()
  if not ran:
    say(f"{place.root}: all of this is done (--overwrite does it again)")
  place.replaced.finish()


def _run_stage(experiment: Experiment, name: str) -> None:
  place, one = experiment.workdir, STAGES[name]
  say(f"stage {name}")
  if name == "prepare":
    columns.find(experiment)
  place.start(name, _part(experiment.config, name))
  one.run(experiment)
  place.finish(name, one.outputs, one.needs)
  # A new split alone is soon made: a mistake after it shall undo it, too.
  if name != "prepare":
    place.replaced.drop()


def _recover(
  place: Workdir, config: ml_collections.ConfigDict, overwrite: bool
) -> None:
  """Takes up what a killed launch left.

  Where stages were to be made anew, and this launch has the config of the old
  ones and not of the new ones, these are there again.
  """
  replaced = place.replaced
  replaced.recover()
  if overwrite or not replaced.is_kept:
    return
  note = replaced.note
  if all(to_json(_part(config, x)) == note[x] for x in note):
    return
  before, config = place.before, config.copy_and_resolve_references()
  columns.recall(config, before)
  names = [name for name in STAGES if before.config_of(name) is not None]
  if names and all(_is_done(before, config, name, redo=True) for name in names):
    replaced.put_back()
    say(f"{place.root}: back to what was there before it was begun anew")


def _reopen(place: Workdir) -> None:
  """Finds what of finished stages is damaged or gone: they then go on."""
  for name in STAGES:
    for path, why in place.reopen(name).items():
      say(f"{place / path} {why}: stage {name} is taken up again")
      if name == "unlearn":
        unlearn.reopen(place, path)


def _verify(experiment: Experiment) -> None:
  """DamagedError for galaxies or a network that are not what was written."""
  dataset.verify(experiment.data_folder)
  for name in experiment.names():
    if experiment.is_made(name):
      experiment.network(name)
  say("all digests are those of what was written")


def _set_aside(
  place: Workdir, config: ml_collections.ConfigDict, asked: Sequence[str]
) -> None:
  """Makes room for the asked stages, and for all that will be made of them.

  A launch that was killed goes on.
  """
  replaced = place.replaced
  note = {name: to_json(_part(config, name)) for name in asked}
  if replaced.note == note:
    say(f"{place.root}: going on with what was begun anew")
    return
  if replaced.is_kept:
    replaced.put_back()
  names = []
  for name, other in STAGES.items():
    if name in asked or set(asked) & set(other.needs):
      names += [f"stages/{name}.json", *other.outputs]
  replaced.set_aside(names, note)


@contextlib.contextmanager
def _undone_by_an_error(place: Workdir) -> Iterator[None]:
  """What is there stays, unless it is made anew."""
  try:
    yield
  except Exception:
    if place.replaced.is_kept:
      place.replaced.put_back()
      say(f"{place.root} is as it was before")
    raise


def _asked(place: Workdir, stage: str, forget: str | None) -> list[str]:
  """The stages that are asked for, in their order."""
  if stage == "all":
    return [name for name, one in STAGES.items() if one.in_all]
  if stage == "unlearn" and forget:
    return ["unlearn", "evaluate", "report"]
  if _is_sweep(stage) and (place / "report.html").exists():
    return [stage, "report"]  # that shows the new sweep
  return [stage]


def _is_sweep(stage: str) -> bool:
  return not (STAGES[stage].in_all or STAGES[stage].applies)


def _possible(
  experiment: Experiment, stage: str, asked: list[str], forget: str | None
) -> list[str]:
  """Those of the stages for which somebody has said what is to be forgotten.

  UserError where nothing is left of what is asked for.
  """
  place = experiment.workdir
  if stage == "discovery" and (
    experiment.is_repair or reviews.has_forget_set(place)
  ):
    raise UserError(
      "discovery: needs labels that were flipped on purpose: run it in a "
      "workdir with another flips.kind than none, and without a review."
    )
  if not _has_nothing_to_forget(experiment):
    return asked
  if forget:
    say(f"{forget} calls no label wrong that the network learned")
    return [name for name in asked if name not in _OF_FORGET_SET]
  if stage in _OF_FORGET_SET:
    raise UserError(
      f"{stage}: nobody has said yet which labels to forget: give "
      "--forget=reviewed.csv (what audit/review.html exports), a list of ids, "
      f"or --forget={reviews.SUSPECTS}."
    )
  return [name for name in asked if name not in _OF_FORGET_SET]


def _has_nothing_to_forget(experiment: Experiment) -> bool:
  """Whether the labels are a person's own, who has called none wrong yet."""
  has_set = reviews.has_forget_set(experiment.workdir)
  return experiment.is_repair and not has_set


def _take_up(experiment: Experiment, forget: str, again: Sequence[str]) -> bool:
  """Takes up what a person found; False for suspects of an audit to come.

  UserError for a run that has not been audited, or where another config than
  that of its stages is given, except for those that are done `again`.
  """
  place = experiment.workdir
  kept = [name for name in _TO_AUDIT if name not in again]
  finished = _finished(place, experiment.config, kept)
  if forget == reviews.SUSPECTS and not finished.get("audit"):
    return False
  if not finished.get("audit", place.is_finished("audit")):
    raise UserError(
      f"{place.root} has not been audited with this config, so that {forget} "
      f"cannot be a review of it: run gzjax audit --workdir={place.root} first."
    )
  _review(experiment, forget)
  return True


def _review(experiment: Experiment, forget: str) -> None:
  """Records a review, and puts aside what was made of those before."""
  place = experiment.workdir

  def put_aside(first, folder):
    for name, one in STAGES.items():
      if name == first or first in one.needs:
        place.put_aside(name, one.outputs, folder)

  reviews.add(experiment, forget, put_aside)


def _finished(
  place: Workdir, config: ml_collections.ConfigDict, names: Sequence[str]
) -> dict[str, bool]:
  """Which stages have finished.

  UserError if one was run with another config and may not be done anew.
  """
  return {
    name: _is_done(
      place,
      config,
      name,
      redo=STAGES[name].derived,
      restart=STAGES[name].restarts,
    )
    and not (STAGES[name].derived and place.is_stale(name))
    for name in names
  }


def _needed(experiment: Experiment, asked: Sequence[str]) -> tuple[str, ...]:
  """The stages that the asked ones need."""
  needed = STAGES[asked[0]].needs
  if _has_nothing_to_forget(experiment):
    return tuple(x for x in needed if x not in _OF_FORGET_SET)
  return needed


def _check_needed(
  experiment: Experiment, stage: str, asked: Sequence[str]
) -> None:
  """UserError if one that is needed has not finished; and see `_finished`."""
  place, needed = experiment.workdir, _needed(experiment, asked)
  finished = _finished(place, experiment.config, (*needed, *asked))
  for name in needed:
    if name not in asked and not finished[name]:
      raise UserError(
        f"stage {stage} needs stage {name}, which has not finished in "
        f"{place.root}: run --stage={name} first, or leave out --stage."
      )


def _is_due(experiment: Experiment, name: str, ran: Sequence[str]) -> bool:
  """Whether a stage has something to do, after those that ran."""
  # The report shows a new sweep, which it does not need.
  if STAGES[name].applies or (name == "report" and any(map(_is_sweep, ran))):
    return True
  if not _finished(experiment.workdir, experiment.config, [name])[name]:
    return True
  return name == "unlearn" and not unlearn.is_finished(experiment)


def _is_done(
  place: Workdir, config: ml_collections.ConfigDict, name: str, **may_be: bool
) -> bool:
  """Whether a stage is finished with this config; see `Workdir.check`."""
  usual = _part(defaults.get_config(), name)
  return place.check(name, _part(config, name), usual=usual, **may_be)


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
  record = {
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
  }
  write_json(path, digests.signed(record))
