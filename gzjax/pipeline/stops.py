"""Ctrl-C, SIGTERM and SIGHUP end a run at once, in one line.

Raised in the main thread, as Python does, an interruption waits for the end of
a compilation, is swallowed where it meets a callback, or ends in pages of
traceback. Nothing needs its unwinding: whatever is on the disk is whole at any
moment, as after a power failure, and the same command goes on from there.
"""

from collections.abc import Callable
import os
import signal
import sys
import threading

_SHOW_CURSOR = b"\x1b[?25h\n"  # a progress bar hides it
_LINE = "stopped; the same command goes on"

_also = ""  # what whoever stops should know besides


def tell(words: str) -> None:
  """Has the line end in these words, too, from now on; "" in none."""
  global _also
  _also = words


def watch(leave: Callable[[int], None]) -> None:
  """Ends the process by `leave` with 128 + the number of the first such signal.

  A signal that is ignored already (nohup, a shell's background job) stays so.
  """
  received, sent = os.pipe()
  os.set_blocking(sent, False)
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, _do_nothing)
  # The interpreter writes there whatever the main thread is busy with.
  signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
  threading.Thread(target=_end, args=(received, leave), daemon=True).start()


def _do_nothing(*_: object) -> None:
  """Without a handler the signal would not be written to the pipe."""


def _end(received: int, leave: Callable[[int], None]) -> None:
  number = os.read(received, 1)[0]
  if sys.stderr.isatty():
    os.write(2, _SHOW_CURSOR)
  line = f"{_LINE}; {_also}" if _also else _LINE
  os.write(2, f"{line}\n".encode())
  # Whoever leaves tells others first; the main thread goes on until then.
  nowhere = os.open(os.devnull, os.O_WRONLY)
  for output in (1, 2):
    os.dup2(nowhere, output)
  leave(128 + number)
