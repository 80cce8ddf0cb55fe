"""A bar on a terminal; a line with the time left now and then elsewhere."""

from collections.abc import Iterable, Iterator
import time
from typing import TypeVar

from absl import logging
from rich.console import Console
from rich.progress import track

T = TypeVar("T")
_CONSOLE = Console(stderr=True)
_SECONDS_BETWEEN_LINES = 15.0


def progress(items: Iterable[T], total: int, title: str) -> Iterator[T]:
  """Yields `items` and tells how far it got and how long it still takes."""
  if _CONSOLE.is_terminal:
    yield from track(items, title, total, console=_CONSOLE, transient=True)
    return
  start = last = time.monotonic()
  for done, item in enumerate(items, 1):
    yield item
    now = time.monotonic()
    if now - last >= _SECONDS_BETWEEN_LINES and done < total:
      left = (now - start) / done * (total - done)
      logging.info("%s: %d of %d, %.0f s left", title, done, total, left)
      last = now
