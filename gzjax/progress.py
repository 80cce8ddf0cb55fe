"""A bar on a terminal; a line with the time left now and then elsewhere."""

from collections.abc import Callable, Generator, Iterable, Iterator
import contextlib
import time
from typing import TypeVar

from rich.console import Console
from rich.progress import (
  BarColumn,
  Progress,
  ProgressColumn,
  Task,
  TaskProgressColumn,
  TextColumn,
  TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")
_CONSOLE = Console(stderr=True)
_SECONDS_BETWEEN_LINES = 15.0


def say(text: str) -> None:
  """Tells the person at the terminal how far the run is."""
  _CONSOLE.print(text, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def silent() -> Iterator[None]:
  """Tells nothing."""
  _CONSOLE.quiet = True
  try:
    yield
  finally:
    _CONSOLE.quiet = False


def progress(
  items: Iterable[T], total: int | None, title: str
) -> Generator[T, None, None]:
  """Yields `items`, `total` if that is known; tells the rate and time left."""
  with counting(total, title) as advance:
    for item in items:
      yield item
      advance(1)


@contextlib.contextmanager
def counting(total: int | None, title: str) -> Iterator[Callable[[int], None]]:
  """Is to be told how many more are done; tells the rate and time left."""
  if _CONSOLE.is_terminal:
    with _bar() as bar:
      task = bar.add_task(title, total=total)
      yield lambda more: bar.advance(task, more)
  else:
    yield _Lines(total, title).advance


class _Lines:
  """A line now and then, where there is no terminal."""

  def __init__(self, total: int | None, title: str):
    self._total, self._title, self._done = total, title, 0
    self._start = self._last = time.monotonic()

  def advance(self, more: int) -> None:
    self._done += more
    now = time.monotonic()
    if now - self._last < _SECONDS_BETWEEN_LINES or self._done == self._total:
      return
    self._last = now
    rate = self._done / (now - self._start)
    of, left = "", ""
    if self._total is not None:
      of = f" of {self._total:,}"
      left = f", {(self._total - self._done) / rate:.0f} s left"
    say(f"{self._title}: {self._done:,}{of}, {_per_second(rate)}{left}")


def _per_second(rate: float) -> str:
  return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


class _Rate(ProgressColumn):
  """How many are done in a second."""

  def render(self, task: Task) -> Text:
    rate = task.finished_speed or task.speed
    return Text(_per_second(rate) if rate else "")


def _bar() -> Progress:
  columns = (
    TextColumn("{task.description}"),
    BarColumn(),
    TaskProgressColumn(),
    _Rate(),
    TimeRemainingColumn(),
  )
  return Progress(*columns, console=_CONSOLE, transient=True)
