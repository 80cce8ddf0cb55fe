"""Several processes that work as one, each with devices of its own.

All run the same program on the same numbers. The first alone writes to the
workdir; the others work in a copy of it, which they throw away.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import shutil
import sys
import tempfile
import threading
import time
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from gzjax import progress
from gzjax.errors import UserError

# Folders that all processes write together, as orbax does.
SHARED = {"checkpoints", "fisher"}
# The workdir of each copy.
_COPIES: dict[Path, Path] = {}
# The last word of the process that fails first: its exit code and its number.
_LAST_WORD = "gzjax/last_word"
# Where all fail alike, each can say so before the others' end reaches it.
_SECONDS_TO_SAY_THE_SAME = 1.0
# The first ends last: JAX would cry in those who are without it.
_SECONDS_TO_END = 2 * _SECONDS_TO_SAY_THE_SAME
_LONG_MS = 1000 * 3600 * 24
_WATCH = "gzjax waits for the last word"  # a thread


def join() -> None:
  """Finds the other processes.

  Slurm, MPI, Kubernetes and TPU pods say where they are; elsewhere
  JAX_COORDINATOR_ADDRESS (host:port of the first), JAX_NUM_PROCESSES and
  JAX_PROCESS_ID do.

  Raises:
    UserError: if nothing says so.
  """
  count, index = (_whole(f"JAX_{x}") for x in ("NUM_PROCESSES", "PROCESS_ID"))
  # It would swallow SIGTERM.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(num_processes=count, process_id=index)
  except ValueError as error:
    raise UserError(
      f"--distributed finds no other process ({error}): start it with srun or "
      "mpirun, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
      "JAX_PROCESS_ID."
    ) from error
  threading.Thread(target=_end_with_others, name=_WATCH, daemon=True).start()


def _end_with_others() -> None:
  """Waits for the last word of another process, and ends this one, too.

  It may be in a computation of all, which nothing else interrupts.
  """
  try:
    word = _service().blocking_key_value_get(_LAST_WORD, _LONG_MS)
  except jax.errors.JaxRuntimeError:  # all have ended well
    return
  code, number = map(int, word.split())
  me = jax.process_index()
  if number == me:
    return
  time.sleep(_SECONDS_TO_SAY_THE_SAME)
  if me == 0:
    print(f"stopped: process {number} has failed", file=sys.stderr, flush=True)
    time.sleep(_SECONDS_TO_SAY_THE_SAME)
  os._exit(code)


def _service() -> Any:
  """Where the processes can leave words for each other."""
  from orbax.checkpoint import multihost  # slow, and a mistake in a flag not

  return multihost.get_jax_distributed_client()


def _whole(variable: str) -> int | None:
  """The whole number that an environment variable holds."""
  value = os.environ.get(variable, "")
  return int(value) if value.isdecimal() else None


@contextlib.contextmanager
def own_copy(workdir: Path) -> Iterator[Path]:
  """The workdir for the first process; a copy of it for each other one.

  The others are silent, but for their errors.
  """
  if jax.process_index() == 0:
    wait()
    yield workdir
    return
  with contextlib.ExitStack() as stack:
    temporary = tempfile.TemporaryDirectory(prefix="gzjax-")
    copy = Path(stack.enter_context(temporary)).resolve() / workdir.name
    if workdir.exists():
      shutil.copytree(workdir, copy, ignore=_shared_folders)
    wait()
    _COPIES[copy] = workdir.absolute()
    stack.callback(_COPIES.pop, copy)
    silence = stack.enter_context(Path(os.devnull).open("w"))
    stack.enter_context(contextlib.redirect_stdout(silence))
    stack.enter_context(progress.silent())
    yield copy


def _shared_folders(_: str, names: list[str]) -> set[str]:
  return SHARED & set(names)


def shared(path: Path) -> Path:
  """Where a path of the copy lies in the workdir; others as they are.

  For what all processes write together.
  """
  for copy, workdir in _COPIES.items():
    if path.is_relative_to(copy):
      return workdir / path.relative_to(copy)
  return path


def wait() -> None:
  """Until all processes are here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("here")


def first_alone(do: Callable[[], None]) -> None:
  """The first process does it, the others wait."""
  if jax.process_index() == 0:
    do()
  wait()


def end() -> None:
  """Parts from the other processes when all is done.

  Python aborts if it ends while a thread waits in JAX.
  """
  jax.distributed.shutdown()
  for thread in threading.enumerate():
    if thread.name == _WATCH:
      thread.join(_SECONDS_TO_END)


def leave(code: str | int) -> NoReturn:
  """Ends a process that failed, and the others with it.

  An ordinary exit would wait for them, and they for what it owes them.
  """
  number = code if isinstance(code, int) else 1
  sys.stdout.flush()
  sys.stderr.flush()
  me = jax.process_index()
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # another was faster
    _service().key_value_set(_LAST_WORD, f"{number} {me}")
  time.sleep(_SECONDS_TO_SAY_THE_SAME if me else _SECONDS_TO_END)
  os._exit(number)
