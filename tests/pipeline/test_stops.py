"""Signals end a process in one line, whatever it is busy with."""

import signal
import subprocess
import sys
import time

import pytest

# What the main thread does after it has said that it begins.
BUSY = {
  "waits": "time.sleep(60)",
  "computes": "sum(x * x for x in itertools.count())",
  "swallows": """
while True:
  try:
    time.sleep(60)
  except BaseException:
    pass
""",
  "is in a callback": """
class Loud:
  def __del__(self):
    time.sleep(60)
del [Loud()][:]
""",
  "speaks": "left.wait()\nprint('still here', file=sys.stderr)\ntime.sleep(60)",
}
# It takes a moment to leave, as it does to tell other processes.
START = """
import itertools, os, sys, threading, time
from gzjax.pipeline import stops
left = threading.Event()
def leave(code):
  left.set()
  time.sleep(0.2)
  os._exit(code)
stops.watch(leave)
print("begun", flush=True)
"""

# Whoever started the tests may ignore them (nohup, a shell's background).
HEEDED = """
import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""


def _stopped(busy, number, **how):
  """What a process leaves behind that gets a signal: line, code, seconds."""
  process = subprocess.Popen(
    [sys.executable, "-W", "error", "-c", HEEDED + START + BUSY[busy]],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **how,
  )
  assert process.stdout is not None
  process.stdout.readline()
  time.sleep(0.05)
  start = time.monotonic()
  process.send_signal(number)
  try:
    said = process.communicate(timeout=20)[1]
  finally:
    process.kill()
  return said, process.returncode, time.monotonic() - start


@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize(
  ("number", "code"),
  [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
@pytest.mark.fault("B")
def test_a_signal_is_one_line_and_its_exit_code(busy, number, code):
  said, returned, seconds = _stopped(busy, number)
  assert said == "stopped; the same command goes on\n"
  assert returned == code
  assert seconds < 5


def test_what_is_ignored_stays_so():
  process = subprocess.Popen(
    [
      *(sys.executable, "-c"),
      "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)"
      + START
      + "time.sleep(0.5)\nprint('done')",
    ],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  process.stdout.readline()
  process.send_signal(signal.SIGHUP)
  assert process.communicate()[0] == "done\n"
  assert process.returncode == 0


def test_it_says_what_else_is_to_be_known(monkeypatch):
  words = "the old result lies there"
  told = START.replace("print(", f"stops.tell({words!r})\nprint(")
  monkeypatch.setitem(globals(), "START", told)
  said, *_ = _stopped("waits", signal.SIGTERM)
  assert said == f"stopped; the same command goes on; {words}\n"
