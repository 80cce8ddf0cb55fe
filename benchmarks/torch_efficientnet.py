"""EfficientNetV2-S and -M in PyTorch, laid out and named as torchvision's.

The oracle of the tests; written out for the reason that `torch_resnet` gives.
Its names and logits were found equal to those of torchvision 0.29.
"""

import torch
from torch import nn

from benchmarks import torch_resnet

# (expansion, stride, input channels, output channels, blocks) of the stages;
# the first three are fused.
_SETTINGS = {
  "efficientnetv2_s": [
    (1, 1, 24, 24, 2),
    (4, 2, 24, 48, 4),
    (4, 2, 48, 64, 4),
    (4, 2, 64, 128, 6),
    (6, 1, 128, 160, 9),
    (6, 2, 160, 256, 15),
  ],
  "efficientnetv2_m": [
    (1, 1, 24, 24, 3),
    (4, 2, 24, 48, 5),
    (4, 2, 48, 80, 5),
    (4, 2, 80, 160, 7),
    (6, 1, 160, 176, 14),
    (6, 2, 176, 304, 18),
    (6, 1, 304, 512, 5),
  ],
}


def _conv_norm(inputs, outputs, kernel, stride=1, groups=1, activate=True):
  layers = [
    nn.Conv2d(
      inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
    ),
    nn.BatchNorm2d(outputs, eps=1e-3),
  ]
  return nn.Sequential(*layers, *[nn.SiLU()] * activate)


class _SqueezeExcitation(nn.Module):
  def __init__(self, channels, squeezed):
    super().__init__()
    self.fc1 = nn.Conv2d(channels, squeezed, 1)
    self.fc2 = nn.Conv2d(squeezed, channels, 1)

  def forward(self, x):
    gate = nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))
    return x * torch.sigmoid(self.fc2(gate))


class _Block(nn.Module):
  def __init__(self, inputs, outputs, expansion, stride, fused):
    super().__init__()
    width = inputs * expansion
    project = _conv_norm(width, outputs, 1, activate=False)
    if fused and expansion == 1:
      layers = [_conv_norm(inputs, outputs, 3, stride)]
    elif fused:
      layers = [_conv_norm(inputs, width, 3, stride), project]
    else:
      layers = [
        _conv_norm(inputs, width, 1),
        _conv_norm(width, width, 3, stride, groups=width),
        _SqueezeExcitation(width, inputs // 4),
        project,
      ]
    self.block = nn.Sequential(*layers)
    self.residual = stride == 1 and inputs == outputs

  def forward(self, x):
    return x + self.block(x) if self.residual else self.block(x)


class TorchEfficientNet(nn.Module):
  """f32[B,3,H,W] -> f32[B,num_classes]; nothing of it is random."""

  def __init__(self, name="efficientnetv2_s", num_classes=3):
    super().__init__()
    layers = [_conv_norm(3, 24, 3, 2)]
    for stage, (expansion, stride, inputs, outputs, blocks) in enumerate(
      _SETTINGS[name]
    ):
      layers.append(
        nn.Sequential(
          *(
            _Block(
              outputs if index else inputs,
              outputs,
              expansion,
              1 if index else stride,
              fused=stage < 3,
            )
            for index in range(blocks)
          )
        )
      )
    layers.append(_conv_norm(outputs, 1280, 1))
    self.features = nn.Sequential(*layers)
    self.classifier = nn.Sequential(nn.Identity(), nn.Linear(1280, num_classes))
    torch_resnet.init_convolutions(self)

  def forward(self, x):
    return self.classifier(self.features(x).mean((2, 3)))


def random_network(name: str, num_classes: int, seed: int) -> TorchEfficientNet:
  """A network with uneven BatchNorm parameters.

  Its statistics are those of some random images: with others the gates and
  shortcuts of forty blocks leave nothing of an image in the logits.
  """
  torch.manual_seed(seed)
  network = torch_resnet.with_uneven_norms(TorchEfficientNet(name, num_classes))
  norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
  for norm in norms:
    norm.momentum = 1.0
  with torch.no_grad():
    network.train()(torch.randn(32, 3, 65, 65))
  for norm in norms:
    norm.momentum = 0.1
  return network
