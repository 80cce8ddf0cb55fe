"""Images that cannot be used: all are found before anybody is told of one."""

from collections.abc import Callable, Collection, Iterator, Sequence
import contextlib
from typing import NamedTuple, TypeVar

from gzjax.errors import UserError
from gzjax.progress import progress, say
from gzjax.threads import bounded_map

T = TypeVar("T")
_SHOWN = 10


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
  read: Callable[[T], bytes], items: Collection[T]
) -> Iterator[bytes]:
  """Reads images in threads, in order.

  After the first bad one the others are read, too, and not yielded.

  Raises:
    BadImageError: for the only bad one.
    BadImagesError: for several.
  """
  errors: list[BadImageError] = []
  for found in bounded_map(_or_error(read), items):
    if isinstance(found, BadImageError):
      if not errors:
        say(f"{found.bad}: looking for other bad images")
      errors.append(found)
    elif not errors:
      yield found
  if len(errors) == 1:
    raise errors[0]
  if errors:
    raise BadImagesError(errors, len(items))


def find(read: Callable[[T], bytes], items: Collection[T]) -> list[Bad | None]:
  """For each image what is wrong with it, or None."""
  looked = progress(
    bounded_map(_or_error(read), items), len(items), "checking images"
  )
  return [x.bad if isinstance(x, BadImageError) else None for x in looked]


def _or_error(read):
  def attempt(item):
    try:
      return read(item)
    except BadImageError as error:
      return error

  return attempt
