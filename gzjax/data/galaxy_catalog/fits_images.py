"""FITS images to pictures of 8 bits, by astropy, which only some files need."""

from collections.abc import Generator, Sequence
import contextlib
import dataclasses
import importlib
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from gzjax.data.images import MOST_PIXELS
from gzjax.errors import SettingError, UserError
from gzjax.registry import Rule

_MOST_PLANES = 5  # of an image with as many pixels as any may have
_MOST_NAMED = 12  # planes, of which somebody may know the colours
_ENDINGS = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")


Extension = Annotated[
  str | int,
  Rule(
    lambda x: isinstance(x, str | int) and not isinstance(x, bool),
    "give names or numbers, such as \"('Z', 'R', 'G')\" or (3, 2, 1)",
  ),
]


@dataclasses.dataclass(frozen=True)
class Stretch:
  """How fluxes become brightness.

  Raises:
    SettingError: for what cannot be, by its name among the settings of a
      catalogue.
  """

  # The colour of each plane in their order; "-" is a plane that is not shown.
  planes: str = "rgb"
  white: float = 99.7  # percentile of the flux that becomes white
  softening: float = 10.0  # Q: larger ones show fainter light
  # Names or numbers of the HDUs with the image, or with a plane each; (): the
  # first image of the file.
  extensions: tuple[Extension, ...] = ()

  def __post_init__(self):
    if sorted(self.planes.replace("-", "")) != sorted("rgb"):
      raise SettingError(
        f"fits_planes is {self.planes!r}: give the colour of each plane in "
        "their order, such as 'rgb', or 'bgr-' of the bands g, r, i and z."
      )
    if len(self.extensions) not in (0, 1, len(self.planes)):
      raise SettingError(
        f"fits_extensions is {self.extensions}: name one, or one for each of "
        f"the {len(self.planes)} planes of fits_planes."
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
  """Reads the image of a FITS file; see `asinh_rgb`.

  It has one plane (grey) or those of the stretch, which may lie in an HDU each;
  plane axis first in NumPy's order, so NAXIS3 is their number. Of the result,
  u8[H,W,3], the first row is the top, FITS's last.

  Raises:
    SettingError: for other planes or HDUs than the stretch names.
    UserError: without an image, or if it has only NaN.
  """
  with images(path, stretch.extensions) as units:
    # Cubes of radio surveys have axes of length 1.
    parts = [np.squeeze(unit.data.astype(np.float64)) for unit in units]
  shapes = {part.shape for part in parts}
  if len(shapes) > 1:
    raise UserError(
      f"{path} holds planes of shapes {' and '.join(map(str, shapes))}: give "
      "planes of one size."
    )
  flux = parts[0] if len(parts) == 1 else np.stack(parts)
  count = len(stretch.planes)
  if flux.ndim == 2:
    flux = flux[None]
  elif flux.ndim == 3 and len(flux) == count:
    flux = flux[[stretch.planes.index(colour) for colour in "rgb"]]
  else:
    raise _other_planes(path, flux.shape, stretch)
  if not np.isfinite(flux).any(axis=(1, 2)).all():
    raise UserError(
      f"{path} has a plane without a single finite pixel: fetch it again or "
      "take the row out of the catalogue."
    )
  return asinh_rgb(flux, stretch)[::-1]


def _other_planes(
  path: Path, shape: tuple[int, ...], stretch: Stretch
) -> SettingError:
  """Says which planes there are, and what would name them."""
  count = shape[0] if len(shape) == len("rgb") else 0
  usual = "bgr".ljust(count, "-")
  fits_planes = 3 <= count <= _MOST_NAMED
  mend = (
    f"give the colours of its planes, such as {usual!r} of bands from blue to "
    "red"
    if fits_planes
    else f"give one plane (height, width) or {len(stretch.planes)}, planes "
    "first, or the colours of its planes"
  )
  return SettingError(
    f"fits_planes is {stretch.planes!r}, and {path} holds an image of shape "
    f"{shape}: {mend}."
  )


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
def images(
  path: Path, extensions: Sequence[str | int] = ()
) -> Generator[list[Any]]:
  """Opens images of a FITS file: their headers and, if asked for, data.

  Of the HDUs with these names or numbers (from 0 on); (): the first image.

  Raises:
    SettingError: if it has no such HDU.
    UserError: if it holds no image.
  """
  fits = astropy("io.fits", path)
  with path.open("rb") as file, fits.open(file, memmap=False) as units:
    shown = [unit for unit in units if unit.is_image and unit.shape]
    if not shown:
      raise UserError(
        f"{path} holds no image: give a FITS file with an image or take the "
        "row out of the catalogue."
      )
    by_name = {str(number): unit for number, unit in enumerate(units)}
    by_name |= {unit.name: unit for unit in units if unit.name}
    names = [str(name).upper() for name in extensions]
    if not all(by_name.get(name) in shown for name in names):
      raise SettingError(
        f"fits_extensions is {tuple(extensions)}, and {path} has no image in "
        f"each of {', '.join(names)} (it has {_images_in(units, shown)}): name "
        "others."
      )
    found = [by_name[name] for name in names] or shown[:1]
    size = max((unit.shape for unit in found), key=math.prod)
    if math.prod(size) > _MOST_PLANES * MOST_PIXELS:
      raise UserError(
        f"{path} has a header of {' x '.join(map(str, size))} pixels: "
        "cut the galaxies out, or take the row out of the catalogue."
      )
    yield found


def _images_in(units: Sequence[Any], shown: Sequence[Any]) -> str:
  """The numbers and names of the HDUs with an image."""
  return ", ".join(
    f"{number} {unit.name}".strip()
    for number, unit in enumerate(units)
    if unit in shown
  )
