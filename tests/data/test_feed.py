"""Batches: reproducible order, padding, host and device paths alike."""

import collections

import jax
import numpy as np
import pytest

from gzjax.data import feed
from gzjax.data.augment import Augmentation, normalise
from gzjax.errors import UserError
from gzjax.threads import bounded_map

N = 37
IMAGE = np.random.default_rng(0).integers(0, 256, (N, 6, 6, 3), np.uint8)
LABEL = np.arange(N) % 3


def test_training_rows_depend_on_seed_and_epoch_alone():
  members = np.arange(5, 35)
  one = feed.training_rows(members, 8, seed=1, epoch=2)
  same = feed.training_rows(members, 8, seed=1, epoch=2)
  assert [list(rows) for rows, _ in one] == [list(rows) for rows, _ in same]
  for seed, epoch in ((1, 3), (2, 2)):
    other = feed.training_rows(members, 8, seed, epoch)
    assert list(other[0][0]) != list(one[0][0])


def test_training_rows_are_full_and_distinct():
  rows = feed.training_rows(np.arange(5, 35), 8, seed=0, epoch=0)
  seen = np.concatenate([index for index, _ in rows])
  assert len(rows) == 3
  assert len(set(seen)) == 24
  assert set(seen) <= set(range(5, 35))
  assert all(valid.all() for _, valid in rows)


def test_every_member_gets_its_turn():
  members = np.arange(30)
  seen = {
    row
    for epoch in range(12)
    for rows, _ in feed.training_rows(members, 8, 0, epoch)
    for row in rows
  }
  assert seen == set(range(30))


# 70, 20 and 3 galaxies of the classes 0, 2 and 5, somewhere in a data set.
OF_CLASS = dict(
  zip(
    (0, 2, 5),
    np.split(np.random.default_rng(1).permutation(93) + 7, [70, 90]),
    strict=True,
  )
)


def _balanced(size, batch_size, seed=0, epoch=0):
  """The rows of each batch, i[steps,batch_size]."""
  members = np.concatenate(list(OF_CLASS.values()))
  label = np.repeat(list(OF_CLASS), [len(m) for m in OF_CLASS.values()])
  rows = feed.balanced_rows(members, label, size, batch_size, seed, epoch)
  assert all(valid.tolist() == [1] * batch_size for _, valid in rows)
  assert all(index.dtype == np.int32 for index, _ in rows)
  return np.stack([index for index, _ in rows])


def _counts(rows):
  """Of galaxies by class: how often each one is there."""
  found = collections.Counter(rows.ravel().tolist())
  return {
    k: [found[row] for row in members.tolist()]
    for k, members in OF_CLASS.items()
  }


def test_balanced_rows_depend_on_seed_and_epoch_alone():
  one = _balanced(48, 16, seed=1, epoch=2)
  np.testing.assert_array_equal(one, _balanced(48, 16, seed=1, epoch=2))
  for seed, epoch in ((1, 3), (2, 2)):
    assert np.any(_balanced(48, 16, seed, epoch) != one)


@pytest.mark.parametrize(
  ("size", "batch_size", "steps"), [(96, 16, 6), (100, 16, 6), (40, 8, 5)]
)
def test_balanced_rows_have_as_many_of_each_class(size, batch_size, steps):
  rows = _balanced(size, batch_size)
  assert rows.shape == (steps, batch_size)
  totals = {k: sum(counts) for k, counts in _counts(rows).items()}
  assert sum(totals.values()) == steps * batch_size
  for k, total in totals.items():
    assert abs(total - steps * batch_size / 3) < 1, k
    for batch in rows:
      assert abs(sum(_counts(batch)[k]) - batch_size / 3) < 1


def test_of_rare_classes_all_are_drawn_before_any_is_drawn_again():
  order = _balanced(96, 16).ravel()
  for end in range(1, 97):
    for counts in _counts(order[:end]).values():
      assert max(counts) - min(counts) <= 1
  counts = _counts(order)
  assert set(counts[0]) == {0, 1}
  assert set(counts[2]) == {1, 2}
  assert set(counts[5]) == {10, 11}


def test_each_pass_over_a_class_has_a_new_order():
  order = _balanced(96, 16).ravel()
  rare = order[np.isin(order, OF_CLASS[5])]
  passes = [tuple(rare[i : i + 3]) for i in range(0, 30, 3)]
  assert all(len(set(one)) == 3 for one in passes)
  assert len(set(passes)) > 1


def test_of_abundant_classes_all_get_their_turn_in_some_epoch():
  counts = [_counts(_balanced(96, 16, epoch=e))[0] for e in range(12)]
  assert min(np.sum(counts, axis=0)) > 0


def test_more_classes_than_examples_are_refused():
  with pytest.raises(UserError, match=r"balanced_to is 2.* at least 3"):
    _balanced(2, 2)


def test_ordered_rows_pad_the_last_batch():
  rows = feed.ordered_rows(np.arange(10, 20), 8)
  index = np.concatenate([i for i, _ in rows])
  valid = np.concatenate([v for _, v in rows])
  np.testing.assert_array_equal(index[valid > 0], np.arange(10, 20))
  assert len(index) == 16
  assert feed.ordered_rows(np.arange(0), 8) == []


def _feed(mesh, budget):
  return feed.Feed(IMAGE, {"label": LABEL}, mesh, device_budget_bytes=budget)


@pytest.mark.parametrize("augmented", [False, True])
def test_host_and_device_paths_give_the_same_batches(mesh, augmented):
  rows = feed.ordered_rows(np.arange(N), 16)
  options = {"key": jax.random.key(3)}
  if augmented:
    options["augmentation"] = Augmentation(180.0, True, 1.2, 0.1)
  on_device, on_host = _feed(mesh, 1e9), _feed(mesh, 0)
  assert on_device.on_device
  assert not on_host.on_device
  for a, b in zip(
    on_device.batches(rows, **options),
    on_host.batches(rows, **options),
    strict=True,
  ):
    assert a.keys() == b.keys() == {"image", "label", "valid", "id"}
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert not a["image"].sharding.is_fully_replicated


def test_batches_hold_the_rows_asked_for(mesh):
  rows = feed.ordered_rows(np.array([5, 3, 8]), 8)
  (batch,) = _feed(mesh, 1e9).batches(rows)
  np.testing.assert_array_equal(batch["id"][:3], [5, 3, 8])
  np.testing.assert_array_equal(batch["label"][:3], LABEL[[5, 3, 8]])
  np.testing.assert_array_equal(batch["valid"], [1, 1, 1, 0, 0, 0, 0, 0])
  np.testing.assert_allclose(
    batch["image"][:3], normalise(IMAGE[[5, 3, 8]]), atol=1e-6
  )


def test_threads_keep_order_and_pass_errors_on():
  found = bounded_map(lambda x: x * x, range(5), window=2)
  assert list(found) == [0, 1, 4, 9, 16]
  with pytest.raises(ZeroDivisionError):
    list(bounded_map(lambda x: 1 // x, [1, 0], window=2))


@pytest.mark.parametrize("budget", [0, 1e9])
def test_more_entries_follow_their_galaxies(mesh, budget):
  rows = feed.ordered_rows(np.array([5, 3, 8]), 8)
  extra = {"suggestion": LABEL[::-1], "logits": np.eye(N, 3, dtype=np.float32)}
  (batch,) = _feed(mesh, budget).batches(rows, extra=extra)
  np.testing.assert_array_equal(
    batch["suggestion"][:3], extra["suggestion"][[5, 3, 8]]
  )
  np.testing.assert_array_equal(batch["logits"][:3], extra["logits"][[5, 3, 8]])
