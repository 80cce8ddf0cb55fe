"""Functions that give the same object again for equal arguments."""

from collections.abc import Callable
import functools
from typing import Any


def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
  """`make`, whose last results are kept: what is compiled is found by them.

  Of arguments that cannot be hashed, such as a module that holds an array or a
  setting that is a list, nothing is kept.
  """
  cached = functools.lru_cache(maxsize=8)(make)

  @functools.wraps(make)
  def find(*args, **settings):
    try:
      hash((args, *settings.values()))
    except TypeError:
      return make(*args, **settings)
    return cached(*args, **settings)

  return find
