"""What the head gets to see: with its weights it gives the logits."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from gzjax import models
from tests import networks
from tests.problems import Net

SIZE = 24
NETWORKS = {
  "resnet_tiny": {"width": 4, "small_stem": True},
  "efficientnetv2_tiny": {"width": 16},
  "cnn": {"width": 8},
}


def _found(model, size=SIZE):
  """(features, logits, params) of some images."""
  rng = np.random.default_rng(0)
  image = rng.normal(size=(4, size, size, 3)).astype(np.float32)
  params, batch_stats = models.init_variables(model, jax.random.key(1), size)
  apply_fn = models.make_apply_fn(model)
  seen, logits = (
    make(apply_fn)(params, batch_stats, {"image": image})
    for make in (models.make_feature_step, models.make_predict_step)
  )
  return jax.device_get((seen, logits, params))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_makes_the_logits_of_the_features(name):
  model = models.build(name, 3, **NETWORKS[name])
  seen, logits, params = _found(model)
  head = params["head"]
  np.testing.assert_allclose(
    seen @ head["kernel"] + head["bias"], logits, atol=1e-5
  )


def test_networks_side_by_side_are_seen_side_by_side():
  model = models.build("cnn", 5, (2, 3), width=8, per_question=True)
  seen, logits, params = _found(model)
  parts = np.split(seen, 2, axis=1)
  found = [
    part @ params["head"][f"net{i}"]["kernel"]
    + params["head"][f"net{i}"]["bias"]
    for i, part in enumerate(parts)
  ]
  np.testing.assert_allclose(np.concatenate(found, axis=1), logits, atol=1e-5)


def test_any_linen_network_ends_in_its_last_dense_layer():
  seen, logits, params = _found(Net(), networks.SIZE)
  head = params["head"]
  assert seen.shape == (4, 32)
  np.testing.assert_allclose(
    seen @ head["kernel"] + head["bias"], logits, atol=1e-5
  )


class Pooled(nn.Module):
  @nn.compact
  def __call__(self, image):
    return nn.Conv(3, (3, 3))(image).mean(axis=(1, 2))


def test_a_network_without_a_dense_layer_has_no_features():
  with pytest.raises(ValueError, match="no dense layer"):
    _found(Pooled())
