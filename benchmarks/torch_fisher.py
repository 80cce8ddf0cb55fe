"""Sums of squared per-example gradients in PyTorch, in four ways.

Each way is a function of a network on stored statistics that returns another
one: (images f32[n,3,H,W], labels i64[n]) -> {parameter name: sum of squares}.
"""

import copy
import warnings

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def loop(network):
  """One example after the other: what most published code does."""
  names, parameters = zip(*network.named_parameters(), strict=True)

  def squares(image, label):
    total = [torch.zeros_like(p) for p in parameters]
    for i in range(len(image)):
      loss = cross_entropy(network(image[i : i + 1]), label[i : i + 1])
      for t, g in zip(
        total, torch.autograd.grad(loss, parameters), strict=True
      ):
        t.addcmul_(g, g)
    return dict(zip(names, total, strict=True))

  return squares


def functional(network):
  """torch.func: vmap(grad)."""
  parameters = {n: p.detach() for n, p in network.named_parameters()}
  buffers = dict(network.named_buffers())

  def loss(parameters, image, label):
    logits = torch.func.functional_call(
      network, (parameters, buffers), (image[None],)
    )
    return cross_entropy(logits, label[None])

  gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))

  def squares(image, label):
    found = gradients(parameters, image, label)
    return {name: g.square().sum(0) for name, g in found.items()}

  return squares


def opacus(network):
  """Opacus' GradSampleModule, which keeps the gradient of each example."""
  from opacus import GradSampleModule

  # Channels first: with channels last its sums are wrong (1.6.0, the gate of
  # the benchmark found it).
  frozen = _freeze(copy.deepcopy(network)).to(
    memory_format=torch.contiguous_format
  )
  # Its hooks record nothing in eval mode; without BatchNorm the mode is void.
  module = GradSampleModule(frozen, loss_reduction="sum").train()

  def squares(image, label):
    module.zero_grad(set_to_none=True)
    with warnings.catch_warnings():
      warnings.simplefilter(
        "ignore"
      )  # about the images, which need no gradient
      logits = module(image.contiguous())
      cross_entropy(logits, label, reduction="sum").backward()
    return {
      name: p.grad_sample.square().sum(0)
      for name, p in frozen.named_parameters()
    }

  return squares


def backpack(network):
  """BackPACK's SumGradSquared."""
  import backpack as library
  from backpack.extensions import SumGradSquared

  extended = copy.deepcopy(network)
  for module in extended.modules():
    if not list(module.children()):
      library.extend(module)
  loss = library.extend(nn.CrossEntropyLoss(reduction="sum"))

  def squares(image, label):
    extended.zero_grad(set_to_none=True)
    with library.backpack(SumGradSquared()), warnings.catch_warnings():
      warnings.simplefilter("ignore")  # about hooks of torch's that it needs
      loss(extended(image), label).backward()
    return {n: p.sum_grad_squared for n, p in extended.named_parameters()}

  return squares


LOOP = "PyTorch, one by one"
WAYS = {
  LOOP: loop,
  "torch.func vmap(grad)": functional,
  "Opacus": opacus,
  "BackPACK": backpack,
}


class _FrozenNorm(nn.Module):
  """BatchNorm on stored statistics without buffers, which Opacus refuses."""

  def __init__(self, norm):
    super().__init__()
    self.weight = nn.Parameter(norm.weight.detach().clone())
    self.bias = nn.Parameter(norm.bias.detach().clone())
    self.mean = norm.running_mean.clone()[:, None, None]
    self.std = torch.sqrt(norm.running_var + norm.eps)[:, None, None]

  def forward(self, x):
    y = (x - self.mean) / self.std
    return y * self.weight[:, None, None] + self.bias[:, None, None]


def _freeze(module):
  for name, child in module.named_children():
    if isinstance(child, nn.BatchNorm2d):
      setattr(module, name, _FrozenNorm(child))
    else:
      _freeze(child)
  return module
