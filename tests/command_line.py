"""Runs launch.py in a process of its own, as a user would."""

import os
from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).parent.parent
# ml_collections reads config files in a way that Python deprecates.
_LOAD_MODULE = "ignore:the load_module:DeprecationWarning"


def command(*flags: str) -> list[str]:
  strict = ["-W", "error", "-W", _LOAD_MODULE]
  return [sys.executable, *strict, "launch.py", *flags]


def environment() -> dict[str, str]:

  return {**os.environ, "JAX_PLATFORMS": "cpu"}


def launch(*flags: str) -> subprocess.CompletedProcess[str]:
  """Runs launch.py to its end."""
  return subprocess.run(
    command(*flags),
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    check=False,
    stdin=subprocess.DEVNULL,
  )


def tiny(tmp_path: Path, *flags: str) -> list[str]:
  """Flags of the tiny demo in `tmp_path`."""
  return [
    "--config=configs/demo.py:tiny",
    f"--workdir={tmp_path / 'run'}",
    f"--data_dir={tmp_path / 'tfds'}",
    *flags,
  ]
