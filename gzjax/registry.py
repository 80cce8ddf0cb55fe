"""Tables of rows: whatever has a kind, and what a user may add to it.

A row is a function, or holds one as `build`. Its keyword-only arguments are its
settings: their defaults are those of the config, their annotations say which
values are right (`Literal`, or `Annotated` with a `Rule`), and the `Args:` of
its docstring say what they mean.
"""

from collections.abc import Callable, Iterator, Mapping
import functools
from functools import partial
import inspect
import math
import re
from typing import (
  Annotated,
  Any,
  Literal,
  NamedTuple,
  TypeVar,
  get_args,
  get_origin,
)

from gzjax.errors import SettingError

T = TypeVar("T")


class Rule(NamedTuple):
  """What a value must be: in `Annotated[type, Rule(...)]`."""

  holds: Callable[[Any], bool]
  words: str  # what to do, after "NAME is VALUE: "


class Range(NamedTuple):
  """From which number to which: in `Annotated[type, Range(...)]`."""

  low: float
  high: float
  above: bool = False  # whether `low` itself is too little
  or_else: float | None = None  # a number outside that has its own meaning

  def holds(self, value: float) -> bool:
    """Whether the number is inside; NaN never is."""
    at_least = value > self.low if self.above else value >= self.low
    return (at_least and value <= self.high) or value == self.or_else

  @property
  def words(self) -> str:
    """As those of a `Rule`."""
    low = f"above {self.low:g}" if self.above else f"from {self.low:g}"
    also = "" if self.or_else is None else f", or {self.or_else:g}"
    return f"give a number {low} to {self.high:,g}{also}"


# More than anybody has, and less than overflows.
MANY = 10**9

Positive = Annotated[int, Range(1, MANY)]
Natural = Annotated[int, Range(0, MANY)]
Share = Annotated[float, Range(0, 1)]
SomeShare = Annotated[float, Range(0.01, 1)]
# Such as a learning rate, and what is divided by.
NonNegative = Annotated[float, Range(0, 1e9)]
AboveZero = Annotated[float, Range(0, 1e9, above=True)]

_KINDS = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "text",
}


def choose(choices: Mapping | tuple) -> str:
  """The words of who may choose one of these."""
  return f"choose one of {', '.join(map(str, choices))}"


def holds(value: Any, annotation: Any) -> bool:
  """Whether the annotation allows a value, see `check`."""
  return all(rule.holds(value) for rule in _rules(annotation))


def check(argument: str, value: Any, annotation: Any) -> None:
  """Raises SettingError for a value that the annotation does not allow.

  That is one of another type, an infinite number or NaN, or one that a `Rule`,
  a `Range` or a `Literal` of it excludes.
  """
  if not holds(value, annotation):
    *_, last = _rules(annotation)  # which says most
    raise SettingError(f"{argument} is {value!r}: {last.words}.")


def _rules(annotation: Any) -> Iterator[Rule | Range]:
  """What a value must be, in the order in which it can be asked."""
  origin, parts = get_origin(annotation), get_args(annotation)
  if origin is Literal:
    kinds = {type(part) for part in parts}  # True is 1
    yield Rule(lambda x: type(x) in kinds and x in parts, choose(parts))
  elif origin is Annotated:
    kind, *rules = parts
    yield from _rules(kind)
    yield from (rule for rule in rules if isinstance(rule, Rule | Range))
  elif origin is tuple:
    (element, _) = parts
    yield Rule(lambda x: isinstance(x, tuple | list), "give a tuple")
    for rule in _rules(element):
      yield Rule(
        lambda x, rule=rule: all(map(rule.holds, x)),
        f"of each part, {rule.words}",
      )
  elif annotation in _KINDS:
    yield Rule(partial(_is_a, annotation), f"give {_KINDS[annotation]}")


def _is_a(kind: type, value: Any) -> bool:
  """Whether a value is of the type: an int is a float, a bool is no number."""
  if kind is float:
    is_finite = isinstance(value, float) and math.isfinite(value)
    return is_finite or _is_a(int, value)
  return isinstance(value, kind) and (kind is bool) == isinstance(value, bool)


