"""Pretrained weights and finetuning from the command line's config."""

import re

import jax
import numpy as np
import pytest
import safetensors.numpy

from configs import demo
from gzjax import models
from gzjax.errors import UserError
from gzjax.models import pretrained
from gzjax.pipeline import stages
from gzjax.pipeline.experiment import Experiment
from gzjax.pipeline.workdir import Workdir

pytestmark = pytest.mark.usefixtures("on_one_device")


@pytest.fixture
def weights(tmp_path):
  """Weights of a tiny ResNet for ten classes, in torchvision's layout."""
  model = models.MODELS["resnet_tiny"](num_classes=10, width=8)
  params, batch_stats = models.init_variables(model, jax.random.key(7), 32)
  variables = {"params": params, "batch_stats": batch_stats}
  tensors = {}
  names = jax.tree.leaves(pretrained.torch_names(variables))
  for name, value in zip(names, jax.tree.leaves(variables), strict=True):
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim)
    array = np.asarray(value)
    tensors[name] = np.ascontiguousarray(
      array.transpose(axes) if axes else array
    )
  path = tmp_path / "resnet.safetensors"
  safetensors.numpy.save_file(tensors, path)
  return path, params


def _config(path, **changes):
  config = demo.get_config("tiny")
  config.update_from_flattened_dict(
    {
      "model.weights": str(path),
      "model.small_stem": False,
      "model.dropout": 0.5,
      "train.epochs": 1,
      **changes,
    }
  )
  return config


def _train(tmp_path, sky, config):
  place = str(tmp_path / "run")
  for stage in ("prepare", "train"):
    stages.run(config, place, stage, data_dir=str(sky))
  return Experiment(config, Workdir(place))


def test_a_frozen_backbone_keeps_the_weights_of_the_file(
  tmp_path, sky, weights
):
  path, params = weights
  config = _config(path, **{"train.frozen_epochs": 1})
  experiment = _train(tmp_path, sky, config)
  trained = jax.device_get(experiment.network("original").params)
  start = jax.device_get(experiment.problem.fresh[0])
  assert start["head"]["kernel"].shape == (16, 3)
  for layer in params:
    same = [
      np.array_equal(a, b)
      for a, b in zip(
        jax.tree.leaves(trained[layer]), jax.tree.leaves(start[layer])
      )
    ]
    assert not any(same) if layer == "head" else all(same)
    if layer != "head":
      jax.tree.map(np.testing.assert_array_equal, start[layer], params[layer])


def test_layers_learn_at_rates_of_their_own(tmp_path, sky, weights):
  path, params = weights
  changes = {"train.layer_decay": 0.5, "train.layer_rates": (("stem", 0.0),)}
  experiment = _train(tmp_path, sky, _config(path, **changes))
  trained = jax.device_get(experiment.network("original").params)
  start = jax.device_get(experiment.problem.fresh[0])
  moved = {
    layer: max(
      np.abs(a - b).max()
      for a, b in zip(
        jax.tree.leaves(trained[layer]), jax.tree.leaves(start[layer])
      )
    )
    for layer in params
  }
  for layer, distance in moved.items():
    assert (distance == 0) == layer.startswith("stem"), layer


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model.width": 16}, "resnet.safetensors"),
    ({"model.weights": "nowhere.pth"}, "nowhere.pth"),
    ({"train.layer_rates": (("neck", 0.1),)}, "no layer begins with 'neck'"),
    (
      {"train.layer_decay": 0.0},
      "train.layer_decay is 0.0: give a number above 0",
    ),
    (
      {"model.name": "efficientnetv2_s", "model.zero_gamma": True},
      "zero_gamma is True, which model.name=efficientnetv2_s does not have",
    ),
  ],
)
def test_what_does_not_fit_is_one_line(tmp_path, sky, weights, changes, words):
  config = _config(weights[0], **changes)
  with pytest.raises(UserError, match=re.escape(words)) as error:
    _train(tmp_path, sky, config)
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run" / "train" / "checkpoints").exists()
