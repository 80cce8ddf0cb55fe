"""The Fisher diagonal of a set of galaxies: computed once, then kept."""

import time
from typing import cast

import jax

from gzjax import fisher
from gzjax.data import feed
from gzjax.errors import UserError
from gzjax.files import first_difference
from gzjax.pipeline import checkpoint
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say
from gzjax.training import loop
from gzjax.types import Fisher, TrainState


def fisher_of(
  experiment: Experiment,
  state: TrainState,
  name: str,
  estimator: str = "",
) -> tuple[Fisher, loop.Clock]:
  """The Fisher of the retain or forget set, and the seconds that it took.

  Kept in `fisher/<name>/` with its provenance, and read from there.

  Args:
    experiment: what the run shares.
    state: the network.
    name: "retain" or "forget".
    estimator: "" is that of the config; another one has a folder of its own.

  Raises:
    UserError: if the Fisher found there is of another network, data set, set of
      galaxies or kind.
  """
  settings = experiment.config.unlearn.fisher
  place = f"fisher/{name}_{estimator}" if estimator else f"fisher/{name}"
  estimator = estimator or settings.estimator
  members = experiment.members(name)
  key = jax.random.key(experiment.config.seed)
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  record = fisher.provenance(
    variables,
    {
      "row": members,
      **{name: x[members] for name, x in experiment.columns("train").items()},
    },
    dataset=experiment.dataset.fingerprint,
    objective=experiment.target.name,
    kind=settings.kind,
    estimator=estimator,
    key_data=jax.random.key_data(key),
  )
  folder = experiment.place(place)
  info = checkpoint.read_fisher_info(folder)
  if info is not None:
    difference = first_difference(info["provenance"], record)
    if difference:
      raise UserError(
        f"the Fisher in {folder} was computed from something else "
        f"({difference}): delete that folder, and it is computed anew."
      )
    say(f"Fisher of the {name} set: read from {folder}")
    like = Fisher(state.step.astype("float32"), state.params)
    return checkpoint.restore_fisher(folder, like), loop.Clock(
      info["wall_seconds"], info["compile_seconds"]
    )
  rows = feed.ordered_rows(members, experiment.config.unlearn.batch_size)

  def timed(rows):
    start = time.perf_counter()
    found = fisher.fisher_diagonal(
      experiment.apply_fn,
      variables,
      experiment.feed.batches(rows),
      spec=fisher.Spec(
        objective=experiment.target.objective,
        likelihood=experiment.target.likelihood,
        kind=settings.kind,
        estimator=cast(fisher.Estimator, estimator),
        microbatch=settings.microbatch,
      ),
      mesh=experiment.mesh,
      key=key,
      total=len(rows),
    )
    return jax.block_until_ready(found), time.perf_counter() - start

  _, compile_seconds = timed(rows[:1])
  found, seconds = timed(rows)
  clock = loop.Clock(seconds, compile_seconds)
  checkpoint.save_fisher(
    folder, found, {"provenance": record, **clock.seconds()}
  )
  return found, clock
