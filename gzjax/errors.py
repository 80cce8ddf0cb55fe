"""The error that a user can mend."""

from collections.abc import Iterator
import contextlib
from pathlib import Path


class UserError(Exception):
  """A mistake in a flag, a config, a file or a row.

  The message is one line that names the culprit and the mend; the command line
  prints it and exits with code 2.
  """

  def __init__(self, message: str):
    super().__init__(" ".join(message.split()))


class DamagedError(UserError):
  """A file is not what was written; `what` says so without a mend."""

  def __init__(
    self,
    path: Path,
    why: str,
    mend: str = "put a copy back, or make it anew with --overwrite",
  ):
    self.path, self.what = path, f"{path} is damaged ({' '.join(why.split())})"
    super().__init__(f"{self.what}: {mend}.")


class SettingError(UserError, ValueError):
  """A value that cannot be; the message begins with the argument's name."""


@contextlib.contextmanager
def naming(section: str) -> Iterator[None]:
  """Makes the argument of a SettingError a key of a section of the config."""
  try:
    yield
  except SettingError as error:
    raise UserError(f"{section}.{error}") from None
