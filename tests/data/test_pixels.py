"""Decoding: formats, crops, and a cache that is whole or absent."""

import io
import json

import numpy as np
from PIL import Image
import pytest

from gzjax.data import pixels
from gzjax.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def encode(array, kind="PNG", **options):
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, kind, **options)
  return buffer.getvalue()


def test_crop_is_the_central_square():
  got = pixels.to_square(encode(RGB), crop=10, size=10)
  np.testing.assert_array_equal(got, RGB[5:15, 10:20])


def test_no_crop_is_the_largest_central_square():
  got = pixels.to_square(encode(RGB), crop=0, size=20)
  np.testing.assert_array_equal(got, RGB[:, 5:25])


def test_reduction_is_antialiased():
  board = (np.indices((20, 20)).sum(0) % 2 * 255).astype(np.uint8)
  got = pixels.to_square(encode(np.stack([board] * 3, -1)), 0, 5)
  assert 100 < got.min() <= got.max() < 155


@pytest.mark.parametrize(
  ("array", "wanted"),
  [
    (np.full((8, 8), 77, np.uint8), 77),  # grey
    (np.full((8, 8), 77 * 257, np.uint16), 77),  # grey, 16 bits
    (np.full((8, 8, 4), 77, np.uint8), 77),  # transparent
  ],
)
def test_other_modes_become_rgb(array, wanted):
  data = encode(array)
  assert not pixels.is_rgb(data)
  got = np.asarray(pixels.load_image(data))
  assert got.shape == (8, 8, 3)
  np.testing.assert_array_equal(got, wanted)


def _cache(path, records):
  return pixels.cached_pixels(
    path, lambda: iter(records), len(records), crop=0, size=8
  )


def test_cache_decodes_once_and_keeps_the_order(tmp_path):
  records = [encode(np.full((8, 8, 3), i, np.uint8)) for i in range(100)]
  got = _cache(tmp_path / "pixels", records)
  np.testing.assert_array_equal(got[:, 0, 0, 0], np.arange(100))
  again = pixels.cached_pixels(
    tmp_path / "pixels", lambda: pytest.fail("decoded"), 100, crop=0, size=8
  )
  np.testing.assert_array_equal(again, got)
  assert isinstance(again, np.memmap)


def test_a_killed_decode_is_not_taken_for_whole(tmp_path):
  records = [encode(RGB)] * 5

  def killed():
    yield records[0]
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    pixels.cached_pixels(tmp_path / "pixels", killed, 5, crop=0, size=8)
  assert _cache(tmp_path / "pixels", records).shape == (5, 8, 8, 3)


def test_damaged_cache_is_named(tmp_path):
  _cache(tmp_path / "pixels", [encode(RGB)] * 3)
  damaged = tmp_path / "pixels.npy"
  data = bytearray(damaged.read_bytes())
  data[-1] ^= 1
  damaged.write_bytes(data)
  with pytest.raises(UserError, match=r"pixels\.npy does not match"):
    _cache(tmp_path / "pixels", [])
  assert json.loads((tmp_path / "pixels.json").read_text())["size"] == 8
