"""model.weights: mistakes are found before any work; what was taken is said."""

import sys
import types

import jax
import numpy as np
import pytest
import safetensors.numpy

from gzjax import models
from gzjax.errors import UserError
from gzjax.models import pretrained
from gzjax.pipeline import stages, weights
from tests.pipeline import tiny_runs

PLAIN = {"model.small_stem": False}


def _tensors():
  """A tiny ResNet in torchvision's layout, with a head of ten classes."""
  model = models.MODELS["resnet_tiny"](num_classes=10, width=8)
  params, stats = models.init_variables(model, jax.random.key(7), 32)
  variables = {"params": params, "batch_stats": stats}
  names = jax.tree.leaves(pretrained.torch_names(variables))
  tensors = {}
  for name, value in zip(names, jax.tree.leaves(variables), strict=True):
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim)
    array = np.asarray(value)
    array = array.transpose(axes) if axes else array
    tensors[name] = np.ascontiguousarray(array)
  return tensors


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """A folder with weights that fit, and with those of a damaged network."""
  monkeypatch.chdir(tmp_path)
  safetensors.numpy.save_file(_tensors(), "w.safetensors")
  missing = _tensors()
  missing.pop("conv1.weight")
  safetensors.numpy.save_file(missing, "misfit.safetensors")
  (tmp_path / "page.bin").write_text("<html>404</html>")
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  return tmp_path


@pytest.mark.parametrize(
  ("source", "words"),
  [
    ("zoobot:w/nothere.bin", "w/nothere.bin: no such file"),
    ("nothere", "nothere: no such file"),
    ("zoobot:.", "zoobot:. is a folder"),
    (".", "such as misfit.safetensors"),
    ("zoobot:convnext_foo", "no such encoder"),
    ("zoobot:convnext_nano", "pip install 'gzjax[hub]'"),
    ("hub:timm/resnet18", "pip install 'gzjax[hub]'"),
    ("misfit.safetensors", "it lacks conv1.weight"),
    ("page.bin", "a web page"),
  ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_mistake_is_found_before_any_work(folder, source, words, frozen):
  changes = {"model.weights": source, "model.frozen": frozen}
  config = tiny_runs.config(PLAIN, changes, {"evaluate.views": 1})
  with pytest.raises(UserError) as caught:
    stages.run(config, folder / "run", data_dir=str(folder / "tfds"))
  assert str(caught.value).startswith("model.weights: ")
  assert words in str(caught.value)
  assert not (folder / "run" / "split.parquet").exists()
  assert not (folder / "tfds").exists()


def test_the_encoder_of_a_name_is_that_of_the_model(folder, monkeypatch):
  module = types.ModuleType("huggingface_hub")
  monkeypatch.setitem(sys.modules, "huggingface_hub", module)
  config = tiny_runs.config({"model.weights": "zoobot:convnext_nano"})
  with pytest.raises(UserError, match=r"--config\.model\.name=convnext_nano"):
    weights.check(config)
  config.model.name = "convnext_nano"
  weights.check(config)


def test_it_says_what_it_took(folder, capsys):
  config = tiny_runs.config(PLAIN, {"model.weights": "w.safetensors"})
  model = models.MODELS["resnet_tiny"](num_classes=3, width=8)
  fresh = models.init_variables(model, jax.random.key(0), 32)
  weights.check(config)
  weights.load(config, *fresh)
  said = capsys.readouterr().err
  assert "w.safetensors; its head (fc." in said
  assert "a fresh one learns; pixels: ImageNet's" in said
  config.model.weights = "zoobot:wrapped.safetensors"
  tensors = {
    f"module.{name}": value
    for name, value in _tensors().items()
    if not name.startswith("fc.")
  }
  safetensors.numpy.save_file(tensors, "wrapped.safetensors")
  weights.load(config, *fresh)
  said = " ".join(capsys.readouterr().err.split())
  assert "without the prefix 'module.'; it has no head" in said
  assert "pixels: 0 to 1 as they are" in said
