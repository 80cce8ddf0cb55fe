"""profile: where the time of a step goes, beside what the machine can do."""

import shutil

import jax
from rich.table import Table

from gzjax import fisher
from gzjax.errors import UserError, naming
from gzjax.files import write_json
from gzjax.pipeline import evaluate
from gzjax.pipeline.experiment import Experiment
from gzjax.profiling import ceilings, measure, operations, programs
from gzjax.progress import say

FOLDER = "profile"


def run(experiment: Experiment) -> None:
  """Writes profile/profile.json, and a trace in a folder for each program."""
  config, folder = experiment.config.profile, experiment.workdir / FOLDER
  shutil.rmtree(folder, ignore_errors=True)  # of another profile
  best = ceilings.measure(experiment.mesh, experiment.config.model.dtype)
  found = {}
  for name in config.what:
    say(f"profiling {name}: {config.steps} steps, twice")
    program = _program(experiment, name)
    found[name] = measure.profile(program, folder / name, config.steps)
    _show(name, found[name], best)
  device = experiment.mesh.devices.flat[0]
  record = {
    "device": {"kind": device.device_kind, "count": experiment.mesh.size},
    "jax": jax.__version__,
    "ceilings": best._asdict(),
    "programs": {name: one.record(best) for name, one in found.items()},
  }
  write_json(folder / "profile.json", record)
  say(f"{folder / 'profile.json'}; traces beside it, for XProf or Perfetto")


def _program(experiment: Experiment, name: str) -> programs.Program:
  """What `profile.what` names, as the run would make its steps."""
  problem, config = experiment.problem, experiment.config.unlearn
  if name == "train":
    with naming("train"):
      recipe = experiment.recipe("train")
      return programs.of_training(problem, recipe, experiment.learned_first)
  if name == "fisher":
    return programs.of_fisher(problem, fisher.Spec(**config.fisher.to_dict()))
  if not len(problem.sets.forget):
    raise UserError(
      f"profile.what names {name}, but nobody has said yet which labels to "
      "forget: give --config.profile.what=train, or review them first."
    )
  settings = {k: x for k, x in config[name].to_dict().items() if k != "method"}
  with naming("unlearn"):
    return programs.of_method(problem, experiment.row(name), **settings)


def _show(name: str, found: measure.Profile, best: ceilings.Ceilings) -> None:
  """Prints a profile: totals beside their ceilings, and time by kind."""
  now = found.record(best)
  most = best.flops_per_second / 1e9, best.bytes_per_second / 1e9
  say(
    f"{name}: {1e3 * found.step_seconds:.1f} ms a step of {found.examples} "
    f"galaxies, {now['examples_per_second']:,.0f} a second; traced "
    f"{1e3 * found.traced_step_seconds:.1f} ms, "
    f"{now['busy_threads']:.1f} threads busy\n"
    f"  products {now['flops_per_second'] / 1e9:,.1f} GFLOP/s, "
    f"{now['of_matrix_product']:.0%} of a large one's {most[0]:,.1f}\n"
    f"  memory {now['bytes_per_second'] / 1e9:,.1f} GB/s, caches included, "
    f"{now['of_memory']:.0%} of a large array's {most[1]:,.1f}\n"
    f"  compiled in {found.compile_seconds:.1f} s; peak memory "
    f"{found.memory.peak / 2**20:,.1f} MiB on each device"
  )
  table = Table(title=f"{name}: busy time of a step", title_justify="left")
  table.add_column("of")
  for column in ("ms", "share"):
    table.add_column(column, justify="right")
  for kind, share in found.shares.items():
    if share:
      ms = 1e3 * found.seconds[kind]
      table.add_row(operations.KINDS[kind], f"{ms:.2f}", f"{share:.1%}")
  evaluate.wide_console(len(operations.KINDS)).print(table)
  say(
    f"  {now['mixed_share']:.1%} is in operations that fuse several of these, "
    "split by the elements that each goes through"
  )
