"""ConvNeXts and ResNets against timm, weights and all."""

import importlib.abc
import importlib.machinery
import sys
import types

import jax
import numpy as np
import pytest

from gzjax import models
from gzjax.models import pretrained

CLASSES = 5


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


class _WithoutTorchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Stands for torchvision, which timm imports and these networks do not use.

  Its wheels do not import beside a CPU build of PyTorch.
  """

  def find_spec(self, fullname, path=None, target=None):
    del path, target
    if fullname.split(".")[0] == "torchvision":
      return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
    return None

  def create_module(self, spec):
    return _Stub(spec.name)

  def exec_module(self, module):
    del module


@pytest.fixture(scope="module")
def timm():
  finder = _WithoutTorchvision()
  sys.meta_path.insert(0, finder)
  yield pytest.importorskip("timm")
  sys.meta_path.remove(finder)
  for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
    del sys.modules[name]


def _peer(timm, name, **options):
  """Random weights, so that every tensor counts: also of layer scales."""
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  peer = timm.create_model(name, pretrained=False, **options).eval()
  with torch.no_grad():
    for key, tensor in peer.state_dict().items():
      if key.endswith("gamma"):
        tensor.uniform_(0.2, 0.6)
      elif key.endswith(("bias", "running_mean")):
        tensor.normal_(0, 0.1)
      elif key.endswith(("running_var",)) or tensor.ndim == 1:
        tensor.uniform_(0.7, 1.3)
  return peer


@pytest.mark.oracle
@pytest.mark.parametrize(
  "name", [f"convnext_{x}" for x in ("pico", "nano", "tiny", "small", "base")]
)
def test_logits_of_a_convnext_equal_timms(timm, tmp_path, name):
  _check_logits(timm, tmp_path, name, "w.ckpt")


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_logits_of_a_resnet_equal_timms(timm, tmp_path, name):
  _check_logits(timm, tmp_path, name, "pytorch_model.bin")


@pytest.mark.oracle
def test_grey_logits_equal_timms(timm, tmp_path):
  _check_logits(timm, tmp_path, "convnext_pico", "w.bin", grey=True)


def _check_logits(timm, tmp_path, name, file, *, grey=False):
  import torch

  peer = _peer(timm, name, num_classes=CLASSES, in_chans=1 if grey else 3)
  torch.save({"state_dict": peer.state_dict(), "epoch": 3}, tmp_path / file)
  model = models.build(name, CLASSES, **({"grey": True} if grey else {}))
  shapes = jax.eval_shape(
    lambda key: models.init_variables(model, key, 64), jax.random.key(0)
  )
  params, stats = pretrained.load(tmp_path / file, *shapes, keep_head=True)
  image = np.random.default_rng(1).normal(size=(2, 65, 65, 3)).astype("f")
  seen = image.mean(-1, keepdims=True) if grey else image
  with torch.no_grad():
    wanted = peer(torch.tensor(seen).permute(0, 3, 1, 2)).numpy()
  got, _ = jax.jit(models.make_apply_fn(model), static_argnames="train")(
    params, stats, image, train=False
  )
  scale = np.abs(wanted).max()
  assert np.abs(wanted[0] - wanted[1]).max() > 0.01 * scale
  np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * scale)


@pytest.mark.oracle
def test_an_encoder_as_zoobot_publishes_it(timm, tmp_path):
  """No classifier, a prefix, and a fresh head of ours."""
  import torch

  peer = _peer(timm, "convnext_nano", num_classes=0)
  assert len(peer.state_dict()) == 144
  tensors = {f"encoder.{k}": v for k, v in peer.state_dict().items()}
  path = tmp_path / "pytorch_model.bin"
  torch.save(tensors, path)
  model = models.build("convnext_nano", CLASSES)
  fresh = models.init_variables(model, jax.random.key(0), 64)
  params, stats = pretrained.load(f"zoobot:{path}", *fresh)
  image = np.random.default_rng(1).uniform(size=(2, 64, 64, 3)).astype("f")
  with torch.no_grad():
    wanted = peer(torch.tensor(image).permute(0, 3, 1, 2)).numpy()
  features = models.make_feature_step(models.make_apply_fn(model))
  got = features(params, stats, {"image": image})
  np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
