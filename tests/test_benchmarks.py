"""The benchmark that has to run on a bare accelerator machine."""

import json
import subprocess
import sys

import pytest

from tests.command_line import ROOT

# What such a machine has not; None makes the import fail.
_MISSING = (
  "tensorflow_datasets",
  "ml_collections",
  "pandas",
  "scipy",
  "PIL",
  "matplotlib",
  "jinja2",
  "torch",
)


@pytest.mark.slow
def test_fisher_benchmark_runs_on_a_bare_machine(tmp_path):
  program = (
    "import runpy, sys; "
    f"sys.modules.update(dict.fromkeys({_MISSING!r})); "
    "runpy.run_module('benchmarks.fisher', run_name='__main__')"
  )
  result = tmp_path / "fisher.json"
  done = subprocess.run(
    [
      sys.executable, "-c", program,
      "--model=resnet18", "--size=16", "--batch_size=2", "--rounds=1",
      "--at_once=2", f"--output={result}",
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-2000:]
  assert "equal within 0.01: yes" in done.stdout
  ways = json.loads(result.read_text())["ways"]
  assert ways["exact"]["error"] < 1e-5
  assert ways["train step"]["images_per_second"] > 0
