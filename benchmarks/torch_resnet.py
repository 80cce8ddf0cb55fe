"""ResNets in PyTorch, laid out and named as torchvision's.

The peer of the benchmarks and the oracle of the tests. Written out because
torchvision has no CPU build in some package indexes.
"""

import torch
from torch import nn

from benchmarks import timm_networks
from gzjax.models import pretrained


def _conv_norm(inputs, outputs, kernel, stride=1):
  conv = nn.Conv2d(
    inputs, outputs, kernel, stride, padding=kernel // 2, bias=False
  )
  return conv, nn.BatchNorm2d(outputs)


def init_convolutions(network: nn.Module) -> None:
  """He et al. 2015, as torchvision does."""
  for module in network.modules():
    if isinstance(module, nn.Conv2d):
      nn.init.kaiming_normal_(
        module.weight, mode="fan_out", nonlinearity="relu"
      )


class _Block(nn.Module):
  """torchvision's BasicBlock (two 3x3) or Bottleneck (1x1, 3x3, 1x1)."""

  def __init__(self, inputs, channels, stride, bottleneck):
    super().__init__()
    outputs = channels * (4 if bottleneck else 1)
    plan = (
      [(1, channels, 1), (3, channels, stride), (1, outputs, 1)]
      if bottleneck
      else [(3, channels, stride), (3, outputs, 1)]
    )
    width = inputs
    for i, (kernel, size, step) in enumerate(plan, 1):
      conv, norm = _conv_norm(width, size, kernel, step)
      self.add_module(f"conv{i}", conv)
      self.add_module(f"bn{i}", norm)
      width = size
    self.depth = len(plan)
    self.downsample = None
    if stride != 1 or inputs != outputs:
      self.downsample = nn.Sequential(*_conv_norm(inputs, outputs, 1, stride))

  def forward(self, x):
    y = x
    for i in range(1, self.depth + 1):
      y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
      if i < self.depth:
        y = torch.relu(y)
    shortcut = x if self.downsample is None else self.downsample(x)
    return torch.relu(y + shortcut)


class TorchResNet(nn.Module):
  """f32[B,3,H,W] -> f32[B,num_classes]."""

  def __init__(self, name="resnet34", num_classes=3, width=64):
    super().__init__()
    sizes = {
      "resnet_tiny": (1, 1),
      "resnet18": (2, 2, 2, 2),
      "resnet34": (3, 4, 6, 3),
      "resnet50": (3, 4, 6, 3),
    }[name]
    bottleneck = name == "resnet50"
    self.conv1, self.bn1 = _conv_norm(3, width, 7, 2)
    self.maxpool = nn.MaxPool2d(3, 2, 1)
    inputs, self.stages = width, len(sizes)
    for stage, blocks in enumerate(sizes):
      channels = width * 2**stage
      layers = []
      for index in range(blocks):
        stride = 2 if stage > 0 and index == 0 else 1
        layers.append(_Block(inputs, channels, stride, bottleneck))
        inputs = channels * (4 if bottleneck else 1)
      self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
    self.fc = nn.Linear(inputs, num_classes)
    init_convolutions(self)

  def forward(self, x):
    x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
    for stage in range(1, self.stages + 1):
      x = getattr(self, f"layer{stage}")(x)
    return self.fc(x.mean((2, 3)))


def random_network(
  name: str, num_classes: int, seed: int, width: int = 64
) -> TorchResNet:
  """A network with uneven BatchNorm parameters and statistics."""
  torch.manual_seed(seed)
  return with_uneven_norms(TorchResNet(name, num_classes, width))


def peer(name: str, num_classes: int, seed: int, width: int = 64) -> nn.Module:
  """The peer of any of our networks, with random weights.

  The width is that of a ResNet's first stage.
  """
  if name.startswith("convnext"):
    return timm_networks.random_network(name, seed, num_classes=num_classes)
  return random_network(name, num_classes, seed, width)


def with_uneven_norms(network: nn.Module) -> nn.Module:
  """The network, its BatchNorm parameters and statistics made random."""
  for module in network.modules():
    if isinstance(module, nn.BatchNorm2d):
      for tensor in (module.weight, module.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
      for tensor in (module.bias, module.running_mean):
        nn.init.uniform_(tensor, -0.2, 0.2)
  return network


def to_flax(weights: dict[str, torch.Tensor], shapes):
  """The variables of our network with the weights of its `peer`.

  Args:
    weights: its `state_dict()`, or what else has a tensor for each name.
    shapes: see `pretrained.from_torch`.
  """
  arrays = {k: v.detach().cpu().numpy() for k, v in weights.items()}
  return pretrained.from_torch(arrays, shapes)
