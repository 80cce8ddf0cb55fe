"""Faces of packages whose names are imported when they are first asked for."""

from collections.abc import Callable, Collection, Mapping
import importlib
from typing import Any


def getter(
  package: str, homes: Mapping[str, str], modules: Collection[str] = ()
) -> Callable[[str], Any]:
  """The `__getattr__` of a package.

  Args:
    package: its name.
    homes: for each name of its face the module that has it; none of them may
      be called as the name is, for importing it would take its place.
    modules: of the package, that are names of its face themselves.
  """

  def get(name: str) -> Any:
    if name in modules:
      return importlib.import_module(f"{package}.{name}")
    if name not in homes:
      raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)

  return get
