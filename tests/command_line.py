"""Runs launch.py in a process of its own, as a user would."""

from collections.abc import Sequence
import os
from pathlib import Path
import subprocess
import sys

from absl import flags

from gzjax.pipeline import launch as command_line

ROOT = Path(__file__).parent.parent
# ml_collections reads config files in a way that Python deprecates.
_LOAD_MODULE = "ignore:the load_module:DeprecationWarning"


def command(*flags: str) -> list[str]:
  strict = ["-W", "error", "-W", _LOAD_MODULE]
  return [sys.executable, *strict, "launch.py", *flags]


def environment() -> dict[str, str]:
  return {**os.environ, "JAX_PLATFORMS": "cpu"}


def launch(
  *flags: str, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
  """Runs launch.py to its end, by another command if there is a prefix."""
  return subprocess.run(
    [*prefix, *command(*flags)],
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    check=False,
    stdin=subprocess.DEVNULL,
  )


def run_here(*arguments: str) -> None:
  """The command line in this process, with flags of its own."""
  found = flags.FlagValues()
  command_line.execute(command_line.read(["gzjax", *arguments], found))


def one_error(said: str) -> str:
  """The one line that a mistake ends in."""
  assert "Traceback" not in said
  lines = said.strip().splitlines()
  assert lines[-1].startswith("error: ")
  assert sum(line.startswith("error: ") for line in lines) == 1
  return lines[-1]


def tiny(tmp_path: Path, *flags: str) -> list[str]:
  """Flags of the tiny demo in `tmp_path`."""
  return [
    "--config=configs/demo.py:tiny",
    f"--workdir={tmp_path / 'run'}",
    f"--data_dir={tmp_path / 'tfds'}",
    *flags,
  ]
