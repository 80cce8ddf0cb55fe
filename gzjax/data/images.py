"""Encoded images: decoded, checked, cut out and reduced."""

import io

import numpy as np
from PIL import Image


def load_image(data: bytes) -> Image.Image:
  """Decodes a whole JPEG, PNG, ... to RGB; grey and 16-bit images, too.

  Raises:
    OSError, SyntaxError or ValueError: for anything that is not a whole image.
  """
  with Image.open(io.BytesIO(data)) as image:
    image.load()
    if image.mode == "F":
      raise ValueError("floating-point pixels: save it as FITS, or with 8 bits")
    if image.mode.startswith("I;16") or image.mode == "I":
      # Scaled, not clipped.
      values = (np.asarray(image, np.uint32) >> 8).clip(0, 255)
      return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def whole_rgb(data: bytes) -> bytes:
  """Proves that an encoded image is whole and makes it RGB for all readers.

  RGB files pass through byte for byte; grey, palette and 16-bit ones become
  PNG.

  Raises:
    Exception: of many kinds, if the image is damaged or none.
  """
  with Image.open(io.BytesIO(data)) as image:
    if image.mode == "RGB":
      # A JPEG at an eighth of its size: all of its data are read, in a quarter
      # of the time.
      image.draft(None, (1, 1))
      image.load()
      return data
  return to_png(load_image(data))


def to_png(image: Image.Image) -> bytes:
  """The image as PNG."""
  buffer = io.BytesIO()
  # Against Pillow's 6: 2.5 times as fast for 12% more bytes.
  image.save(buffer, "PNG", compress_level=3)
  return buffer.getvalue()


def to_square(data: bytes, crop: int, size: int) -> np.ndarray:
  """Decodes, cuts out the centre and resizes: u8[size,size,3].

  `crop` is the edge of the central square that is kept, in pixels of the
  original; 0 keeps the largest one. It is reduced with antialiasing (Pillow's
  bilinear).
  """
  image = load_image(data)
  edge = min(crop or image.width, image.width, image.height)
  left, top = (image.width - edge) / 2, (image.height - edge) / 2
  box = (left, top, left + edge, top + edge)
  square = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
  return np.asarray(square)
