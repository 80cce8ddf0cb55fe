"""The same object again, and no mistake where nothing can be kept."""

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
