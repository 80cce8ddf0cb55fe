"""What a network was made from: settings by name, all else by digest."""

from contextlib import nullcontext

import pytest

from gzjax.errors import UserError
from gzjax.files import write_json
from gzjax.pipeline import defaults, origin

MODEL = defaults.get_config().model.to_dict()
NOW = {
  "training set": "abc",
  "recipe": {"seed": 0, "model": MODEL, "train": {"epochs": 5, "zoom": 1.1}},
  "settings": {"batch_size": 64, "finetune": {"checks": 1}},
}


@pytest.mark.parametrize(
  ("before", "words"),
  [
    ({}, ""),
    ({"training set": "def"}, r"another training set: delete"),
    (
      {"recipe": {**NOW["recipe"], "train": {"epochs": 4, "zoom": 1.1}}},
      r"another recipe \(train.epochs was 4, is 5\)",
    ),
    (
      {"settings": {"batch_size": 32, "finetune": {"checks": 1}}},
      r"other settings \(batch_size was 32, is 64\)",
    ),
    # Keys that the record lacks are younger and stood at their defaults.
    ({"recipe": {**NOW["recipe"], "train": {"epochs": 5}}}, ""),
    ({"recipe": {"seed": 0, "model": {}, "train": {"epochs": 5}}}, ""),
    (
      {"recipe": {"seed": 0, "model": MODEL, "train": {}}},
      "train.epochs was 20, is 5",
    ),
    ({"settings": {"batch_size": 64, "finetune": {}}}, ""),
    ({"recipe": "digest of an earlier version"}, ""),
  ],
)
def test_another_origin_is_named(tmp_path, before, words):
  write_json(tmp_path / origin.NAME, {**NOW, **before})
  expected = pytest.raises(UserError, match=words) if words else nullcontext()
  with expected:
    origin.check(tmp_path, NOW)


def test_a_run_without_a_record_is_taken_as_it_is(tmp_path):
  origin.check(tmp_path, NOW)
