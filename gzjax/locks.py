"""What only one process at a time may do."""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import socket

import filelock

from gzjax.errors import UserError
from gzjax.files import read_json, write_json
from gzjax.progress import say


@contextlib.contextmanager
def waiting(path: Path) -> Iterator[None]:
  """Holds the lock file `path`; waits while another process does, and says so.

  The system releases the lock of a process that ends, however it ends.
  """
  lock = filelock.FileLock(path)
  try:
    lock.acquire(timeout=0)
  except filelock.Timeout:
    say(f"waiting for another process, which works in {path.parent}")
    lock.acquire()
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
  """Holds the lock file `path`.

  Raises:
    UserError: naming the process that holds it; `what` is held by it.
  """
  lock, holder = filelock.FileLock(path), path.with_suffix(".json")
  try:
    lock.acquire(timeout=0)
  except filelock.Timeout:
    raise UserError(
      f"{what} is in use by {_who(holder)}: wait until it is done, or stop it."
    ) from None
  try:
    write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
    yield
  finally:
    holder.unlink(missing_ok=True)
    lock.release()


def _who(holder: Path) -> str:
  found = read_json(holder)
  if found is None:  # it has not written yet
    return "another process"
  return f"process {found['pid']} on {found['host']}"
