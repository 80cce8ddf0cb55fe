"""What a run says of how far it is, on a terminal and elsewhere."""

import io
import itertools
import time

import pytest
from rich.console import Console

from gzjax import progress


@pytest.fixture
def written(monkeypatch):
  """Makes a console, and what is written on it."""

  def console(**how):
    file = io.StringIO()
    made = Console(file=file, width=100, **how)
    monkeypatch.setattr(progress, "_CONSOLE", made)
    return file

  return console


def _clock(monkeypatch, seconds):
  """Each item takes so many seconds."""
  ticks = itertools.count()
  monkeypatch.setattr(progress.time, "monotonic", lambda: seconds * next(ticks))


def test_a_pipe_gets_a_line_now_and_then(written, monkeypatch):
  file = written()
  _clock(monkeypatch, 4.0)
  assert [*progress.progress(range(9), 9, "looking")] == [*range(9)]
  assert file.getvalue().splitlines() == [
    "looking: 4 of 9, 0.2/s, 20 s left",
    "looking: 8 of 9, 0.2/s, 4 s left",
  ]


def test_a_rate_has_no_needless_digits(written, monkeypatch):
  file = written()
  _clock(monkeypatch, 0.0005)
  total = 40_000
  assert sum(1 for _ in progress.progress(range(total), total, "x")) == total
  assert file.getvalue() == "x: 30,000 of 40,000, 2,000/s, 5 s left\n"


def test_without_a_total_there_is_no_time_left(written, monkeypatch):
  file = written()
  _clock(monkeypatch, 16.0)
  assert [*progress.progress(iter("ab"), None, "reading")] == ["a", "b"]
  assert file.getvalue() == "reading: 1, 0.1/s\nreading: 2, 0.1/s\n"


def test_a_terminal_gets_a_bar_that_goes_away(written):
  file = written(force_terminal=True)
  for _ in progress.progress(range(5), 5, "looking"):
    time.sleep(0.15)  # it is drawn ten times a second
  shown = file.getvalue()
  assert "looking" in shown and "100%" in shown and "/s" in shown


def test_what_is_silent_says_nothing(written):
  file = written()
  with progress.silent():
    progress.say("nothing")
  progress.say("something")
  assert file.getvalue() == "something\n"
