"""Runs the stages of a run that are asked for and have not finished."""

from collections.abc import Callable, Sequence
import contextlib
import functools
from pathlib import Path

import ml_collections

from gzjax.data import dataset
from gzjax.errors import UserError
from gzjax.pipeline import (
  anew,
  checks,
  columns,
  evaluate,
  prepare,
  remembered,
  reviews,
  seeds,
  systems,
  unlearn,
  weights,
)
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.remembered import Sources
from gzjax.pipeline.stage_table import (
  OF_FORGET_SET,
  STAGES,
  TO_AUDIT,
  is_done,
  part,
)
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say


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
    place = Workdir(workdir)
    for name in config.compared:
      checks.check_config(config.systems[name])
      _check_weights(config.systems[name], Workdir(place / name))
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
    anew.recover(place, config, overwrite)
    _reopen(place)
    if not (overwrite and stage in ("all", "prepare")):
      columns.recall(config, place)
    make = functools.partial(
      Experiment, config, place, sources.data_dir, sources.manual_dir
    )
    asked = _asked(place, stage, forget)
    _check_weights(config, place, again=overwrite and "train" in asked)
    prepares = overwrite and "prepare" in asked
    if place.is_finished("prepare") and not prepares:
      prepare.check(make())
      prepare.find_again(make())
      if verify:
        _verify(make())
    is_late = forget and not _take_up(
      make(), forget, asked if overwrite else ()
    )
    if not is_late:
      asked = _possible(make(), stage, asked, forget)
    undo = anew.undone_by_an_error if overwrite else contextlib.nullcontext
    with undo(place):
      if overwrite:
        anew.set_aside(place, config, asked)
      if with_needed or (stage != "all" and STAGES[stage].brings):
        asked = [*_needed(make(), asked), *asked]
      _run_stages(make, stage, asked, bool(is_late), sources)


def _check_weights(
  config: ml_collections.ConfigDict, place: Workdir, *, again: bool = False
) -> None:
  """See `weights.check`; a trained network may have lost its file since."""
  if again or not place.is_finished("train"):
    weights.check(config)


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
    if name in OF_FORGET_SET and _has_nothing_to_forget(experiment):
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
  place.start(name, part(experiment.config, name))
  one.run(experiment)
  place.finish(name, one.outputs, one.needs)
  # A new split alone is soon made: a mistake after it shall undo it, too.
  if name != "prepare":
    place.replaced.drop()


def _reopen(place: Workdir) -> None:
  """Finds what of finished stages is damaged or gone: they then go on."""
  for name in STAGES:
    for path, why in place.reopen(name, redo=STAGES[name].derived).items():
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
    return [name for name in asked if name not in OF_FORGET_SET]
  if stage in OF_FORGET_SET:
    raise UserError(
      f"{stage}: nobody has said yet which labels to forget: give "
      "--forget=reviewed.csv (what audit/review.html exports), a list of ids, "
      f"or --forget={reviews.SUSPECTS}."
    )
  return [name for name in asked if name not in OF_FORGET_SET]


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
  kept = [name for name in TO_AUDIT if name not in again]
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
    name: is_done(
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
    return tuple(x for x in needed if x not in OF_FORGET_SET)
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


def remember(
  config: ml_collections.ConfigDict,
  place: Workdir,
  stage: str,
  sources: Sources,
) -> None:
  """Writes `config.json`.

  A stage that is no part of `all` changes its own section only; one that puts
  the run to use changes nothing.
  """
  is_apart = stage != "all" and not STAGES[stage].in_all
  applies = is_apart and STAGES[stage].applies
  if applies and (place / "config.json").exists():
    return
  remembered.write(config, place.root, sources, stage if is_apart else None)
