"""The same object again, and no mistake where nothing can be kept."""

import jax
import jax.numpy as jnp
import numpy as np

from gzjax.remembered import remembered


def test_equal_arguments_give_the_same_object():
  make = remembered(lambda *args, **settings: [args, settings])
  assert make((1, 2), head="softmax") is make((1, 2), head="softmax")
  assert make((1, 2), head="softmax") is not make((1, 2), head="sigmoid")


def test_of_arguments_without_a_hash_nothing_is_kept():
  make = remembered(lambda *args, **settings: [args, settings])
  for args, settings in (([1],), {}), ((1,), {"crowds": [3, 4]}):
    assert make(*args, **settings) == [args, settings]
    assert make(*args, **settings) is not make(*args, **settings)


def test_what_is_made_inside_a_trace_can_be_used_outside():
  @remembered
  def shifted_by(shift):
    array = jnp.full(3, shift)
    return lambda x: x + array

  jax.eval_shape(lambda x: shifted_by(2.0)(x), jnp.ones(3))
  np.testing.assert_array_equal(shifted_by(2.0)(jnp.ones(3)), 3.0)
  jax.jit(jax.grad(lambda x: jnp.sum(shifted_by(5.0)(x))))(jnp.ones(3))
  np.testing.assert_array_equal(shifted_by(5.0)(jnp.ones(3)), 6.0)
