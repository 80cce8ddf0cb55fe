"""The store of this process keeps the last state and the best one."""

import jax.numpy as jnp
import numpy as np
import pytest

from gzjax.training.store import Memory
from gzjax.types import Cost, TrainState


def _kept(scores, *, best):
  store = Memory()
  for number, score in enumerate(scores, 1):
    params = {"w": jnp.full(2, number)}
    state = TrainState(jnp.zeros(()), params, {"m": jnp.ones(1)}, ())
    store.save(number, state, Cost(), score, {})
    params["w"].delete()  # as a donated state's are
  params, batch_stats = store.networks(best=best)
  np.testing.assert_array_equal(batch_stats["m"], 1)
  return int(params["w"][0])


@pytest.mark.parametrize(
  ("scores", "best"),
  [
    ([1.0], 1),
    ([1.0, 3.0, 2.0], 2),
    ([3.0, 1.0, 2.0, 1.5], 1),
    ([1.0, 2.0, 3.0], 3),
    # Of equally good ones the later, whatever came after.
    ([2.0, 2.0], 2),
    ([2.0, 2.0, 1.0], 2),
  ],
)
def test_keeps_last_and_best(scores, best):
  assert _kept(scores, best=True) == best
  assert _kept(scores, best=False) == len(scores)


def test_an_empty_store_resumes_nothing():
  store, state = Memory(), TrainState(jnp.zeros(()), {}, {}, ())
  assert store.networks(best=True) is None
  assert store.resume(state, {}) == (state, Cost(), 0)


def test_keeps_the_log():
  store = Memory()
  store.log(4, 1, "train", loss=0.5)
  assert store.lines == [{"step": 4, "epoch": 1, "split": "train", "loss": 0.5}]
