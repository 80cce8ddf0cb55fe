"""unlearn: real retraining, and each method from the original network."""

from typing import Any

from gzjax.errors import UserError
from gzjax.evaluation import health
from gzjax.files import first_difference, read_json, to_json, write_json
from gzjax.pipeline.checkpoint import FolderStore
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.fisher import fisher_of
from gzjax.pipeline.train import validation_metrics, write_training
from gzjax.progress import say
from gzjax.training.dynamics import Dynamics
from gzjax.unlearning import diagnosis, driver, plan

# Keys of config.unlearn that all methods share.
SHARED = (
  "batch_size",
  "forget_batch_size",
  "fisher",
  "discovered",
  "suggestions",
  "retrain",
)


def is_finished(experiment: Experiment) -> bool:
  """Whether every method of the config has its result.

  Raises:
    UserError: if one was run with other settings.
  """
  names = experiment.config.unlearn.methods
  return all(_has_result(experiment, name) for name in names)


def _has_result(experiment: Experiment, name: str) -> bool:
  place = experiment.place(name)
  before = read_json(place / "settings.json")
  now = to_json(experiment.config.unlearn[name].to_dict())
  difference = before and first_difference(before, now)
  if difference:
    raise UserError(
      f"{place} was run with other settings ({difference}): choose another "
      "--workdir, or delete that folder to run the method anew."
    )
  made = experiment.row(name).make is not None
  return (place / ("dynamics.parquet" if made else "health.json")).exists()


def run(experiment: Experiment) -> None:
  """Runs the methods of the config that are not finished yet."""
  problem = experiment.problem
  plan.check_retain(problem, "unlearn.batch_size")
  original = experiment.network("original")
  goal = diagnosis.make_goal(problem, original)
  warning = health.nothing_to_unlearn(goal.before)
  if warning:
    say(warning)
  for name in experiment.config.unlearn.methods:
    if not _has_result(experiment, name):
      run_method(experiment, name, goal)


def run_method(experiment: Experiment, name: str, goal: diagnosis.Goal) -> None:
  """Makes the network of a row and writes what it says of itself."""
  problem, row = experiment.problem, experiment.row(name)
  place = experiment.place(name)
  dynamics = Dynamics(problem, problem.columns.given)
  if row.make:
    settings: dict[str, Any] = {
      "recipe": experiment.recipe(place.name),
      "validate": lambda network: validation_metrics(problem, network),
      "dynamics": dynamics,
    }
  else:
    settings = experiment.config.unlearn[name].to_dict()
    write_json(place / "settings.json", settings)
    del settings["method"]
  with FolderStore(place, problem.feed.mesh) as store:
    network = driver.run(
      problem,
      row,
      goal.original,
      name=name,
      goal=goal,
      fisher_of=fisher_of(experiment),
      store=store,
      **settings,
    )
  if network.report is None:
    write_training(experiment, name, network, dynamics, problem.sets.retain)
  else:
    write_json(place / "health.json", dict(network.report))
