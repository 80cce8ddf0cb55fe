"""A bar on a terminal; a line with the time left now and then elsewhere."""

from collections.abc import Generator, Iterable, Iterator
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
  if _CONSOLE.is_terminal:
    with _bar() as bar:
      yield from bar.track(items, total, description=title)
    return
  start = last = time.monotonic()
  for done, item in enumerate(items, 1):
    yield item
    now = time.monotonic()
    if now - last < _SECONDS_BETWEEN_LINES or done == total:
      continue
    last = now
    rate = done / (now - start)
    if total is None:
      say(f"{title}: {done:,}, {_per_second(rate)}")
    else:
      left = (total - done) / rate
      say(
        f"{title}: {done:,} of {total:,}, {_per_second(rate)}, "
        f"{left:.0f} s left"
      )


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
