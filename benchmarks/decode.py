"""Images per second of decode, crop and resize, and of feeding what is cached.

    python -m benchmarks.decode --images=images_training_rev1

JPEGs of a folder, cut out and reduced by our decoder (threads), by Pillow as
one would write it down (one thread), and by a PyTorch DataLoader over the same
function (one process, and one for each core); the pixels of all ways are
compared first. Then the feed: batches of cached pixels, gathered from the
memory map on the host and from the device, beside the training step that eats
them. Needs the `bench` extra.
"""

from functools import partial
import json
import os
from pathlib import Path
import tempfile

from absl import app, flags
import jax
import numpy as np
import optax
from PIL import Image
import torch

from benchmarks import timing
from gzjax import models, sharding
from gzjax.data import feed, pixels
from gzjax.objectives import losses
from gzjax.training import optim
from gzjax.training.step import init_state, make_train_step

_IMAGES = flags.DEFINE_string("images", None, "Folder of JPEGs.", required=True)
_COUNT = flags.DEFINE_integer("count", 512, "Images to take from the folder.")
_CROP = flags.DEFINE_integer("crop", 212, "Central square that is kept.")
_SIZE = flags.DEFINE_integer("size", 64, "Edge of the result.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Alternations of the ways.")
_MODEL = flags.DEFINE_enum(
  "model", "resnet34", ["resnet18", "resnet34", "resnet50"], "That is fed."
)
_BATCH = flags.DEFINE_integer("batch_size", 64, "Images in a step.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the result.")


def _pillow(path: Path) -> np.ndarray:
  """What a user of Pillow would write."""
  with Image.open(path) as image:
    width, height = image.size
    left, top = (width - _CROP.value) // 2, (height - _CROP.value) // 2
    box = (left, top, left + _CROP.value, top + _CROP.value)
    size = (_SIZE.value, _SIZE.value)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


class _Files(torch.utils.data.Dataset):
  """The same as a PyTorch user has it."""

  def __init__(self, paths: list[Path]):
    self._paths = paths

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, i: int) -> torch.Tensor:
    return torch.from_numpy(_pillow(self._paths[i]).copy())


def _data_loader(paths: list[Path], workers: int) -> np.ndarray:
  loader = torch.utils.data.DataLoader(
    _Files(paths), batch_size=64, num_workers=workers
  )
  return torch.cat(list(loader)).numpy()


def _ours(paths: list[Path]) -> np.ndarray:
  """Into a cache on disk, checksum and all, as a run does it."""
  with tempfile.TemporaryDirectory() as folder:
    return np.array(
      pixels.cached_pixels(
        Path(folder) / "pixels",
        lambda start: (path.read_bytes() for path in paths[start:]),
        len(paths),
        crop=_CROP.value,
        size=_SIZE.value,
      )
    )


def _decoding(paths: list[Path]) -> dict[str, float]:
  cores = os.cpu_count() or 1
  ways = {
    f"gzjax, into the cache, {cores} cores": partial(_ours, paths),
    "Pillow, one thread": lambda: np.stack([_pillow(p) for p in paths]),
    "DataLoader, one process": partial(_data_loader, paths, 0),
    f"DataLoader, {cores} processes": partial(_data_loader, paths, cores),
  }
  wanted = ways["Pillow, one thread"]()
  for name, way in ways.items():
    np.testing.assert_array_equal(way(), wanted, err_msg=name)
  print("equal pixels: yes")
  seconds = timing.interleaved(ways, _ROUNDS.value)
  peer = seconds["Pillow, one thread"]
  result = {}
  for name, values in seconds.items():
    result[name] = len(paths) / float(np.median(values))
    ratio = np.median(peer / values)
    print(f"{name:34} {result[name]:8.0f} images/s   {ratio:.2f} x Pillow")
  ours = result[f"gzjax, into the cache, {cores} cores"]
  print(f"{ours / cores:.0f} images/s a core")
  return result


def _feeding(image: np.ndarray) -> dict[str, float]:
  mesh = sharding.make_mesh()
  label = np.zeros(len(image), np.int32)
  count, size = _BATCH.value, _SIZE.value
  model = models.MODELS[_MODEL.value](num_classes=3)
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
  ways[f"training step, {_MODEL.value}"] = train
  for way in ways.values():
    way()  # compiles
  seconds = timing.interleaved(ways, _ROUNDS.value)
  need = seconds[f"training step, {_MODEL.value}"] / (steps * count)
  result = {}
  for name, values in seconds.items():
    images = count * (steps if "step" in name else len(rows))
    result[name] = images / float(np.median(values))
    ratio = np.median(need / (values / images))
    print(
      f"{name:34} {result[name]:8.0f} images/s   {ratio:.1f} x what a step eats"
    )
  return result


def main(arguments):
  """Compares, times and prints."""
  del arguments
  paths = sorted(Path(_IMAGES.value).glob("*.jpg"))[: _COUNT.value]
  if not paths:
    raise app.UsageError(f"--images={_IMAGES.value} holds no .jpg files.")
  print(f"{len(paths)} JPEGs, crop {_CROP.value}, to {_SIZE.value} pixels")
  result = {"decoding": _decoding(paths), "feeding": _feeding(_ours(paths))}
  if _OUTPUT.value:
    Path(_OUTPUT.value).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
  app.run(main)
