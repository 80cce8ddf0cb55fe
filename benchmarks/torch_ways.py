"""What is timed of PyTorch's, from the same weights, at its best.

Channels last, autocast, fused SGD where the device has it, cuDNN's own choice
of algorithms (`cudnn.benchmark`), TF32 for float32 products
(`set_float32_matmul_precision("high")`), images on the device.
"""

from collections.abc import Callable
import copy
import importlib.metadata
import time
from typing import Any

import numpy as np
import torch

from benchmarks import timing, torch_fisher, torch_resnet
from benchmarks.ways import (
  CLASSES,
  GATE_STEPS,
  LEARNING_RATE,
  Problem,
  Setting,
  Way,
)

_PEERS = ("opacus", "backpack-for-pytorch", "timm")


def device() -> str:
  """The GPU, if there is one."""
  return "cuda" if torch.cuda.is_available() else "cpu"


def prepare() -> None:
  """Settings of the process that make PyTorch faster than its defaults."""
  torch.backends.cudnn.benchmark = True
  torch.set_float32_matmul_precision("high")


def make_network(setting: Setting) -> Any:
  """The peer of ours, with random weights, in evaluation mode."""
  return torch_resnet.peer(setting.model, CLASSES, 0, setting.width)


def train_step(
  problem: Problem, steps: int = 1, mode: str | None = None
) -> Way:
  """So many steps; the result is the losses of the first ones.

  The mode is that of `torch.compile`; None: eager.
  """
  network, forward = _make_forward(problem, mode)
  network.train()
  start = copy.deepcopy(network.state_dict())
  step = _make_step(network, forward)

  def run():
    for _ in range(steps):
      loss = step()
    return float(loss)  # waits for the device

  def result():
    network.load_state_dict(start)
    fresh = _make_step(network, forward)
    return [float(fresh()) for _ in range(GATE_STEPS)]

  count, seconds = problem.setting.batch, _seconds(lambda: float(step()))
  return Way(run, steps * count, result, count, None, seconds)


def predict(problem: Problem, steps: int = 1, mode: str | None = None) -> Way:
  """Logits on stored statistics; the result is their mean loss."""
  network, forward = _make_forward(problem, mode)
  network.eval()

  @torch.inference_mode()
  def ask():
    return forward().clone()

  def run():
    for _ in range(steps):
      loss = ask()
    return float(loss)

  seconds = _seconds(lambda: float(ask()))
  count = problem.setting.batch
  return Way(run, steps * count, lambda: [run()], count, None, seconds)


def _make_forward(problem, mode):
  """(network, () -> mean loss), compiled where there is a mode."""
  where, setting = device(), problem.setting
  network = copy.deepcopy(problem.network)
  network = network.to(where, memory_format=torch.channels_last)
  image, label = _inputs(problem)

  def forward():
    with torch.autocast(where, torch.bfloat16, enabled=setting.bf16):
      logits = network(image)
    return torch.nn.functional.cross_entropy(logits.float(), label)

  if mode is None:
    return network, forward
  # "eager" is no mode: the tests compile nothing with it, and need no compiler.
  how = {"backend": mode} if mode == "eager" else {"mode": mode}
  ready = torch.compile(forward, dynamic=False, **how)

  def marked():
    # CUDA graphs write each step into the memory of the one before.
    torch.compiler.cudagraph_mark_step_begin()
    return ready()

  return network, marked


def _make_step(network, forward):
  """() -> loss, with an optimizer that has seen nothing."""
  optimizer = torch.optim.SGD(
    network.parameters(),
    lr=LEARNING_RATE,
    momentum=0.9,
    fused=device() == "cuda",
  )

  def step():
    optimizer.zero_grad(set_to_none=True)
    loss = forward()
    loss.backward()
    optimizer.step()
    return loss.detach().clone()

  return step


def fisher(name: str, problem: Problem, at_once: int = 0) -> Way:
  """A way of `torch_fisher.WAYS`; its result is like ours, 0: all at once."""
  where, count = device(), problem.setting.batch
  at_once = at_once or count
  network = copy.deepcopy(problem.network).eval()
  network = network.to(where, memory_format=torch.channels_last)
  image, label = _inputs(problem)
  squares = torch_fisher.WAYS[name](network)

  def run():
    total: dict[str, Any] = {}
    for i in range(0, count, at_once):
      part = squares(image[i : i + at_once], label[i : i + at_once])
      total = {n: total[n] + s if total else s for n, s in part.items()}
    wait()
    return total

  def result():
    return torch_resnet.to_flax(run(), {"params": problem.params})["params"]

  # A loop takes one at a time, however many it is given.
  return Way(run, count, result, 1 if name == torch_fisher.LOOP else at_once)


def versions() -> dict[str, str]:
  """Of PyTorch and what is built on it, where it is installed."""
  found = {"torch": torch.__version__}
  for package in _PEERS:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def peak_bytes(run: Callable[[], object]) -> int | None:
  """What a run needs beyond what was held before, at the worst moment."""
  if not torch.cuda.is_available():
    return timing.peak_bytes(run)
  torch.cuda.reset_peak_memory_stats()
  before = torch.cuda.memory_allocated()
  run()
  wait()
  return torch.cuda.max_memory_allocated() - before


def wait() -> None:
  """Until the device has done what it was told."""
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def forget() -> None:
  """Frees memory and compiled programs that nothing uses any more."""
  torch.compiler.reset()
  if torch.cuda.is_available():
    torch.cuda.empty_cache()


def _inputs(problem):
  """The batch in PyTorch: images with their channels last, labels."""
  image = torch.tensor(np.asarray(problem.batch["image"])).permute(0, 3, 1, 2)
  image = image.to(device()).contiguous(memory_format=torch.channels_last)
  label = torch.tensor(np.asarray(problem.batch["label"]), dtype=torch.long)
  return image, label.to(device())


def _seconds(run):
  start = time.perf_counter()
  run()
  wait()
  return time.perf_counter() - start
