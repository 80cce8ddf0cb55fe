"""Kills, signals and two launches at once, in processes of their own."""

import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from tests.attacks.conftest import assert_same
from tests.command_line import ROOT, command, environment


def _times(few, many):
  """A few whenever CI runs, many by hand."""
  return pytest.mark.parametrize(
    "times",
    [
      pytest.param(few, marks=pytest.mark.slow),
      pytest.param(many, marks=pytest.mark.attack),
    ],
  )


def _start(target, *more, stage="all"):
  flags = [x for x in target.flags if not x.startswith("--compilation_cache")]
  return subprocess.Popen(
    command(stage, *flags, "--jax_num_cpu_devices=8", *more),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def _end(process):
  said, _ = process.communicate(timeout=600)
  return process.returncode, said


@_times(2, 10)
@pytest.mark.fault("A6")
def test_two_launches_at_once(target, whole, times):
  """One does the work, the other is told who does."""
  for _ in range(times):
    shutil.rmtree(target.run / "evaluate")
    pair = [_start(target), _start(target)]
    ends = sorted(_end(one) for one in pair)
    (won, _), (lost, said) = ends
    assert won == 0, ends
    if lost:  # it came while the other one was at work
      assert lost == 2, ends
      assert "is in use by process" in said.splitlines()[-1]
    assert_same(target, whole)


@_times(2, 20)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.fault("B")
def test_a_signal_at_any_moment_is_one_line(target, whole, number, times):
  """With its exit code; and the same command goes on."""
  rng = np.random.default_rng(number)
  start, lines = time.monotonic(), 0
  shutil.rmtree(target.run / "unlearn" / "finetune")
  assert _end(_start(target))[0] == 0
  seconds = time.monotonic() - start
  for _ in range(times):
    shutil.rmtree(target.run / "unlearn" / "finetune", ignore_errors=True)
    process = _start(target)
    time.sleep(rng.uniform(0.1, 0.9) * seconds)
    process.send_signal(number)
    start = time.monotonic()
    code, said = _end(process)
    # It was done before; a Python that is ending has no handlers any more.
    if code == 0 or (code == -number and "\nReport: " in said):
      continue
    assert time.monotonic() - start < 5
    assert code == 128 + number, said
    assert said.splitlines()[-1] == "stopped; the same command goes on"
    assert "Traceback" not in said
    lines += 1
  assert lines >= times / 2
  assert _end(_start(target))[0] == 0
  assert_same(target, whole)


@_times(3, 20)
@pytest.mark.fault("A2")
def test_kills_of_an_overwrite_leave_the_old_run_or_the_new_one(
  target, whole, times
):
  """Then the old command finds the old numbers again."""
  rng = np.random.default_rng(2)
  networks = whole.networks()
  for _ in range(times):
    process = _start(
      target, "--overwrite", "--config.train.learning_rate=0.003", stage="train"
    )
    time.sleep(rng.uniform(3, 15))
    process.kill()
    _end(process)
    done = _end(_start(target))
    assert done[0] in (0, 2), done[1]
    if done[0] == 0:
      assert_same(target, whole)
      assert target.networks() == networks
    else:
      # The new network is whole: it is not taken for the old one.
      assert "train.learning_rate was 0.003, is 0.002" in done[1]
      shutil.rmtree(target.run)
      shutil.copytree(whole.run, target.run, symlinks=True)
