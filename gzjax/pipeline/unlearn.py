"""unlearn: real retraining, and each method from the original network."""

from functools import partial
from pathlib import Path

import jax

from gzjax import fisher
from gzjax.errors import UserError
from gzjax.evaluation import health
from gzjax.files import first_difference, read_json, to_json, write_json
from gzjax.pipeline import checkpoint, defaults, origin
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.train import run_training
from gzjax.pipeline.workdir import Workdir
from gzjax.problem import Network
from gzjax.progress import say
from gzjax.types import Cost, Fisher
from gzjax.unlearning import diagnosis, driver, extras, plan
from gzjax.unlearning.methods import TRAININGS

# Keys of config.unlearn that all methods share.
SHARED = (
  "batch_size",
  "forget_batch_size",
  "fisher",
  "discovered",
  "least_learned",
  "suggestions",
  *TRAININGS,
)


def is_finished(experiment: Experiment) -> bool:
  """Whether every method has its result; UserError if of other settings."""
  names = experiment.config.unlearn.methods
  return all(_has_result(experiment, name) for name in names)


def _has_result(experiment: Experiment, name: str) -> bool:
  place = experiment.place(name)
  before = read_json(place / "settings.json")
  now = to_json(experiment.config.unlearn[name].to_dict())
  usual = defaults.as_json()["unlearn"].get(name)
  difference = before and first_difference(before, now, usual=usual)
  if difference:
    raise UserError(
      f"{place} was run with other settings ({difference}): choose another "
      "--workdir, or delete that folder to run the method anew."
    )
  if not experiment.is_made(name):
    return False
  origin.check(place, origin.of(experiment, name))
  return True


def reopen(workdir: Workdir, damaged: str) -> None:
  """Makes the network anew of which a file is damaged, and no other one."""
  top, *rest = Path(damaged).parts
  folder = workdir / top
  if top == "unlearn":
    folder /= rest[0]
  for last in ("health.json", "dynamics.parquet"):
    (folder / last).unlink(missing_ok=True)


def run(experiment: Experiment) -> None:
  """Runs the methods of the config that are not finished yet."""
  problem = experiment.problem
  plan.check_retain(problem, "unlearn.batch_size")
  original = experiment.network("original")
  goal = diagnosis.make_goal(problem, original)
  least = experiment.config.unlearn.least_learned
  if health.nothing_to_unlearn(goal.before, goal.target, least):
    say("unlearn.least_learned=0 runs methods all the same")
  elif warning := health.hardly_learned(goal.before):
    say(warning)
  for name in experiment.config.unlearn.methods:
    if not _has_result(experiment, name):
      run_method(experiment, name, goal)


def run_method(experiment: Experiment, name: str, goal: diagnosis.Goal) -> None:
  """Makes the network of a row and writes what it says of itself."""
  problem, row = experiment.problem, experiment.row(name)
  make = partial(driver.run, problem, row, goal.original)
  if row.make:
    given, learned = problem.columns.given, experiment.learned_by(name)
    run_training(experiment, name, make, given, learned)
    return
  place = experiment.place(name)
  settings = experiment.config.unlearn[name].to_dict()
  write_json(place / "settings.json", settings)
  settings.pop("method", None)
  fishers = fisher_of(experiment)
  made_from = origin.of(experiment, name)
  with checkpoint.FolderStore(place, made_from) as store:
    network = make(
      name=name,
      goal=goal,
      fisher_of=fishers,
      store=store,
      least_learned=experiment.config.unlearn.least_learned,
      **settings,
    )
  write_json(place / "health.json", network.report)


def fisher_of(experiment: Experiment) -> extras.FisherOf:
  """Finds Fishers in `fisher/<name>/` of the run, or computes them there.

  UserError for one of another network, data set, set of galaxies or kind.
  """
  problem, settings = experiment.problem, experiment.config.unlearn.fisher
  compute = extras.fisher_by(problem, fisher.Spec(**settings.to_dict()))

  def find(network: Network, name: str, estimator: str) -> tuple[Fisher, Cost]:
    members = problem.sets._asdict()[name]
    record = fisher.provenance(
      {"params": network.params, "batch_stats": network.batch_stats},
      {
        "row": members,
        **{key: x[members] for key, x in problem.columns.given.items()},
      },
      dataset=experiment.dataset.fingerprint,
      objective=problem.target.name,
      kind=settings.kind,
      estimator=estimator or settings.estimator,
      key_data=jax.random.key_data(problem.key),
    )
    # Another estimator than that of the config has a folder of its own.
    place = f"{name}_{estimator}" if estimator else name
    folder = experiment.results / "fisher" / place
    info = checkpoint.read_fisher_info(folder)
    if info is None:
      found, cost = compute(network, name, estimator)
      checkpoint.save_fisher(
        folder, found, {"provenance": record, **cost._asdict()}
      )
      return found, cost
    difference = first_difference(info["provenance"], record)
    if difference:
      raise UserError(
        f"the Fisher in {folder} was computed from something else "
        f"({difference}): delete that folder, and it is computed anew."
      )
    say(f"Fisher of the {name} set: read from {folder}")
    like = Fisher(network.state.step.astype("float32"), network.params)
    return checkpoint.restore_fisher(folder, like), checkpoint.cost_of(info)

  return find
