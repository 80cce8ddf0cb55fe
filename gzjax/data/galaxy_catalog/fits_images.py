"""FITS images to pictures of 8 bits."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gzjax.data.galaxy_catalog import astro
from gzjax.errors import UserError


class Stretch(NamedTuple):
  """How fluxes become brightness."""

  planes: str = "rgb"  # the colours of three planes, in their order
  white: float = 99.7  # percentile of the flux that becomes white
  softening: float = 10.0  # Q: larger ones show fainter light


DEFAULT = Stretch()


def check_stretch(stretch: Stretch) -> None:
  """Checks what a user set.

  Raises:
    UserError: naming the key of the config.
  """
  if sorted(stretch.planes) != sorted("rgb"):
    raise UserError(
      f"data.fits_planes is {stretch.planes!r}: give the colours of the three "
      "planes in their order, such as 'rgb' or 'bgr'."
    )
  if not 0 < stretch.white <= 100:
    raise UserError(
      f"data.fits_white is {stretch.white}: give a percentile above 0, at most "
      "100."
    )
  if stretch.softening <= 0:
    raise UserError(
      f"data.fits_softening is {stretch.softening}: give a number above 0."
    )


def read_fits_image(path: Path, stretch: Stretch) -> np.ndarray:
  """Reads the first image of a FITS file.

  Args:
    path: of an image of one plane (grey) or three; plane axis first in NumPy's
      order, so NAXIS3 = 3.
    stretch: see `asinh_rgb`.

  Returns:
    u8[H,W,3]; the first row is the top, FITS's last.

  Raises:
    UserError: without the image, if it has another shape or only NaN.
  """
  flux = _read_flux(path)
  if flux.ndim == 2:
    flux = flux[None]
  elif flux.ndim == 3 and len(flux) == 3:
    flux = flux[[stretch.planes.index(colour) for colour in "rgb"]]
  else:
    raise UserError(
      f"{path} holds an image of shape {flux.shape}: give one plane (height, "
      "width) or three (3, height, width)."
    )
  if not np.isfinite(flux).any(axis=(1, 2)).all():
    raise UserError(
      f"{path} has a plane without a single finite pixel: fetch it again or "
      "take the row out of the catalogue."
    )
  return asinh_rgb(flux, stretch)[::-1]


def asinh_rgb(flux: np.ndarray, stretch: Stretch) -> np.ndarray:
  """The asinh stretch that keeps colours, of Lupton et al. (2004).

  The median of each plane is its sky and becomes black. With the mean flux I of
  the planes over the sky, in units of its `white` percentile, a plane x becomes
  x asinh(Q I) / (I asinh(Q)); a pixel with a plane above 1 is divided by it.

  Args:
    flux: f[P,H,W] of one plane or three (red, green, blue), in any unit; pixels
      that are not finite become sky.
    stretch: see `Stretch`.

  Returns:
    u8[H,W,3].
  """
  finite = np.isfinite(flux)
  sky = np.nanmedian(np.where(finite, flux, np.nan), axis=(1, 2), keepdims=True)
  light = np.where(finite, flux - sky, 0).clip(min=0)
  mean = light.mean(axis=0)
  # A few bright pixels on an empty background: the percentile is the sky.
  white = np.percentile(mean, stretch.white) or mean.max() or 1.0
  scaled = mean / white
  bright = np.arcsinh(stretch.softening * scaled) / np.arcsinh(
    stretch.softening
  )
  picture = light / white * (bright / np.where(scaled > 0, scaled, 1))
  picture /= picture.max(axis=0).clip(min=1)
  bytes_ = np.rint(255 * picture).astype(np.uint8)
  return np.broadcast_to(bytes_, (3, *mean.shape)).transpose(1, 2, 0)


def shape(path: Path) -> tuple[int, ...]:
  """Of the first image of a FITS file, from its header, in NumPy's order.

  Raises:
    UserError: if it holds no image.
  """
  fits = astro.astropy("io.fits", path)
  with fits.open(path, memmap=False) as units:
    return _first_image(units, path).shape


def _read_flux(path):
  fits = astro.astropy("io.fits", path)
  with fits.open(path, memmap=False) as units:
    # Cubes of radio surveys have axes of length 1.
    return np.squeeze(_first_image(units, path).data.astype(np.float64))


def _first_image(units, path):
  for unit in units:
    if unit.is_image and unit.shape:
      return unit
  raise UserError(
    f"{path} holds no image: give a FITS file with an image or take the row "
    "out of the catalogue."
  )
