"""The Fisher diagonal of a set of galaxies: computed once, then kept."""

import jax

from gzjax import fisher
from gzjax.errors import UserError
from gzjax.files import first_difference
from gzjax.pipeline import checkpoint
from gzjax.pipeline.experiment import Experiment
from gzjax.problem import Network
from gzjax.progress import say
from gzjax.training.loop import Clock
from gzjax.types import Fisher
from gzjax.unlearning.driver import FisherOf, fisher_by


def fisher_of(experiment: Experiment) -> FisherOf:
  """Finds Fishers in `fisher/<name>/` of the run, or computes them there.

  The function that is returned raises UserError if the Fisher found there is of
  another network, data set, set of galaxies or kind.
  """
  problem, settings = experiment.problem, experiment.config.unlearn.fisher
  compute = fisher_by(
    problem,
    fisher.Spec(
      kind=settings.kind,
      estimator=settings.estimator,
      microbatch=settings.microbatch,
    ),
  )

  def find(network: Network, name: str, estimator: str) -> tuple[Fisher, Clock]:
    # Another estimator than that of the config has a folder of its own.
    place = f"fisher/{name}_{estimator}" if estimator else f"fisher/{name}"
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
    folder = experiment.results / place
    info = checkpoint.read_fisher_info(folder)
    if info is None:
      found, clock = compute(network, name, estimator)
      checkpoint.save_fisher(
        folder, found, {"provenance": record, **clock.seconds()}
      )
      return found, clock
    difference = first_difference(info["provenance"], record)
    if difference:
      raise UserError(
        f"the Fisher in {folder} was computed from something else "
        f"({difference}): delete that folder, and it is computed anew."
      )
    say(f"Fisher of the {name} set: read from {folder}")
    like = Fisher(network.state.step.astype("float32"), network.params)
    clock = Clock(info["wall_seconds"], info["compile_seconds"])
    return checkpoint.restore_fisher(folder, like), clock

  return find
