"""The image files of a catalogue, checked, as they are recorded."""

from pathlib import Path

from PIL import Image

from gzjax.data import bad_images
from gzjax.data.galaxy_catalog import fits_images
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.images import (
  check_bytes,
  load_image,
  open_image,
  to_png,
  whole_rgb,
)


def read_image(
  row: int,
  id_str: str,
  file: str,
  crop: int = 0,
  stretch: Stretch = fits_images.DEFAULT,
) -> bytes:
  """The encoded image of a row, decodable by anything as RGB.

  RGB files that are not cut pass through byte for byte; grey, palette and
  16-bit ones, FITS images and cuts become PNG. `crop` is the edge of the
  central square that is kept, in pixels of the file, clipped to the image; 0
  keeps the whole image.

  Raises:
    BadImageError: naming the row and its id, for what is no whole image.
  """
  path = Path(file)
  with _named(row, id_str, file):
    if fits_images.is_fits(path):
      rgb = fits_images.read_fits_image(path, stretch)
      return to_png(_cut(Image.fromarray(rgb), crop))
    check_bytes(path.stat().st_size)
    data = path.read_bytes()
    if not crop:
      return whole_rgb(data)
    image = load_image(data)
    cut = _cut(image, crop)
    return whole_rgb(data) if cut is image else to_png(cut)


def shorter_side(row: int, id_str: str, file: str) -> int:
  """Pixels of the shorter side of an image, from its header.

  Raises:
    BadImageError: if the file has no header of an image.
  """
  path = Path(file)
  with _named(row, id_str, file):
    if fits_images.is_fits(path):
      with fits_images.images(path) as (unit,):
        return min(unit.shape[-2:])
    with open_image(path) as image:
      return min(image.size)


def _cut(image, crop):
  """The central square; the image itself where there is nothing to cut."""
  edge = min(crop, *image.size)
  if not crop or image.size == (edge, edge):
    return image
  left, top = (image.width - edge) // 2, (image.height - edge) // 2
  return image.crop((left, top, left + edge, top + edge))


def _named(row: int, id_str: str, file: str):
  """Says in which row an error is."""
  return bad_images.naming(
    f"row {row} (id {id_str})",
    file,
    "fetch it again or take the row out of the catalogue",
  )
