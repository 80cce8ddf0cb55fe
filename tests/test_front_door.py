"""`import gzjax`: light, lazy, and the same in a checkout and from a wheel."""

from importlib import metadata
import json
from pathlib import Path
import subprocess
import sys
import tomllib

import pytest

import gzjax
import gzjax.audit
from tests.command_line import ROOT

HEAVY = (
  "pandas",
  "matplotlib",
  "sklearn",
  "tensorflow_datasets",
  "ml_collections",
  "orbax",
)


def _loaded(code: str) -> set[str]:
  """The top-level modules of a fresh process after `code`."""
  done = subprocess.run(
    [
      sys.executable,
      "-c",
      f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))",
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy():
  loaded = _loaded("import gzjax; gzjax.__version__; dir(gzjax)")
  assert not loaded & {*HEAVY, "absl", "jax", "numpy"}


@pytest.mark.parametrize("name", ["objectives.targets", "unlearning", "fisher"])
def test_the_core_needs_jax_alone(name):
  # Not that absl stays out: optax imports it.
  loaded = _loaded(f"import gzjax.{name}")
  assert "jax" in loaded
  assert not loaded & set(HEAVY)


def test_a_launch_does_not_wait_for_what_only_its_end_needs():
  loaded = _loaded("import gzjax.pipeline.stages")
  late = {"matplotlib", "sklearn", "scipy.optimize", "scipy.stats"}
  assert not loaded & late


def test_packages_are_imported_when_they_are_asked_for():
  loaded = _loaded(
    "import gzjax\nassert 'scrub' in gzjax.unlearning.METHODS\n"
    "assert gzjax.sky.__name__ == 'gzjax.sky'"
  )
  assert "gzjax.unlearning" in loaded
  assert not {"gzjax.pipeline", "gzjax.report"} & loaded


def test_the_audit_is_there_when_it_is_asked_for():
  loaded = _loaded("import gzjax.audit")
  assert not loaded & {*HEAVY, "jax", "numpy"}
  for name in gzjax.audit.__all__:
    assert getattr(gzjax.audit, name).__name__.endswith(name)
  # Modules of these names would stand in the functions' place.
  assert callable(gzjax.audit.scores)
  assert callable(gzjax.audit.consensus)


def test_the_face_is_complete():
  assert set(gzjax.__all__) <= set(dir(gzjax))
  assert callable(gzjax.load)
  for name in ("models", "training", "evaluation", "morphology"):
    assert getattr(gzjax, name).__name__ == f"gzjax.{name}"
  with pytest.raises(AttributeError, match="no attribute 'loud'"):
    _ = gzjax.loud


def test_one_version():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  attribute = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
  assert attribute == "gzjax.__version__"
  assert metadata.version("gzjax") == gzjax.__version__


def test_types_are_shipped():
  assert (Path(gzjax.__file__).parent / "py.typed").exists()
