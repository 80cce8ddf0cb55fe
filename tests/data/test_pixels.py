"""A cache of pixels that is whole or absent, and goes on where it was."""

import errno
import json

import numpy as np
import pytest

from gzjax.data import pixels
from gzjax.errors import UserError
from tests.data.test_images import RGB, encode


def _cache(path, records, count=None):
  return pixels.cached_pixels(
    path,
    lambda start: iter(records[start:]),
    count or len(records),
    crop=0,
    size=8,
  )


def _grey(count):
  return [encode(np.full((8, 8, 3), i, np.uint8)) for i in range(count)]


def test_cache_decodes_once_and_keeps_the_order(tmp_path):
  got = _cache(tmp_path / "pixels", _grey(100))
  np.testing.assert_array_equal(got[:, 0, 0, 0], np.arange(100))
  again = pixels.cached_pixels(
    tmp_path / "pixels", lambda _: pytest.fail("decoded"), 100, crop=0, size=8
  )
  np.testing.assert_array_equal(again, got)
  assert isinstance(again, np.memmap)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    "pixels.json",
    "pixels.lock",
    "pixels.npy",
  ]


class _KilledError(Exception):
  pass


def _killed_after(records, count):
  yield from records[:count]
  raise _KilledError


def test_a_killed_decode_goes_on_where_it_was(tmp_path):
  records = _grey(200)
  with pytest.raises(_KilledError):
    pixels.cached_pixels(
      tmp_path / "pixels",
      lambda start: _killed_after(records, 150),
      200,
      crop=0,
      size=8,
    )
  assert not (tmp_path / "pixels.json").exists()
  partial = tmp_path / "pixels.partial.npy"
  # Half an image more, as a kill in the middle of a write leaves it.
  with partial.open("ab") as file:
    file.write(b"x" * 100)
  starts = []

  def rest(start):
    starts.append(start)
    return iter(records[start:])

  got = pixels.cached_pixels(tmp_path / "pixels", rest, 200, crop=0, size=8)
  np.testing.assert_array_equal(got[:, 3, 3, 1], np.arange(200))
  assert 0 < starts[0] <= 150
  assert not partial.exists()
  pixels.verify(tmp_path)


def test_pixels_are_hashed_as_they_are_written(tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(
      pixels.digests, "of_file", lambda _: pytest.fail("read once more")
    )
    _cache(tmp_path / "pixels", _grey(70))
    _cache(tmp_path / "pixels", [], 70)
  pixels.verify(tmp_path)


def test_a_partial_file_too_short_for_its_header_is_begun_again(tmp_path):
  (tmp_path / "pixels.partial.npy").write_bytes(b"\x93NUM")
  got = _cache(tmp_path / "pixels", _grey(5))
  np.testing.assert_array_equal(got[:, 0, 0, 0], np.arange(5))


def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path, monkeypatch):
  records = _grey(90)

  def full(items, total, title):
    for i, item in enumerate(items):
      if i == 70:
        raise OSError(errno.ENOSPC, "No space left on device")
      yield item

  monkeypatch.setattr(pixels, "progress", full)
  with pytest.raises(UserError, match="is full after 70 of 90 images: make"):
    _cache(tmp_path / "pixels", records)
  monkeypatch.undo()
  got = pixels.cached_pixels(
    tmp_path / "pixels",
    lambda start: iter(records[start:]) if start == 70 else pytest.fail("lost"),
    90,
    crop=0,
    size=8,
  )
  np.testing.assert_array_equal(got[:, 0, 0, 0], np.arange(90))


def test_damaged_cache_is_named(tmp_path):
  _cache(tmp_path / "pixels", [encode(RGB)] * 3)
  damaged = tmp_path / "pixels.npy"
  data = bytearray(damaged.read_bytes())
  data[-1] ^= 1
  damaged.write_bytes(data)
  with pytest.raises(UserError, match=r"pixels\.npy is damaged"):
    _cache(tmp_path / "pixels", [])
  assert json.loads((tmp_path / "pixels.json").read_text())["size"] == 8


def test_rows_read_as_the_array_they_select():
  array = np.random.default_rng(1).integers(0, 256, (9, 4, 4, 3), np.uint8)
  chosen = np.array([7, 2, 2, 5])
  rows = pixels.SelectedImages(array, chosen)
  wanted = array[chosen]
  assert rows.shape == wanted.shape
  assert rows.nbytes == wanted.nbytes
  assert len(rows) == 4
  np.testing.assert_array_equal(np.asarray(rows), wanted)
  np.testing.assert_array_equal(rows[np.array([3, 0])], wanted[[3, 0]])
  np.testing.assert_array_equal(rows[1], wanted[1])


def test_channel_statistics_are_numpys():
  image = np.random.default_rng(2).integers(0, 256, (20, 5, 5, 3), np.uint8)
  image[..., 1] //= 3
  rows = np.array([3, 4, 11, 0, 19])
  mean, std = pixels.channel_statistics(image, rows, chunk=2)
  wanted = image[rows] / 255
  np.testing.assert_allclose(mean, wanted.mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(std, wanted.std((0, 1, 2)), rtol=1e-9)
