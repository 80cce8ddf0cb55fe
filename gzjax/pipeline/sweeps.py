"""Stages of their own: one knob turned through its range, and the plot."""

import itertools
from typing import Any

import jax
import pandas as pd

from gzjax import fisher, report
from gzjax.evaluation import health
from gzjax.files import read_json, write_table, write_text
from gzjax.morphology import noise
from gzjax.pipeline import evaluate, unlearn
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import progress, say
from gzjax.unlearning import diagnosis, edits


def stabiliser(experiment: Experiment) -> None:
  """The published noise against its stabiliser and its scale.

  Noise of noise_scale / sqrt(F + stabiliser) on the original network, with the
  exact Fisher of single examples and with squares of batch-mean gradients, as
  published. Writes stabiliser/results.csv and figure.svg.
  """
  config = experiment.config.stabiliser
  problem = experiment.problem
  original = experiment.network("original")
  goal = diagnosis.make_goal(problem, original)

  @jax.jit
  def noisy(params, mean_fisher, noise_scale, stabiliser):
    def scale(f, p):
      return edits.published_noise_scale(
        f, p, noise_scale=noise_scale, stabiliser=stabiliser
      )

    transform = edits.inject_noise(problem.key, scale)
    moved, _ = transform.update(
      params, transform.init(params), params, retain_fisher=mean_fisher
    )
    return moved, scale(mean_fisher, params)

  rows = []
  find = unlearn.fisher_of(experiment)
  for kind, estimator in (("per example", ""), ("batch mean", "batch_mean")):
    mean_fisher = fisher.mean(find(original, "retain", estimator)[0])
    grid = list(itertools.product(config.stabilisers, config.noise_scales))
    for epsilon, noise_scale in progress(grid, len(grid), f"noise, {kind} F"):
      params, scale = noisy(original.params, mean_fisher, noise_scale, epsilon)
      now = diagnosis.read_vitals(problem, original._replace(params=params))
      judged = health.diagnose(
        now, goal.before, goal.target, problem.target.classes
      )
      noise = diagnosis.noise_report(original.params, mean_fisher, scale)
      rows.append(
        {
          "fisher": kind,
          "stabiliser": epsilon,
          "noise_scale": noise_scale,
          **judged._asdict(),
          "balanced_accuracy": now.balanced_accuracy,
          "forget_accuracy": now.forget_accuracy,
          "distance_to_constant": now.distance_to_constant,
          "noise_over_weight": noise["noise_over_weight"],
          "predicted_loss_change": noise["predicted_loss_change"],
        }
      )
  _write(
    experiment,
    "stabiliser",
    pd.DataFrame(rows),
    report.sweep_figures.stabiliser,
  )


def discovery(experiment: Experiment) -> None:
  """What unlearning is worth when only a part of the wrong labels is known.

  Runs retraining and the methods of `discovery.methods` for every share of
  `discovery.shares`, in discovery/<share>/, and writes discovery/results.csv
  and figure.svg. What the run itself has at its own share is not done again.
  """
  config = experiment.config
  rows: list[dict[str, Any]] = []
  for share in config.discovery.shares:
    say(f"discovered: {share:.0%}")
    part = config.copy_and_resolve_references()
    part.unlearn.discovered = share
    part.unlearn.methods = config.discovery.methods
    folder = experiment.workdir / "discovery" / f"{share:g}"
    if share == config.unlearn.discovered and unlearn.is_finished(
      Experiment(part, experiment.workdir)
    ):
      folder = experiment.workdir.root
    if not (folder / "scoreboard.json").exists():
      there = Experiment(part, experiment.workdir, results=folder)
      unlearn.run(there)
      evaluate.run(there)
    rows += [
      {"discovered": share, **row}
      for row in read_json(folder / "scoreboard.json")
      if row["role"] == "original" or row["method"] in config.discovery.methods
    ]
  # What is no number, beside the method and its verdict.
  others = ("role", "reason", "recalls", "intervals", "health", "confusion")
  table = pd.DataFrame(rows).drop(columns=[*others])
  _write(experiment, "discovery", table, report.sweep_figures.discovery)


def plane(experiment: Experiment) -> None:
  """Which kind of wrong labels, and how many of them are known: the plane.

  Each noise model of `plane.noise` has a run of its own in plane/<noise>/, up
  to its stage discovery. Writes plane/results.csv and figure.svg with
  `utility_x_healed`: test accuracy times the share of all wrong labels, known
  or not, whose galaxies get their right class (as Schoepf et al. 2026, REM).
  """
  from gzjax.pipeline import stages  # which needs this module

  tables, models = [], noise.NOISE_MODELS
  for kind in experiment.config.plane.noise:
    say(f"wrong labels: {kind}")
    part = experiment.config.copy_and_resolve_references()
    part.flips.kind = kind
    # Settings of other kinds stand as usual.
    usual, own = models.all_settings(), models.settings(kind)
    part.flips.update({key: usual[key] for key in usual if key not in own})
    folder = experiment.workdir / "plane" / kind
    stages.run(
      part,
      folder,
      "discovery",
      with_needed=True,
      data_dir=experiment.data_dir,
      manual_dir=experiment.manual_dir,
    )
    table = pd.read_csv(folder / "discovery" / "results.csv")
    tables.append(table.assign(noise=kind))
  table = pd.concat(tables, ignore_index=True)
  healed = table["corrected_accuracy"]
  table["utility_x_healed"] = table["test_accuracy"] * healed
  _write(experiment, "plane", table, report.sweep_figures.plane)
  means = table.groupby("method", sort=False)["utility_x_healed"].mean()
  words = (f"{name} {mean:.3f}" for name, mean in means.items())
  say(f"mean of accuracy x healed over the plane: {', '.join(words)}")


def _write(
  experiment: Experiment, name: str, table: pd.DataFrame, draw
) -> None:
  folder = experiment.workdir / name
  write_table(folder / "results.csv", table)
  write_text(folder / "figure.svg", draw(table))
  say(f"{folder / 'results.csv'} and figure.svg")
