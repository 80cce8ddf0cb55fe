"""Functions that give the same object again for equal arguments."""

from collections.abc import Callable
import functools
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")


def remembered(make: Callable[P, R]) -> Callable[P, R]:
  """`make`, whose last results are kept: what is compiled is found by them.

  Of arguments that cannot be hashed, such as a module that holds an array or a
  setting that is a list, nothing is kept. What is made inside a transformation
  of JAX holds none of its tracers: it outlives it.
  """

  @functools.lru_cache(maxsize=32)
  def cached(*args, **settings):
    with jax.ensure_compile_time_eval():
      return make(*args, **settings)

  @functools.wraps(make)
  def find(*args, **settings):
    try:
      hash((args, *settings.values()))
    except TypeError:
      return make(*args, **settings)
    return cached(*args, **settings)

  return find
