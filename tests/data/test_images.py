"""Encoded images: cut out, reduced, made RGB, and found damaged."""

import io
import zlib

import numpy as np
from PIL import Image
import pytest

from gzjax.data import images

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def encode(array, kind="PNG", **options):
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, kind, **options)
  return buffer.getvalue()


def test_crop_is_the_central_square():
  got = images.to_square(encode(RGB), crop=10, size=10)
  np.testing.assert_array_equal(got, RGB[5:15, 10:20])


def test_no_crop_is_the_largest_central_square():
  got = images.to_square(encode(RGB), crop=0, size=20)
  np.testing.assert_array_equal(got, RGB[:, 5:25])


def test_reduction_is_antialiased():
  board = (np.indices((20, 20)).sum(0) % 2 * 255).astype(np.uint8)
  got = images.to_square(encode(np.stack([board] * 3, -1)), 0, 5)
  assert 100 < got.min() <= got.max() < 155


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -200])
def test_a_truncated_image_is_found(kind, keep):
  # As large as the real ones: Pillow reads files of this size in pieces.
  noise = np.random.default_rng(0).integers(0, 256, (424, 424, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(noise).save(buffer, kind)
  data = buffer.getvalue()
  assert images.whole_rgb(data) is data
  end = int(len(data) * keep) if isinstance(keep, float) else keep
  with pytest.raises((OSError, SyntaxError, ValueError)):
    images.whole_rgb(data[:end])


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16"])
def test_other_modes_become_rgb_png(mode):
  kind = {"CMYK": "JPEG", "L": "JPEG"}.get(mode, "PNG")
  grey = Image.new("RGB", (16, 16), (99, 99, 99))
  if mode == "I;16":
    image = Image.fromarray(np.full((16, 16), 99 * 257, np.uint16))
  else:
    image = grey.quantize() if mode == "P" else grey.convert(mode)
  buffer = io.BytesIO()
  image.save(buffer, kind)
  with Image.open(io.BytesIO(images.whole_rgb(buffer.getvalue()))) as found:
    assert (found.format, found.mode) == ("PNG", "RGB")
    np.testing.assert_allclose(np.asarray(found), 99, atol=1)


def test_floating_point_pixels_are_refused():
  data = encode(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "TIFF")
  with pytest.raises(ValueError, match="save it as FITS"):
    images.whole_rgb(data)


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (12, 16), (16, 256)])
def test_16_bits_are_scaled_by_those_that_are_used(bits, scale):
  levels = np.arange(256, dtype=np.uint16) * scale
  assert levels.max() < 2**bits
  got = images.load_image(encode(np.tile(levels, (4, 1))))
  np.testing.assert_array_equal(np.asarray(got)[0, :, 0], np.arange(256))


@pytest.mark.fault("E")
def test_only_known_formats_are_opened(tmp_path):
  """Pillow would start Ghostscript for the first one."""
  postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
  for data in (postscript, b"P6 1 1 255 abc", b"plain text", b""):
    with pytest.raises(ValueError, match="none of JPEG, PNG"):
      images.whole_rgb(data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
  ("edge", "words"), [(8500, "says 8500 x 8500 pixels"), (2**30, "size")]
)
@pytest.mark.fault("E")
def test_a_declared_size_takes_no_memory(edge, words):
  data = bytearray(encode(RGB))
  data[16:24] = edge.to_bytes(4) * 2  # width and height of a PNG
  data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
  with pytest.raises(ValueError, match=words):
    images.load_image(bytes(data))
