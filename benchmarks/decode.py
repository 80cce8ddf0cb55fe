"""Images per second of decode, crop and resize, and of feeding what is cached.

    python -m benchmarks.decode --images=images_training_rev1

JPEGs of a folder, cut out and reduced by our decoder (threads), by Pillow as
one would write it down (one thread), and by a PyTorch DataLoader over the same
function (one process, and one for each core); the pixels of all ways are
compared first. Then the feed: batches of cached pixels, gathered from the
memory map on the host and from the device, beside the training step that eats
them. Needs the `bench` extra.
"""

import argparse
from collections.abc import Sequence
from functools import partial
import os
from pathlib import Path
import tempfile
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from PIL import Image
import torch

from benchmarks import report, timing
from gzjax import models, sharding
from gzjax.data import feed, pixels
from gzjax.errors import UserError
from gzjax.objectives import losses
from gzjax.training import optim
from gzjax.training.step import init_state, make_train_step


class _Way(NamedTuple):
  """What is cut out of which images."""

  paths: list[Path]
  crop: int
  size: int


def _pillow(path: Path, crop: int, edge: int) -> np.ndarray:
  """What a user of Pillow would write."""
  with Image.open(path) as image:
    width, height = image.size
    left, top = (width - crop) // 2, (height - crop) // 2
    box = (left, top, left + crop, top + crop)
    size = (edge, edge)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


class _Files(torch.utils.data.Dataset):
  """The same as a PyTorch user has it."""

  def __init__(self, way: _Way):
    self._way = way

  def __len__(self) -> int:
    return len(self._way.paths)

  def __getitem__(self, i: int) -> torch.Tensor:
    return torch.from_numpy(_pillow(self._way.paths[i], *self._way[1:]).copy())


def _data_loader(way: _Way, workers: int) -> np.ndarray:
  loader = torch.utils.data.DataLoader(
    _Files(way), batch_size=64, num_workers=workers
  )
  return torch.cat(list(loader)).numpy()


def _ours(way: _Way) -> np.ndarray:
  """Into a cache on disk, checksum and all, as a run does it."""
  with tempfile.TemporaryDirectory() as folder:
    return np.array(
      pixels.cached_pixels(
        Path(folder) / "pixels",
        lambda start: (path.read_bytes() for path in way.paths[start:]),
        len(way.paths),
        crop=way.crop,
        size=way.size,
      )
    )


def _decoding(way: _Way, rounds: int) -> dict[str, float]:
  cores = os.cpu_count() or 1
  ways = {
    f"gzjax, into the cache, {cores} cores": partial(_ours, way),
    "Pillow, one thread": lambda: np.stack(
      [_pillow(path, *way[1:]) for path in way.paths]
    ),
    "DataLoader, one process": partial(_data_loader, way, 0),
    f"DataLoader, {cores} processes": partial(_data_loader, way, cores),
  }
  wanted = ways["Pillow, one thread"]()
  for name, run in ways.items():
    if not np.array_equal(run(), wanted):
      raise UserError(f"{name}: other pixels than Pillow's. No speed.")
  print("equal pixels: yes")
  seconds = timing.interleaved(ways, rounds)
  peer = seconds["Pillow, one thread"]
  result = {}
  for name, values in seconds.items():
    result[name] = len(way.paths) / float(np.median(values))
    ratio = np.median(peer / values)
    print(f"{name:34} {result[name]:8.0f} images/s   {ratio:.2f} x Pillow")
  ours = result[f"gzjax, into the cache, {cores} cores"]
  print(f"{ours / cores:.0f} images/s a core")
  return result


def _feeding(
  image: np.ndarray, options: argparse.Namespace
) -> dict[str, float]:
  mesh = sharding.make_mesh()
  label = np.zeros(len(image), np.int32)
  count, size = options.batch_size, options.size
  model = models.MODELS[options.model](num_classes=3)
  params, batch_stats = models.init_variables(model, jax.random.key(0), size)
  tx = optim.OPTIMIZERS["sgd"](optax.constant_schedule(1e-3), weight_decay=0.0)
  state = init_state(params, batch_stats, tx)
  step = make_train_step(models.make_apply_fn(model), losses.cross_entropy, tx)
  feeds = {
    "feed from the device": feed.Feed(
      image, {"label": label}, mesh, device_budget_bytes=np.inf
    ),
    "feed from the memory map": feed.Feed(
      image, {"label": label}, mesh, device_budget_bytes=0
    ),
  }
  rows = feed.training_rows(np.arange(len(image)), count, seed=0, epoch=0)
  _same_batches(*feeds.values(), rows)
  steps = 4

  def train():
    nonlocal state
    (batch,) = feeds["feed from the device"].batches(rows[:1])
    for _ in range(steps):
      state, outputs = step(state, batch)
    jax.block_until_ready(outputs)

  def eat(source):
    jax.block_until_ready([batch["image"] for batch in source.batches(rows)])

  ways = {name: partial(eat, source) for name, source in feeds.items()}
  ways[f"training step, {options.model}"] = train
  for way in ways.values():
    way()  # compiles
  seconds = timing.interleaved(ways, options.rounds)
  need = seconds[f"training step, {options.model}"] / (steps * count)
  result = {}
  for name, values in seconds.items():
    images = count * (steps if "step" in name else len(rows))
    result[name] = images / float(np.median(values))
    ratio = np.median(need / (values / images))
    print(
      f"{name:34} {result[name]:8.0f} images/s   {ratio:.1f} x what a step eats"
    )
  return result


def _same_batches(one: feed.Feed, other: feed.Feed, rows: list) -> None:
  """The gate of the feeds.

  Raises:
    UserError: if they differ.
  """
  for a, b in zip(one.batches(rows), other.batches(rows), strict=True):
    if not np.array_equal(a["image"], b["image"]):
      raise UserError("The feeds' batches differ. No speed.")
  print("equal batches: yes")


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Compares and times; images a second.

  Raises:
    UserError: if there are no images, or if ways differ.
  """
  paths = sorted(options.images.glob("*.jpg"))[: options.count]
  if not paths:
    raise UserError(f"--images={options.images} holds no .jpg files.")
  print(f"{len(paths)} JPEGs, crop {options.crop}, to {options.size} pixels")
  way = _Way(paths, options.crop, options.size)
  return {
    "decoding": _decoding(way, options.rounds),
    "feeding": _feeding(_ours(way), options),
  }


def main(arguments: Sequence[str] | None = None) -> None:
  """Compares, times, prints and writes."""
  parser = report.parser(__doc__, "the result, .json")
  add = parser.add_argument
  add("--images", type=Path, required=True, help="folder of JPEGs")
  add("--count", type=int, default=512, help="images to take from the folder")
  add("--crop", type=int, default=212, help="central square that is kept")
  add("--size", type=int, default=64, help="edge of the result")
  add("--rounds", type=int, default=5, help="alternations of the ways")
  add("--model", default="resnet34", help="that is fed",
      choices=["resnet18", "resnet34", "resnet50"])  # fmt: skip
  add("--batch_size", type=int, default=64, help="images in a step")
  options = parser.parse_args(arguments)
  report.end(partial(measure, options), lambda found: None, options.out)


if __name__ == "__main__":
  main()
