"""ConvNeXts and ResNets against timm, weights and all."""

import jax
import numpy as np
import pytest

from gzjax import models
from gzjax.models import pretrained

CLASSES = 5


@pytest.fixture(scope="module")
def random_network():
  pytest.importorskip("torch")
  from benchmarks import timm_networks

  try:
    with timm_networks.without_torchvision():
      pass
  except ImportError:
    pytest.skip("pip install --no-deps timm")
  return timm_networks.random_network


@pytest.mark.oracle
@pytest.mark.parametrize(
  "name", [f"convnext_{x}" for x in ("pico", "nano", "tiny", "small", "base")]
)
def test_logits_of_a_convnext_equal_timms(random_network, tmp_path, name):
  _check_logits(random_network, tmp_path / "w.ckpt", name)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_logits_of_a_resnet_equal_timms(random_network, tmp_path, name):
  _check_logits(random_network, tmp_path / "pytorch_model.bin", name)


@pytest.mark.oracle
def test_grey_logits_equal_timms(random_network, tmp_path):
  _check_logits(random_network, tmp_path / "w.bin", "convnext_pico", grey=True)


def _check_logits(random_network, path, name, *, grey=False):
  import torch

  channels = 1 if grey else 3
  peer = random_network(name, 0, num_classes=CLASSES, in_chans=channels)
  torch.save({"state_dict": peer.state_dict(), "epoch": 3}, path)
  model = models.build(name, CLASSES, **({"grey": True} if grey else {}))
  shapes = jax.eval_shape(
    lambda key: models.init_variables(model, key, 64), jax.random.key(0)
  )
  params, stats = pretrained.load(path, *shapes, keep_head=True)
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
def test_an_encoder_as_zoobot_publishes_it(random_network, tmp_path):
  """No classifier, a prefix, and a fresh head of ours."""
  import torch

  peer = random_network("convnext_nano", 0, num_classes=0)
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
