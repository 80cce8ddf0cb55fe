"""--print_config: every key, its value, its default and its meaning."""

from collections.abc import Iterator, Mapping
import shlex
from typing import Any

import ml_collections

from gzjax.pipeline import defaults


def lines(config: ml_collections.ConfigDict) -> Iterator[str]:
  """The config as flags that can be copied, a paragraph for each section."""
  usual = dict(flat(defaults.get_config().to_dict()))
  # Thin fallback: the defaults may not say what their keys mean.
  meanings = getattr(defaults, "meanings", dict)()
  section = None
  for name, value in flat(config.to_dict()):
    if (found := _section(name)) != section:
      section = found
      yield f"\n# {section or 'the run'}"
    own = _own_name(name)
    notes = []
    if own in usual and usual[own] != value:
      notes.append(f"default {_text(usual[own])}")
    if own in meanings:
      notes.append(" ".join(meanings[own].split()))
    flag = f"--config.{name}={_text(value)}"
    yield f"{flag}  # {'; '.join(notes)}" if notes else flag


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple]:
  """All keys by their full names and their values, in their order."""
  for name, value in config.items():
    if not isinstance(value, Mapping):
      yield f"{prefix}{name}", value
  for name, value in config.items():
    if isinstance(value, Mapping):
      yield from flat(value, f"{prefix}{name}.")


def _own_name(name: str) -> str:
  """The key of a system of a comparison as a run of its own has it."""
  return name.split(".", 2)[2] if name.startswith("systems.") else name


def _section(name: str) -> str:
  return name.rpartition(".")[0]


def _text(value: Any) -> str:
  if isinstance(value, str):
    return shlex.quote(value)
  return f'"{value}"' if isinstance(value, tuple) else repr(value)
