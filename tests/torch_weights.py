"""PyTorch's weights as ours, for the oracle tests."""

import re

import jax
import numpy as np
import torch

from benchmarks.torch_resnet import TorchResNet


def random_network(name: str, num_classes: int, seed: int) -> TorchResNet:
  """A network with uneven BatchNorm parameters and statistics."""
  torch.manual_seed(seed)
  network = TorchResNet(name, num_classes)
  for module in network.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
      for tensor in (module.weight, module.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 1.5)
      for tensor in (module.bias, module.running_mean):
        torch.nn.init.uniform_(tensor, -0.2, 0.2)
  return network


def to_flax(network: TorchResNet, shapes):
  """(params, batch_stats) with the weights of `network`."""
  weights = {k: v.numpy() for k, v in network.state_dict().items()}
  variables = jax.tree_util.tree_map_with_path(
    lambda path, shape: _tensor(weights, path, shape.shape), shapes
  )
  return variables["params"], variables["batch_stats"]


def _tensor(weights, path, shape):
  name = "/".join(entry.key for entry in path)
  _, *modules, leaf = name.split("/")
  module = ".".join(modules)
  module = re.sub(
    r"stage(\d)_block(\d+)",
    lambda m: f"layer{m[1]}.{int(m[2]) - 1}",
    module,
  )
  for ours, theirs in {
    "stem_conv": "conv1",
    "stem_norm": "bn1",
    "shortcut_conv": "downsample.0",
    "shortcut_norm": "downsample.1",
    "norm": "bn",
    "head": "fc",
  }.items():
    module = module.replace(ours, theirs)
  leaf = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
  }.get(leaf, leaf)
  value = weights[f"{module}.{leaf}"]
  if value.ndim == 4:
    value = value.transpose(2, 3, 1, 0)
  elif value.ndim == 2:
    value = value.T
  assert value.shape == shape, name
  return np.array(value)  # a copy: training writes into torch
