"""Everybody's speed beside ours, in one table.

    python -m benchmarks.peers --networks=resnet34,convnext_nano --out=all.json

Train step, prediction and the exact Fisher diagonal of torchvision's ResNets
and timm's ConvNeXts in PyTorch, eager and by `torch.compile`; the Fisher also
by Opacus, BackPACK and torch.func. Each is measured by `benchmarks.train_step`
or `benchmarks.fisher` in a process of its own, with their gates; what fails
one, does not take a network or is not installed is named and has no speed.
Needs the `bench` extra.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks import report, ways
from gzjax.errors import UserError
from gzjax.files import read_json

_MODULES = {
  "train step": ("train_step",),
  "predict": ("train_step", "--predict"),
  "exact Fisher": ("fisher",),
}
# Of `benchmarks.fisher`: ways of ours, that are no peers.
_OURS = ("train step", "gradient pass", "exact", "signs", "one by one")


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """A row for each network, task and peer.

  Raises:
    UserError: for a network that there is not.
  """
  unknown = [x for x in options.networks if x not in ways.NETWORKS]
  if unknown:
    raise UserError(
      f"--networks has {', '.join(unknown)}: choose from "
      f"{', '.join(ways.NETWORKS)}."
    )
  rows = []
  for network in options.networks:
    for what in _MODULES:
      found = _child(what, network, options)
      rows += [
        {"network": network, "what": what, **row} for row in _rows(what, found)
      ]
    settings = ("size", "batch_size", "rounds", "compile_mode")
  return {**{key: getattr(options, key) for key in settings}, "rows": rows}


def _child(
  what: str, network: str, options: argparse.Namespace
) -> dict[str, Any]:
  """The result of another benchmark; {"failed": why} if it has none."""
  module, *flags = _MODULES[what]
  flags += [f"--model={network}"]
  flags += [
    f"--{key}={getattr(options, key)}"
    for key in ("size", "batch_size", "rounds")
  ]
  if module == "fisher":
    flags += [f"--at_once={','.join(map(str, options.at_once))}"]
  else:
    flags += ["--best", *_compiled(options)]
  with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "found.json"
    done = subprocess.run(
      [sys.executable, "-m", f"benchmarks.{module}", *flags, f"--out={out}"],
      stderr=subprocess.PIPE,
      text=True,
      check=False,
    )
    found = read_json(out)
  if found is None:
    lines = done.stderr.strip().splitlines() or ["no word"]
    return {"failed": lines[-1]}
  return found


def _compiled(options):
  mode = options.compile_mode
  return [f"--compile_mode={mode}"] if mode else []


def _rows(what: str, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """Of each way, ours first."""
  if "failed" in found:
    yield {"way": "", "note": found["failed"]}
    return
  if what == "exact Fisher":
    known, gain = found["ways"], "exact_is_faster_by"
    names = ["exact", *(n for n in known if not n.startswith(_OURS))]
    errors = {name: known[name].get("error") for name in names}
  else:
    known, gain = found, "gzjax_is_faster_by"
    names = sorted(found["losses"], key=lambda name: name != "gzjax")
    errors = found["errors"]
  for name in names:
    yield {
      "way": name,
      "images_per_second": known[name]["images_per_second"],
      "gzjax_is_faster_by": known[name][gain],
      "temporary_mb": known[name].get("temporary_mb"),
      "error": errors[name],
      "versions": found["versions"],
    }
  for name, why in found.get("left_out", {}).items():
    yield {"way": name, "note": why}


def show(result: dict[str, Any]) -> None:
  """Prints the table."""
  columns = [
    f"{result['size']} pixels, batch {result['batch_size']}",
    *(
      "",
      "way",
      "images/s",
      "speed of gzjax / this",
      "temporary MB",
      "differs",
    ),
  ]
  rows = []
  for row in result["rows"]:
    name = [row["network"], row["what"], row["way"]]
    if "note" in row:
      rows.append([*name, row["note"], None, None, None])
      continue
    middle, low, high = row["gzjax_is_faster_by"]
    memory = row["temporary_mb"]
    rows.append(
      [
        *(*name, f"{row['images_per_second']:.1f}"),
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
        None if memory is None else round(memory),
        f"{row['error']:.1e}",
      ]
    )
  print(report.markdown(columns, rows))


def main(arguments: Sequence[str] | None = None) -> None:
  """Measures, prints and writes."""
  parser = report.parser(__doc__, "all rows, .json")
  add = parser.add_argument
  add("--networks", type=lambda text: text.split(","), default=["resnet34"],
      help=", ".join(ways.NETWORKS))  # fmt: skip
  add("--size", type=int, default=64, help="pixels")
  add("--batch_size", type=int, default=32, help="images")
  add("--rounds", type=int, default=7, help="alternations")
  add(
    "--at_once",
    type=report.numbers,
    default=[1, 4, 16],
    help="of the Fisher: numbers of examples at once to choose from",
  )
  add("--compile_mode", default="default", help="of torch.compile; '': none")
  options = parser.parse_args(arguments)
  report.end(partial(measure, options), show, options.out)


if __name__ == "__main__":
  main()
