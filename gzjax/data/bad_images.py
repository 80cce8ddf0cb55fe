"""Images that cannot be used: all are found before anybody is told of one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
from typing import NamedTuple, TypeVar

import numpy as np

from gzjax.errors import SettingError, UserError
from gzjax.progress import progress, say
from gzjax.threads import bounded_map

S = TypeVar("S")
T = TypeVar("T")
_SHOWN = 10
REASON = "the image cannot be used"  # why a galaxy is left out


class Bad(NamedTuple):
  """An image that cannot be used."""

  where: str  # such as "row 3 (id 17)"
  file: str
  why: str

  def __str__(self) -> str:
    return f"{self.where}: {self.file} ({self.why})"


class BadImageError(UserError):
  """An image cannot be used."""

  def __init__(self, bad: Bad, mend: str):
    self.bad, self.mend = bad, mend
    super().__init__(
      f"{bad.where}: {bad.file} is not a whole image ({bad.why}): {mend}."
    )

  @property
  def reason(self) -> str:
    """Why, without the name of the file."""
    return self.bad.why.replace(self.bad.file, "")


class BadImagesError(UserError):
  """Some images cannot be used; `bad` has all of them."""

  def __init__(self, errors: Sequence[BadImageError], count: int):
    self.bad = [error.bad for error in errors]
    first, rest = self.bad[:_SHOWN], len(self.bad) - _SHOWN
    more = f" and {rest:,} more" if rest > 0 else ""
    super().__init__(
      f"{len(self.bad):,} of {count:,} images cannot be used, "
      f"{'; '.join(map(str, first))}{more}: {errors[0].mend}."
    )


@contextlib.contextmanager
def naming(where: str, file: str, mend: str) -> Iterator[None]:
  """Makes any error of the decoders, who raise many kinds, a BadImageError."""
  try:
    yield
  except Exception as error:
    why = " ".join(str(error).split())
    raise BadImageError(Bad(where, file, why), mend) from error


def read_all(
  read: Callable[[T], S], items: Iterable[T], count: int
) -> Iterator[S]:
  """Reads `count` images in threads, in order, the items as they are needed.

  After the first bad one the others are read, too, and not yielded.

  Raises:
    BadImageError: for the only bad one.
    BadImagesError: for several.
    SettingError: for a setting that is wrong of all, which is told once.
  """
  errors: list[BadImageError] = []
  for found in bounded_map(_or_error(read), items):
    if isinstance(found, BadImageError):
      if not errors:
        say(f"{found.bad}: looking for other bad images")
      errors.append(found)
    elif not errors:
      yield found
  _refuse_a_setting(errors, count)
  if len(errors) == 1:
    raise errors[0]
  if errors:
    raise BadImagesError(errors, count)


def which(
  read: Callable[[T], bytes], items: Iterable[T], count: int
) -> np.ndarray:
  """Which of N images, `count`, cannot be used, bool[N].

  Raises:
    UserError: if that is all of them.
  """
  looked = progress(
    bounded_map(_or_error(read), items), count, "checking images"
  )
  bad, errors = np.zeros(count, bool), []
  for i, found in enumerate(looked):
    if isinstance(found, BadImageError):
      bad[i] = True
      errors.append(found)
  if bad.all():
    _refuse_a_setting(errors, count)
    raise UserError(
      f"none of the {count:,} images can be used, such as {errors[0].bad}: "
      "give others."
    )
  return bad


def _refuse_a_setting(errors: Sequence[BadImageError], count: int) -> None:
  """SettingError if all of the images fail alike, by a setting."""
  causes = [error.__cause__ for error in errors]
  if len(errors) < max(count, 1) or not isinstance(causes[0], SettingError):
    return
  if len({error.reason for error in errors}) == 1:
    words = str(causes[0]).removesuffix(".")
    alike = f"; so it is with all {count:,} images" if count > 1 else ""
    raise SettingError(f"{words}{alike}.")


def _or_error(read):
  def attempt(item):
    try:
      return read(item)
    except BadImageError as error:
      return error

  return attempt
