"""Every key of the config against nonsense: one line, before any work."""

import copy
import math

from gzjax.configs import demo
import ml_collections
import pandas as pd
import pytest

from gzjax import registry
from gzjax.errors import UserError
from gzjax.pipeline import checks, defaults
from gzjax.unlearning import table
from gzjax.unlearning.methods import METHODS
from tests.command_line import launch

NONSENSE = {
  "NaN": math.nan,
  "infinite": math.inf,
  "huge": 1e300,
  "more than 64 bits": 10**30,
  "negative": -5,
  "slightly negative": -1e-6,
  "another type": [None],
  "nothing": None,
}


def _keys():
  """Full name -> (default, annotation)."""
  found = {k: (x.default, x.annotation) for k, x in defaults.keys().items()}
  for name, row in METHODS.items():
    if row.make:
      continue
    usual = table.default_settings(name)
    for key, annotation in table.annotations(name).items():
      found[f"unlearn.{name}.{key}"] = usual[key], annotation
  return found


KEYS = _keys()
# Sections of keys of train, which are checked one by one.
RECIPES = (
  "audit.train",
  "unlearn.elr",
  "unlearn.retrain",
  "unlearn.retrain_elr",
)


USUAL = defaults.get_config().to_dict()


def _refused(name, value):
  values = copy.deepcopy(USUAL)
  section, _, key = name.rpartition(".")
  (checks.get(values, section) if section else values)[key] = value
  method = section.removeprefix("unlearn.")
  if method in METHODS:  # also of one that is not run by default
    values["unlearn"]["methods"] = (method,)
  with pytest.raises(UserError) as refused:
    checks.check_config(ml_collections.ConfigDict(values))
  return str(refused.value)


@pytest.mark.parametrize("name", [x for x in KEYS if x not in RECIPES])
@pytest.mark.fault("C")
def test_nonsense_is_one_line_that_names_the_key(name):
  usual, allowed = KEYS[name]
  registry.check(name, usual, allowed)
  # Nothing of this is a right value of any key.
  assert not any(registry.holds(x, allowed) for x in NONSENSE.values())
  said = _refused(name, NONSENSE["NaN"])
  assert said.startswith(f"{name} is nan: ")
  assert "\n" not in said


@pytest.mark.parametrize("section", RECIPES)
def test_keys_of_other_recipes_are_checked_too(section):
  said = _refused(section, {"learning_rate": math.nan})
  assert said.startswith(f"{section}.learning_rate is nan: give a number")


def test_the_demo_beside_stored_statistics():
  config = demo.get_config("stored")
  checks.check_config(config)
  twice = [x for x in config.unlearn.methods if x.endswith("_stored")]
  assert len(twice) > 5
  for name in twice:
    stored, usual = (
      config.unlearn[x].to_dict() for x in (name, name.removesuffix("_stored"))
    )
    assert stored == usual | {"batch_stats": "stored"}
    assert stored != usual
  with pytest.raises(ValueError, match="no variant 'other'"):
    demo.get_config("other")


@pytest.mark.slow
def test_the_quick_demo_shows_what_unlearning_is(tmp_path):
  """It learns its wrong labels, and a cheap method is worth its work."""
  done = launch("--config=demo:quick", f"--workdir={tmp_path / 'run'}")
  assert done.returncode == 0, done.stderr
  table = pd.read_csv(tmp_path / "run" / "scoreboard.csv").set_index("method")
  forget = table["forget_accuracy"]
  assert forget["original"] > 0.5 > 0.2 > forget["negative_learning"]
  assert table["cost_vs_retrain"]["negative_learning"] < 0.5
  assert (tmp_path / "run" / "report.html").exists()
