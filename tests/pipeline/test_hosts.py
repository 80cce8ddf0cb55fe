"""Several processes that work as one."""

import os
from pathlib import Path
import re
import signal
import socket
import subprocess
import time

import jax
import pandas as pd
import pytest

from gzjax.pipeline import hosts
from gzjax.pipeline.workdir import Workdir
from tests.command_line import ROOT, command, environment, one_error, tiny

SMALL = (
  "--config.data.galaxies=120",
  "--config.train.epochs=3",
  "--config.train.batch_size=8",
  "--config.unlearn.batch_size=8",
  "--config.unlearn.methods=('retrain','finetune','fisher_forgetting')",
)


def _start(flags, **variables):
  return subprocess.Popen(
    command(*flags),
    cwd=ROOT,
    env=environment() | variables,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _start_two(*flags):
  """The first and the second process, of one device each."""
  with socket.create_server(("localhost", 0)) as server:
    port = server.getsockname()[1]
  return [
    _start(
      (*flags, "--distributed", "--jax_num_cpu_devices=1"),
      JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
      JAX_NUM_PROCESSES="2",
      JAX_PROCESS_ID=str(index),
    )
    for index in range(2)
  ]


def _end(processes):
  """Exit codes, and what was said on both outputs, but for XLA's greeting."""
  ends = ["".join(process.communicate()) for process in processes]
  said = [re.sub(r"^\[Gloo\].*\n", "", end, flags=re.M) for end in ends]
  return [process.returncode for process in processes], said


@pytest.mark.slow
def test_two_processes_do_as_one(tmp_path):
  """Killed and taken up again, too: one scoreboard, one set of weights.

  Two devices of one process add gradients in the same order as two processes
  with one each; with more they agree within the rounding of another order.
  """
  one, two = tmp_path / "one", tmp_path / "two"
  whole = _start([*tiny(one, *SMALL), "--jax_num_cpu_devices=2"])
  codes, said = _end([whole])
  assert codes == [0], said

  started = _start_two(*tiny(two, *SMALL))
  log = two / "run" / "train" / "metrics.jsonl"
  while not (log.exists() and '"epoch": 2' in log.read_text()):
    assert started[0].poll() is None, _end(started)
    time.sleep(0.1)
  started[1].kill()
  codes, _ = _end(started)
  assert all(codes)
  codes, said = _end(_start_two(*tiny(two, *SMALL)))
  assert codes == [0, 0], said
  assert said[1].count("stage") == 0  # one of them speaks

  def scoreboard(folder):
    table = pd.read_csv(folder / "run" / "scoreboard.csv")
    return table.drop(columns=["wall_seconds", "compile_seconds"])

  pd.testing.assert_frame_equal(scoreboard(one), scoreboard(two))
  for path in (one / "run").rglob("*.parquet"):
    other = two / path.relative_to(one)
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(other))
  # What two have made, one can go on with.
  codes, said = _end([_start([*tiny(two, *SMALL), "--jax_num_cpu_devices=2"])])
  assert codes == [0] and "all of this is done" in said[0], said


@pytest.mark.slow
def test_a_mistake_ends_all_processes(tmp_path):
  """Each says its one line."""
  flags = tiny(tmp_path, *SMALL, "--config.train.batch_size=9")
  start = time.monotonic()
  codes, said = _end(_start_two(*flags))
  assert time.monotonic() - start < 200  # not JAX's timeout for shutting down
  assert codes == [2, 2], said
  assert "train.batch_size=9 cannot be split" in said[0]


@pytest.mark.slow
def test_a_workdir_that_is_in_use_is_one_line_of_the_first(tmp_path):
  """The others, who know nothing of it, end with it and say nothing."""
  with Workdir(tmp_path / "run").hold():
    codes, said = _end(_start_two(*tiny(tmp_path, *SMALL)))
  assert codes == [2, 2], said
  assert f"is in use by process {os.getpid()}" in one_error(said[0])
  assert said[1] == ""


@pytest.mark.slow
def test_a_signal_is_one_line_of_the_first(tmp_path):
  """JAX would take SIGTERM for itself, and the others end with the first."""
  started = _start_two(*tiny(tmp_path, *SMALL))
  assert any("stage prepare" in line for line in started[0].stderr)
  started[0].send_signal(signal.SIGTERM)
  codes, said = _end(started)
  assert codes == [143, 143], said
  assert said[0].splitlines()[-1] == "stopped; the same command goes on"
  assert said[1] == ""


def test_a_process_without_others_says_so(tmp_path):
  codes, said = _end([_start([*tiny(tmp_path), "--distributed"])])
  assert codes == [2]
  assert "JAX_COORDINATOR_ADDRESS" in one_error(said[0])


def test_the_first_process_works_in_the_workdir(tmp_path):
  with hosts.own_copy(tmp_path) as place:
    assert place == tmp_path
    assert hosts.shared(place / "train") == tmp_path / "train"


def test_the_others_work_in_a_copy(tmp_path, monkeypatch, capsys):
  """Which shares what all write together, and is thrown away."""
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  (tmp_path / "train" / "checkpoints").mkdir(parents=True)
  (tmp_path / "train" / "cost.json").write_text("{}")
  with hosts.own_copy(tmp_path) as place:
    assert place != tmp_path
    assert (place / "train" / "cost.json").exists()
    assert not (place / "train" / "checkpoints").exists()
    (place / "split.parquet").touch()
    shared = hosts.shared(place / "train" / "checkpoints")
    assert shared == tmp_path / "train" / "checkpoints"
    print("silent")
  assert not place.exists()
  assert [x.name for x in tmp_path.iterdir()] == ["train"]
  assert capsys.readouterr().out == ""
  assert hosts.shared(Path("elsewhere")) == Path("elsewhere")
