"""FITS images to pictures of 8 bits, by astropy, which only some files need."""

from collections.abc import Generator
import contextlib
import dataclasses
import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from gzjax.data.images import MOST_PIXELS
from gzjax.errors import SettingError, UserError

_ENDINGS = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")


@dataclasses.dataclass(frozen=True)
class Stretch:
  """How fluxes become brightness.

  Raises:
    SettingError: for what cannot be, by its name among the settings of a
      catalogue.
  """

  planes: str = "rgb"  # the colours of three planes, in their order
  white: float = 99.7  # percentile of the flux that becomes white
  softening: float = 10.0  # Q: larger ones show fainter light

  def __post_init__(self):
    if sorted(self.planes) != sorted("rgb"):
      raise SettingError(
        f"fits_planes is {self.planes!r}: give the colours of the three planes "
        "in their order, such as 'rgb' or 'bgr'."
      )
    if not 0 < self.white <= 100:
      raise SettingError(
        f"fits_white is {self.white}: give a percentile above 0, at most 100."
      )
    if self.softening <= 0:
      raise SettingError(
        f"fits_softening is {self.softening}: give a number above 0."
      )


DEFAULT = Stretch()


def is_fits(path: Path) -> bool:
  """Whether the name says that it is a FITS file."""
  return path.name.lower().endswith(_ENDINGS)


def astropy(module: str, path: Path) -> Any:
  """Imports a part of astropy, such as "io.fits", to read a file.

  Raises:
    UserError: if astropy is not installed.
  """
  try:
    return importlib.import_module(f"astropy.{module}")
  except ImportError as error:
    raise UserError(
      f"{path} can only be read with astropy: pip install 'gzjax[astro]'."
    ) from error


def read_fits_image(path: Path, stretch: Stretch) -> np.ndarray:
  """Reads the first image of a FITS file; see `asinh_rgb`.

  It has one plane (grey) or three; plane axis first in NumPy's order, so
  NAXIS3 = 3. Of the result, u8[H,W,3], the first row is the top, FITS's last.

  Raises:
    UserError: without the image, if it has another shape or only NaN.
  """
  with first_image(path) as unit:
    # Cubes of radio surveys have axes of length 1.
    flux = np.squeeze(unit.data.astype(np.float64))
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

  f[P,H,W] of one plane or three (red, green, blue), in any unit -> u8[H,W,3];
  pixels that are not finite become sky.
  """
  finite = np.isfinite(flux)
  sky = np.nanmedian(np.where(finite, flux, np.nan), axis=(1, 2), keepdims=True)
  light = np.where(finite, flux - sky, 0).clip(min=0)
  mean = light.mean(axis=0)
  # A few bright pixels on an empty background: the percentile is the sky.
  white = np.percentile(mean, stretch.white) or mean.max() or 1.0
  scaled = mean / white
  q = stretch.softening
  bright = np.arcsinh(q * scaled) / np.arcsinh(q)
  picture = light / white * (bright / np.where(scaled > 0, scaled, 1))
  picture /= picture.max(axis=0).clip(min=1)
  bytes_ = np.rint(255 * picture).astype(np.uint8)
  return np.broadcast_to(bytes_, (3, *mean.shape)).transpose(1, 2, 0)


@contextlib.contextmanager
def first_image(path: Path) -> Generator[Any]:
  """Opens the first image of a FITS file: its header and, if asked for, data.

  Raises:
    UserError: if it holds no image.
  """
  fits = astropy("io.fits", path)
  with path.open("rb") as file, fits.open(file, memmap=False) as units:
    found = next((unit for unit in units if unit.is_image and unit.shape), None)
    if found is None:
      raise UserError(
        f"{path} holds no image: give a FITS file with an image or take the "
        "row out of the catalogue."
      )
    if math.prod(found.shape) > 3 * MOST_PIXELS:
      raise UserError(
        f"{path} has a header of {' x '.join(map(str, found.shape))} pixels: "
        "cut the galaxies out, or take the row out of the catalogue."
      )
    yield found