class Table(Mapping[str, T]):
  """Rows by their names, which users may add to."""

  def __init__(
    self,
    rows: Mapping[str, T],
    *,
    common: Callable | None = None,
    shares_section: bool = True,
  ):
    """Registers the rows.

    Args:
      rows: name -> row.
      common: a function whose keyword-only arguments all rows have besides.
      shares_section: whether the settings of all rows stand in one section of
        the config, so that a setting has the same default wherever it is.
    """
    self._rows: dict[str, T] = {}
    self._common = common
    self._shares_section = shares_section
    for name, row in rows.items():
      self.register(name, row)

  def __getitem__(self, name: str) -> T:
    return self._rows[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._rows)

  def __len__(self) -> int:
    return len(self._rows)

  def register(self, name: str, row: T) -> None:
    """Adds a row.

    Raises:
      ValueError: for a name that is taken, or a setting without a default or
        with another one than a row has that shares the section.
    """
    if name in self:
      raise ValueError(f"there is a row {name!r} already")
    usual = self.all_settings() if self._shares_section else {}
    for setting, keyword in _keywords(_build(row)).items():
      default = keyword.default
      if default is keyword.empty:
        raise ValueError(f"{name}: the setting {setting!r} needs a default")
      if usual.get(setting, default) != default:
        raise ValueError(
          f"{name}: the setting {setting!r} is {usual[setting]!r} in other "
          "rows: take this default, or another name"
        )
    self._rows[name] = row

  def pick(self, argument: str, name: str) -> T:
    """The row of a name; SettingError names the argument and the choices."""
    if name not in self:
      raise SettingError(f"{argument} is {name!r}: {choose(self)}.")
    return self[name]

  def settings(self, name: str) -> dict[str, Any]:
    """The settings of a row and their defaults."""
    return {key: x.default for key, x in self.keywords(name).items()}

  def meanings(self, name: str) -> dict[str, str]:
    """The words about each setting: its own, or those of another row."""
    functions = [f for other in (*self, name) for f in self._functions(other)]
    said = _merged(arguments, functions)
    return {setting: said.get(setting, "") for setting in self.settings(name)}

  def keywords(self, name: str) -> dict[str, inspect.Parameter]:
    """The settings of a row with their defaults and annotations."""
    return _merged(_keywords, self._functions(name))

  def all_settings(self) -> dict[str, Any]:
    """Those of all rows, as in the section that they share."""
    return _merged(self.settings, self)

  def take(self, name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a row, out of a section with those of all rows."""
    return {key: section[key] for key in self.settings(name) if key in section}

  def with_settings(self, name: str, section: Mapping[str, Any]) -> Callable:
    """The function of a row with its settings out of such a section."""
    return functools.partial(_build(self[name]), **self.take(name, section))

  def check(self, name: str, settings: Mapping[str, Any]) -> None:
    """Raises SettingError for the first value that the row does not allow."""
    for key, keyword in self.keywords(name).items():
      if key in settings:
        check(key, settings[key], keyword.annotation)

  def _functions(self, name: str) -> list[Callable]:
    common = [self._common] if self._common else []
    return [_build(self[name]), *common]


@functools.cache
def arguments(function: Callable) -> Mapping[str, str]:
  """The words about each argument in the docstring of a function or class."""
  while isinstance(function, functools.partial):
    function = function.func
  text = inspect.getdoc(function) or ""
  section = re.search(
    r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE
  )
  entries = re.findall(
    r"^[ ]{2}(\w+): ((?:.*\n?)(?:[ ]{3,}.*\n?)*)",
    section[1] if section else "",
    re.MULTILINE,
  )
  return {
    name: " ".join(words.split()).removesuffix(".") for name, words in entries
  }


def _build(row: Any) -> Callable:
  return getattr(row, "build", row)


@functools.cache
def _keywords(function: Callable) -> Mapping[str, inspect.Parameter]:
  return {
    name: parameter
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
  }


def _merged(of: Callable, parts: Any) -> dict[str, Any]:
  return {key: value for part in parts for key, value in of(part).items()}
