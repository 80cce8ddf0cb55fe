"""Work in threads that never runs far ahead of whoever takes the results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def bounded_map(
  function: Callable[[S], T], items: Iterable[S], window: int = 64
) -> Iterator[T]:
  """Like `map`, in threads: results in order, at most `window` in memory."""
  waiting: deque[Future[T]] = deque()
  with ThreadPoolExecutor() as pool:
    for item in items:
      waiting.append(pool.submit(function, item))
      if len(waiting) >= window:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
