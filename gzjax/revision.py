"""Which commit of gzjax runs."""

from pathlib import Path
import subprocess

_PACKAGE = Path(__file__).resolve().parent


def git_revision(package: Path = _PACKAGE) -> str | None:
  """The commit that gzjax's own repository is at; None if there is none.

  An installed gzjax may lie in somebody else's repository, such as that of a
  project with a virtual environment in it: its commit says nothing of gzjax.
  """
  known = _git(package, "ls-files", "--full-name", "__init__.py")
  if known != f"{package.resolve().name}/__init__.py":
    return None
  return _git(package, "rev-parse", "HEAD")


def _git(folder: Path, *words: str) -> str | None:
  """What git prints there; None where it fails or is not installed."""
  try:
    found = subprocess.run(
      ["git", *words], cwd=folder, capture_output=True, text=True, check=False
    )
  except FileNotFoundError:
    return None
  return found.stdout.strip() if found.returncode == 0 else None
