"""Test scores of PyTorch's ResNet beside ours: same recipe, split and flips.

    python -m benchmarks.peer_accuracy --workdir=runs/real

Reads a finished run (its config, split.parquet, pixels and scoreboard), trains
the network of PyTorch on the same batches in the same order with the same
random views, the same optimiser and schedule, and prints both test rows with
95% intervals. Needs the `bench` extra.
"""

import argparse
from collections.abc import Sequence
from functools import partial
import json
import math
from pathlib import Path
import time
from typing import Any

import jax
import numpy as np
import pandas as pd
import torch

from benchmarks import report
from benchmarks.torch_resnet import TorchResNet
from gzjax import sharding
from gzjax.data import augment, feed
from gzjax.evaluation import intervals, metrics
from gzjax.training import optim


def _optimizer(network, train, steps):
  """AdamW or SGD under our own schedule; 1-D tensors are not decayed."""
  groups = [
    {"params": [p for p in network.parameters() if p.ndim > 1]},
    {
      "params": [p for p in network.parameters() if p.ndim <= 1],
      "weight_decay": 0.0,
    },
  ]
  decay = train["weight_decay"]
  rate = train["learning_rate"]
  if train["optimizer"] == "adamw":
    # torch multiplies the decay by the rate, as optax does.
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=decay)
  else:
    optimizer = torch.optim.SGD(
      groups, lr=rate, momentum=0.9, weight_decay=decay
    )
  every = train["epochs"] * steps
  warmup_steps = min(math.ceil(train["warmup_epochs"] * steps), every - 1)
  schedule = optim.cosine(optim.Span(rate, every, warmup_steps)).schedule
  return optimizer, torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: float(schedule(step)) / rate
  )


def _to_torch(batch, device):
  image = torch.tensor(np.asarray(batch["image"])).permute(0, 3, 1, 2)
  return image.to(device, memory_format=torch.channels_last)


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Trains the peer; the scores of both."""
  workdir = options.workdir
  config = json.loads((workdir / "config.json").read_text())["config"]
  train, data = config["train"], config["data"]
  split = pd.read_parquet(workdir / "split.parquet")
  dataset = json.loads((workdir / "stages/dataset.json").read_text())
  image = np.load(
    Path(dataset["folder"])
    / f"pixels-crop{data['crop']}-size{data['size']}.npy",
    mmap_mode="r",
  )
  classes = dataset["classes"]
  index = pd.Index(classes)
  label = index.get_indexer(split["train_label"])
  true = index.get_indexer(split["true_label"])
  test = np.flatnonzero(split["split"] == "test")
  chosen = split["split"] == "train"
  if options.train_on == "retain":
    chosen = split["set"] == "retain"
  members = np.flatnonzero(chosen)

  torch.manual_seed(config["seed"])
  device = "cuda" if torch.cuda.is_available() else "cpu"
  network = TorchResNet(
    config["model"]["name"], len(classes), config["model"]["width"]
  ).to(device, memory_format=torch.channels_last)
  batch_size = train["batch_size"]
  steps = len(members) // batch_size
  optimizer, scheduler = _optimizer(network, train, steps)
  batches = feed.Feed(
    image,
    {"label": label.astype(np.int32)},
    sharding.make_mesh(jax.devices()[:1]),
    device_budget_bytes=2**32,
  )
  view = augment.Augmentation(
    train["rotation"], train["flip"], train["zoom"], train["shift"]
  )
  key = jax.random.key(config["seed"])
  start = time.perf_counter()
  for epoch in range(train["epochs"]):
    network.train()
    total = 0.0
    rows = feed.training_rows(members, batch_size, config["seed"], epoch)
    for batch in batches.batches(
      rows, key=jax.random.fold_in(key, epoch), augmentation=view
    ):
      optimizer.zero_grad(set_to_none=True)
      wanted = torch.tensor(np.asarray(batch["label"])).long().to(device)
      loss = torch.nn.functional.cross_entropy(
        network(_to_torch(batch, device)), wanted
      )
      loss.backward()
      optimizer.step()
      scheduler.step()
      total += loss.item()
    print(f"epoch {epoch + 1}/{train['epochs']}: loss {total / steps:.4f}")
  seconds = time.perf_counter() - start

  network.eval()
  logits = []
  with torch.no_grad():
    for batch in batches.batches(feed.ordered_rows(test, 256)):
      found = network(_to_torch(batch, device)).cpu().numpy()
      logits.append(found[np.asarray(batch["valid"]) > 0])
  predicted = metrics.predicted_class(np.concatenate(logits))
  name = "original" if options.train_on == "train" else "retrain"
  ours = pd.read_parquet(workdir / "evaluate" / f"{name}.parquet")
  found = {
    "pytorch": predicted,
    f"gzjax {name}": index.get_indexer(ours["predicted"])[test],
  }
  return {
    "seconds": seconds,
    "galaxies": len(test),
    "scores": {
      name: _scores(true[test], values, len(classes))
      for name, values in found.items()
    },
  }


def _scores(true, predicted, classes) -> dict[str, Any]:
  accuracy = metrics.accuracy(true, predicted)
  count = len(true)
  return {
    "accuracy": accuracy,
    "interval": intervals.wilson_interval(accuracy * count, count),
    "balanced_accuracy": metrics.balanced_accuracy(true, predicted, classes),
    "macro_f1": metrics.macro_f1(true, predicted, classes),
  }


def show(found: dict[str, Any]) -> None:
  """Prints both rows."""
  print(
    f"PyTorch trained for {found['seconds']:.0f} s; test set of "
    f"{found['galaxies']} galaxies"
  )
  print(f"{'':16} accuracy (95% interval)    balanced  macro-F1")
  for name, own in found["scores"].items():
    low, high = own["interval"]
    print(
      f"{name:16} {own['accuracy']:.3f} ({low:.3f} to {high:.3f})       "
      f"{own['balanced_accuracy']:.3f}     {own['macro_f1']:.3f}"
    )
  peer, ours = found["scores"].values()
  worse = "no" if ours["accuracy"] >= peer["interval"][0] else "yes"
  print(f"ours worse beyond the interval: {worse}")


def main(arguments: Sequence[str] | None = None) -> None:
  """Trains, prints and writes."""
  parser = report.parser(__doc__, "the scores, .json")
  add = parser.add_argument
  add("--workdir", type=Path, required=True, help="a finished run")
  add(
    "--train_on",
    default="train",
    choices=["train", "retain"],
    help="all training labels (row `original`) or the right ones (`retrain`)",
  )
  options = parser.parse_args(arguments)
  report.end(partial(measure, options), show, options.out)


if __name__ == "__main__":
  main()
