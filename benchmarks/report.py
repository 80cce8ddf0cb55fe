"""How each benchmark ends: a table, --out, and an error as one line."""

import argparse
from collections.abc import Callable, Mapping, Sequence
import datetime
import importlib.metadata
from pathlib import Path
import platform
import sys
from typing import Any, TypeVar

import numpy as np

from gzjax.errors import UserError
from gzjax.files import write_json, write_table, write_text
from gzjax.revision import git_revision

T = TypeVar("T")


def parser(words: str | None, out: str) -> argparse.ArgumentParser:
  """Of a module's docstring, with --out for what is said of it."""
  found = argparse.ArgumentParser(
    description=words, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  found.add_argument("--out", type=Path, help=f"file for {out}")
  return found


def end(
  measure: Callable[[], T], show: Callable[[T], object], out: Path | None
) -> None:
  """Measures, prints and writes; a user's mistake is one line."""
  try:
    found = measure()
    show(found)
    if out:
      write(out, found)
  except UserError as error:
    sys.exit(f"error: {error}")


def write(out: Path, found: Any) -> None:
  """A table as .csv or parquet, anything else, and any .json, as JSON.

  JSON says what machine and revision it is of.
  """
  if _is_table(found) and out.suffix != ".json":
    write_table(out, found)
    return
  if out.suffix != ".json":
    raise UserError(f"--out={out} must end with .json.")
  if _is_table(found):
    found = {"rows": found}
  write_json(out, plain({"machine": machine(), **found}))


def write_beside(out: Path, text: str) -> None:
  """The Markdown that goes with a JSON file."""
  write_text(out.with_suffix(".md"), text)


def machine(**more: Any) -> dict[str, Any]:
  """Device, versions, revision and date; with what is handed over."""
  import jax

  devices = jax.devices()
  return {
    "device": devices[0].device_kind,
    "devices": len(devices),
    "processor": _processor(),
    "revision": git_revision() or "",
    "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    "python": platform.python_version(),
    **{
      name: importlib.metadata.version(name)
      for name in ("jax", "jaxlib", "flax", "optax", "numpy")
    },
    **more,
  }


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  """A table; None is an empty cell."""
  lines = [columns, ["---"] * len(columns), *rows]
  return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def spread(ratios: np.ndarray) -> str:
  """The median of rounds, and 10 to 90% of them."""
  low, middle, high = np.percentile(ratios, [10, 50, 90])
  return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def numbers(text: str) -> list[int]:
  """Those of an option, separated by commas."""
  return [int(number) for number in text.split(",")]


def plain(value: Any) -> Any:
  """Without arrays, numbers of NumPy's and tables, which JSON does not have."""
  if _is_table(value):
    return plain(value.to_dict("records"))
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item) for item in value]
  if isinstance(value, np.ndarray | np.generic):
    return plain(value.tolist())
  return value


def _is_table(value: Any) -> bool:
  """Of pandas, which is not imported for those that need none."""
  return hasattr(value, "to_parquet")


def _cell(value: Any) -> str:
  return "" if value is None else str(value)


def _processor() -> str:
  """The name of the CPU, on Linux."""
  path = Path("/proc/cpuinfo")
  lines = path.read_text().splitlines() if path.exists() else []
  names = [x.split(":", 1)[1].strip() for x in lines if x[:10] == "model name"]
  return names[0] if names else platform.processor()
