"""ConvNeXts of timm, as peers of the benchmarks and oracles of the tests.

timm imports torchvision, whose wheels do not import beside a CPU build of
PyTorch, and of which these networks use nothing: something stands for it.
Install it by `pip install --no-deps timm`, or pip puts a CUDA build of PyTorch
in the place of another one.
"""

from collections.abc import Iterator
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any


def _anything(owner, name: str):
  """A class that has whatever it is asked for, and none of it works."""
  if name.startswith("__"):
    raise AttributeError(name)
  return _Anything(name, (), {})


class _Anything(type):
  __getattr__ = _anything


class _Stub(types.ModuleType):
  __path__ = ()
  __getattr__ = _anything


class _InPlaceOfTorchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  def find_spec(self, fullname, path=None, target=None):
    del path, target
    if fullname.split(".")[0] == "torchvision":
      return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
    return None

  def create_module(self, spec):
    return _Stub(spec.name)

  def exec_module(self, module):
    del module


@contextlib.contextmanager
def without_torchvision() -> Iterator[Any]:
  """timm, imported without torchvision.

  Raises:
    ImportError: if timm is not installed.
  """
  finder = _InPlaceOfTorchvision()
  sys.meta_path.insert(0, finder)
  try:
    yield importlib.import_module("timm")
  finally:
    sys.meta_path.remove(finder)
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
      del sys.modules[name]


def random_network(name: str, seed: int, **options: Any) -> Any:
  """A network of timm in evaluation mode whose every tensor counts.

  Random weights, among them layer scales, which begin at next to nothing.
  """
  import torch

  with without_torchvision() as timm:
    torch.manual_seed(seed)
    network = timm.create_model(name, pretrained=False, **options).eval()
  with torch.no_grad():
    for key, tensor in network.state_dict().items():
      if key.endswith("gamma"):
        tensor.uniform_(0.2, 0.6)
      elif key.endswith(("bias", "running_mean")):
        tensor.normal_(0, 0.1)
      elif key.endswith("running_var") or tensor.ndim == 1:
        tensor.uniform_(0.7, 1.3)
  return network
