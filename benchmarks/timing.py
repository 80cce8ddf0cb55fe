"""Interleaved timing and peak memory of functions that wait for the device."""

from collections.abc import Callable, Mapping
import ctypes
from pathlib import Path
import platform
import re
import time

import numpy as np

_STATUS = Path("/proc/self/status")


def interleaved(
  runs: Mapping[str, Callable[[], object]],
  rounds: int,
  most_seconds: float = float("inf"),
) -> dict[str, np.ndarray]:
  """Seconds of each run in each round; every other round goes backwards.

  Only ratios of one round's numbers mean something: machines that are shared
  change their speed from minute to minute. No round starts once so many seconds
  have gone, but for the first two.
  """
  seconds = {name: [] for name in runs}
  first = time.perf_counter()
  for turn in range(rounds):
    if turn >= 2 and time.perf_counter() - first > most_seconds:
      break
    for name in list(runs) if turn % 2 == 0 else list(runs)[::-1]:
      start = time.perf_counter()
      runs[name]()
      seconds[name].append(time.perf_counter() - start)
  return {name: np.asarray(values) for name, values in seconds.items()}


def peak_bytes(run: Callable[[], object]) -> int | None:
  """What the process needed beyond what it held before, at the worst moment.

  glibc on Linux only (None elsewhere), host memory only.
  """
  if not _STATUS.exists() or platform.libc_ver()[0] != "glibc":
    return None
  # The heap keeps what was freed; without this it would be used again unseen.
  ctypes.CDLL(None).malloc_trim(0)
  before = _status("VmRSS")
  Path("/proc/self/clear_refs").write_text("5")  # forgets the last peak
  run()
  return max(_status("VmHWM") - before, 0)


def _status(name: str) -> int:
  found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
  assert found, name
  return int(found[1]) * 1024
