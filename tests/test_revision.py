"""The recorded commit is gzjax's own or none."""

import os
import subprocess

import pytest

from gzjax import revision


@pytest.fixture
def git(tmp_path, monkeypatch):
  """A repository in `tmp_path`; runs git there."""
  for name in [name for name in os.environ if name.startswith("GIT_")]:
    monkeypatch.delenv(name)

  def run(*words):
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    return subprocess.run(
      ["git", *who, *words],
      cwd=tmp_path,
      check=True,
      capture_output=True,
      text=True,
    ).stdout.strip()

  run("init")
  return run


def _package(folder):
  folder.mkdir(parents=True)
  (folder / "__init__.py").write_text("")
  return folder


def test_a_checkout_has_its_commit(git, tmp_path):
  package = _package(tmp_path / "gzjax")
  git("add", ".")
  git("commit", "-m", "first")
  assert revision.git_revision(package) == git("rev-parse", "HEAD")


def test_a_virtual_environment_in_a_repository_of_the_user_has_none(
  git, tmp_path
):
  package = _package(tmp_path / "venv" / "site-packages" / "gzjax")
  git("add", ".")
  git("commit", "-m", "even where it is tracked")
  assert revision.git_revision(package) is None


def test_a_copy_that_is_not_tracked_has_none(git, tmp_path):
  """Such as `pip install --target .` in a repository of the user."""
  (tmp_path / "README").write_text("")
  git("add", ".")
  git("commit", "-m", "without gzjax")
  assert revision.git_revision(_package(tmp_path / "gzjax")) is None


def test_before_the_first_commit_there_is_none(git, tmp_path):
  package = _package(tmp_path / "gzjax")
  git("add", ".")
  assert revision.git_revision(package) is None


def test_outside_of_any_repository_or_without_git_there_is_none(
  tmp_path, monkeypatch
):
  package = _package(tmp_path / "gzjax")
  monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
  assert revision.git_revision(package) is None
  monkeypatch.setenv("PATH", "")
  assert revision.git_revision(package) is None
