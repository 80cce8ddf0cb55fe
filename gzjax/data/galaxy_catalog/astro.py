"""The file formats of astronomy, read by astropy when one is met."""

import importlib
from pathlib import Path
from typing import Any

from gzjax.errors import UserError

_FITS = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")
_VOTABLE = (".vot", ".xml", ".votable", ".vot.gz", ".xml.gz", ".votable.gz")


def is_fits(path: Path) -> bool:
  """Whether the name says that it is a FITS file."""
  return path.name.lower().endswith(_FITS)


def is_votable(path: Path) -> bool:
  """Whether the name says that it is a VOTable."""
  return path.name.lower().endswith(_VOTABLE)


def astropy(module: str, path: Path) -> Any:
  """Imports a part of astropy, an extra that only some files need.

  Args:
    module: such as "io.fits".
    path: the file that needs it, for the error message.

  Raises:
    UserError: if astropy is not installed.
  """
  try:
    return importlib.import_module(f"astropy.{module}")
  except ImportError as error:
    raise UserError(
      f"{path} can only be read with astropy: pip install 'gzjax[astro]'."
    ) from error
