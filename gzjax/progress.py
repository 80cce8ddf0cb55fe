"""A bar on a terminal; a line with the time left now and then elsewhere."""

from collections.abc import Generator, Iterable, Iterator
import contextlib
import time
from typing import TypeVar

from rich.console import Console
from rich.progress import track

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
  """Yields `items`, `total` if that is known, and tells the time left."""
  if _CONSOLE.is_terminal:
    yield from track(items, title, total, console=_CONSOLE, transient=True)
    return
  start = last = time.monotonic()
  for done, item in enumerate(items, 1):
    yield item
    now = time.monotonic()
    if now - last < _SECONDS_BETWEEN_LINES or done == total:
      continue
    last = now
    if total is None:
      say(f"{title}: {done}")
    else:
      left = (now - start) / done * (total - done)
      say(f"{title}: {done} of {total}, {left:.0f} s left")
