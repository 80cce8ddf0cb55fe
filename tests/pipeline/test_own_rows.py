"""Rows of a user's own config file, registered in any order."""

import importlib.util
import json
import re

import numpy as np
import pytest

from gzjax import models
from gzjax.errors import UserError
from gzjax.morphology import labels, noise
from gzjax.pipeline import checks, defaults
from gzjax.unlearning import METHODS
from tests.command_line import ROOT

_FILE = '''
import flax.linen as nn
import numpy as np

from gzjax import models
from gzjax.morphology import labels, noise
from gzjax.pipeline import defaults
from gzjax.unlearning import Row, register
from gzjax.unlearning.gradient_methods import finetune


class Tiny(nn.Module):
  outputs: int
  neurons: int

  @nn.compact
  def __call__(self, image, train: bool):
    x = nn.relu(nn.Dense(self.neurons)(image.reshape(len(image), -1)))
    return nn.Dense(self.outputs, name="head")(x)


def tiny(outputs, questions, *, neurons: int = 8):
  """Two layers.

  Args:
    neurons: of the first one.
  """
  return Tiny(outputs, neurons)


def next_class(rng, label, evidence, classes, *, steps: int = 1):
  rows = np.arange(len(label))
  return noise.Proposals(rows, (label + steps) % len(classes))


def smooth_or_not(votes, *, least: float = 0.5):
  is_smooth = votes.shares[:, 0] > least
  return labels.Choice(
    ("other", "smooth"),
    np.stack([~is_smooth, is_smooth], axis=1).astype(float),
    is_smooth.astype(int),
    np.isnan(votes.shares[:, 0]),
    votes.tree.questions[0].name,
  )


def add():
  models.NETWORKS.register("tiny", tiny)
  noise.NOISE_MODELS.register("next", next_class)
  labels.SCHEMES.register("smooth_or_not", smooth_or_not)
  register("mine", Row(finetune, {"learning_rate": 0.0}))


def get_config(order=""):
  if order == "before":
    add()
  config = defaults.get_config()
  if order == "after":
    add()
  config.data.builder = "galaxy_synthetic"
  config.model.name = "tiny"
  config.flips.kind = "next"
  config.labels.kind = "smooth_or_not"
  config.unlearn.methods = ("retrain", "mine")
  return config
'''


@pytest.fixture(params=["before", "after"])
def config(request, tmp_path, monkeypatch):
  tables = models.NETWORKS, noise.NOISE_MODELS, labels.SCHEMES, METHODS
  for table in tables:
    monkeypatch.setattr(table, "_rows", dict(table))
  path = tmp_path / "own_rows.py"
  path.write_text(_FILE)
  spec = importlib.util.spec_from_file_location("own_rows", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config(request.param)
  config.lock()
  return config


def test_own_rows_have_their_keys_and_may_be_named(config):
  checks.check_config(config)
  assert config.is_locked
  assert config.model.neurons == 8
  assert config.flips.steps == 1
  assert config.labels.least == 0.5
  assert config.unlearn.mine.method == "mine"
  assert config.unlearn.mine.learning_rate == 1e-3
  config.model.neurons = 5
  checks.check_config(config)
  assert config.model.neurons == 5
  assert defaults.meanings()["model.neurons"] == "of the first one"
  settings = models.NETWORKS.take("tiny", config.model)
  assert models.build("tiny", 3, **settings).neurons == 5


def test_own_noise_flips_labels(config):
  defaults.complete(config)
  settings = noise.NOISE_MODELS.take("next", config.flips)
  model = noise.FlipModel("next", ("a", "b", "c"), 0, settings)
  label = [0, 1, 2] * 20
  found = noise.wrong_labels(model, np.asarray(label), noise.Evidence())
  assert list(found.wrong) == [1, 2, 0] * 20


@pytest.mark.parametrize(
  ("key", "value", "words"),
  [
    ("model.name", "tinny", "model.name is 'tinny': choose one of resnet_tiny"),
    ("flips.kind", "nxt", "flips.kind is 'nxt': choose one of uniform"),
    ("labels.kind", "smoth", "labels.kind is 'smoth': choose one of column"),
    ("model.hidden", 7, "model.hidden is 7, which model.name=tiny does not"),
    ("labels.threshold", 0.3, "labels.threshold is 0.3, which labels.kind="),
  ],
)
def test_a_mistake_is_one_line(config, key, value, words):
  section, _, last = key.partition(".")
  config[section][last] = value
  with pytest.raises(UserError, match=re.escape(words)) as error:
    checks.check_config(config)
  assert "\n" not in str(error.value)


def _flat(section, prefix=""):
  for name, value in section.items():
    if isinstance(value, dict) and value:
      yield from _flat(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value


def test_every_key_has_a_meaning():
  found = dict(_flat(defaults.get_config().to_dict()))
  said = defaults.meanings()
  assert set(said) == set(found)
  assert all(said.values())


def test_the_usual_values_stay_as_they_are():
  """Flags of users; a change is a new line in default_config.json."""
  path = ROOT / "tests" / "pipeline" / "default_config.json"
  found = dict(_flat(defaults.get_config().to_dict()))
  assert json.loads(json.dumps(found)) == json.loads(path.read_text())


def test_sections_replaced_by_others_stay_as_they_are():
  config = defaults.get_config()
  section = defaults.method_section("published_gradient_ascent")
  config.unlearn.gradient_ascent = section
  before = section.to_dict()
  defaults.complete(config)
  assert config.unlearn.gradient_ascent.to_dict() == before


def test_configs_share_nothing():
  first, second = defaults.get_config(), defaults.get_config()
  first.unlearn.retrain.epochs = 3
  assert not second.unlearn.retrain
