"""What a person can do about errors of the libraries below."""

from collections.abc import Callable, Iterator
import errno
import os
from typing import NamedTuple

_FOLDERS = "choose other folders with --workdir=DIR and --data_dir=FOLDER"
_SMALLER = (
  "take smaller batches (train.batch_size, unlearn.batch_size), a lower "
  "data.device_budget_gib or a smaller data.size"
)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT)
_OF_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)
_OF_COUNTS = (errno.EMFILE, errno.ENFILE)


class Mend(NamedTuple):
  """A kind of error, and what to do about it."""

  applies: Callable[[BaseException], bool]
  words: str  # {error}: its own


def _of_system(*codes: int) -> Callable[[BaseException], bool]:
  """Errors of the system, or of a library that quotes the system's words."""
  quotes = [os.strerror(code) for code in codes]

  def applies(error):
    if isinstance(error, OSError):
      return error.errno in codes
    return any(quote in str(error) for quote in quotes)

  return applies


def _says(*quotes: str) -> Callable[[BaseException], bool]:
  return lambda error: any(quote in str(error) for quote in quotes)


MENDS = (
  Mend(
    _of_system(*_OF_THE_DISK),
    f"the disk is full ({{error}}): make room and run again, or {_FOLDERS}.",
  ),
  Mend(
    _of_system(*_OF_RIGHTS), f"cannot write or read: {{error}}; {_FOLDERS}."
  ),
  Mend(
    _of_system(*_OF_COUNTS),
    "too many files are open ({error}): allow more, with ulimit -n 4096.",
  ),
  Mend(
    _says("RESOURCE_EXHAUSTED", "Out of memory", "out of memory"),
    f"the device has too little memory ({{error}}): {_SMALLER}.",
  ),
  Mend(
    lambda error: isinstance(error, MemoryError),
    f"this machine has too little memory ({{error}}): {_SMALLER}.",
  ),
  Mend(
    _says("Unable to initialize backend"),
    "{error}; install the extra of your accelerator (cuda12, cuda13, tpu), or "
    "set JAX_PLATFORMS=cpu.",
  ),
)
_MOST = 300  # characters of an error


def find(error: BaseException) -> str | None:
  """One line about an error, or about what it came from; None: no mend."""
  for one in _chain(error):
    for mend in MENDS:
      if mend.applies(one):
        first = " ".join(str(one).split())[:_MOST]
        return mend.words.format(error=first or type(one).__name__)
  return None


def _chain(error: BaseException) -> Iterator[BaseException]:
  found: BaseException | None = error
  while found is not None:
    yield found
    found = found.__cause__ or found.__context__
