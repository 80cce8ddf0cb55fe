"""Errors of libraries, as they really come, end in one line."""

import errno
import json
import os
from pathlib import Path
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax.pipeline import mends, stages
from tests.command_line import run_here


def _disk_full(folder):
  Path("/dev/full").write_text("x")


def _disk_full_inside_a_library(folder):
  try:
    _disk_full(folder)
  except OSError as error:
    raise RuntimeError(f"INTERNAL: cannot write: {error}") from None


def _too_many_files(folder):
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  kept = []
  try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    while True:
      kept.append((folder / "file").open("w"))
  finally:
    for file in kept:
      file.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _not_allowed(folder):
  # Root may do everything, but for this.
  raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))


def _host_memory(folder):
  np.empty(10**15)


def _device_memory(folder):
  jax.block_until_ready(jnp.zeros(10**14))


@pytest.mark.parametrize(
  ("cause", "words"),
  [
    (_disk_full, "the disk is full"),
    (_disk_full_inside_a_library, "the disk is full"),
    (_too_many_files, "ulimit -n"),
    (_not_allowed, "cannot write or read: "),
    (_host_memory, "this machine has too little memory"),
    (_device_memory, "the device has too little memory"),
  ],
)
def test_an_error_that_can_be_mended_is_one_line(tmp_path, cause, words):
  with pytest.raises(Exception) as caught:
    try:
      cause(tmp_path)
    except Exception as error:
      raise ValueError("what a library makes of it") from error
  said = mends.find(caught.value)
  assert said
  assert words in said
  assert "\n" not in said


def test_other_errors_have_no_mend():
  assert mends.find(ValueError("a mistake of ours")) is None


def _fail(*_, **__):
  raise ZeroDivisionError("of our own\nmaking")


def test_a_crash_leaves_its_traceback_in_the_run(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(stages, "run", _fail)
  call = (
    "--config=demo:tiny",
    f"--workdir={tmp_path}",
    "--compilation_cache=off",
  )
  # Without a run there is no place for it.
  with pytest.raises(ZeroDivisionError):
    run_here(*call)
  assert [*tmp_path.iterdir()] == []
  (tmp_path / "config.json").write_text(json.dumps({"config": {}}))
  with pytest.raises(SystemExit) as stopped:
    run_here(*call)
  assert stopped.value.code == 1
  log = tmp_path / "crash.log"
  line = f"failed: ZeroDivisionError: of our own making; see {log}\n"
  assert capsys.readouterr().err == line
  assert "in _fail" in log.read_text()
