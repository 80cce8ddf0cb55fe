"""Equal records for equal Fishers only."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import digests, fisher

_PARAMS = {"a": np.arange(6.0).reshape(2, 3), "b": {"c": np.ones(2)}}


def _record(**changes):
  arguments = {
    "variables": _PARAMS,
    "examples": {"row": np.arange(3), "label": np.zeros(3, int)},
    "dataset": "sky/1",
    "objective": "cross_entropy",
    "kind": "true",
    "estimator": "exact",
    "key_data": np.uint32([0, 1]),
  }
  return fisher.provenance(**{**arguments, **changes})


@pytest.mark.parametrize(
  "change",
  [
    {"variables": {**_PARAMS, "a": _PARAMS["a"] + 1e-12}},
    {"variables": {**_PARAMS, "a": _PARAMS["a"].reshape(3, 2)}},
    {"variables": {**_PARAMS, "a": _PARAMS["a"].astype(np.float32)}},
    {"variables": {"x": _PARAMS["a"], "b": _PARAMS["b"]}},
    {"examples": {"row": np.arange(1, 4), "label": np.zeros(3, int)}},
    {"examples": {"row": np.arange(3), "label": np.ones(3, int)}},
    {"dataset": "sky/2"},
    {"objective": "focal"},
    {"kind": "empirical"},
    {"estimator": "signs"},
    {"key_data": np.uint32([0, 2])},
  ],
  ids=lambda change: next(iter(change)),
)
def test_every_change_shows(change):
  assert _record() == _record()
  assert _record(**change) != _record()


def test_is_json_and_does_not_ask_where_the_arrays_live():
  assert json.loads(json.dumps(_record())) == _record()
  params = {"w": jnp.arange(4.0)}
  on_host = {"w": np.arange(4.0, dtype=np.float32)}
  assert digests.of_arrays(params) == digests.of_arrays(on_host)
