"""What a table may tell besides labels: places, splits and crops."""

import numpy as np
import pandas as pd

from gzjax.data.bad_images import BadImageError
from gzjax.data.galaxy_catalog.images import shorter_side
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import UserError
from gzjax.morphology.splits import SPLITS

SPLIT_NAMES = {
  **dict.fromkeys(("train", "training"), "train"),
  **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
  **dict.fromkeys(("test", "testing"), "test"),
}
_LARGEST_CROP = 2**31 - 1  # pixels; no image is wider


def places(rows: TableRows, ra: str, dec: str) -> dict[str, np.ndarray]:
  """Where on the sky N galaxies are.

  Returns:
    ra and dec, f64[N] in degrees, NaN in empty cells; an empty dictionary if no
    column is named.

  Raises:
    UserError: if only one of the two is there, or a cell is no angle.
  """
  if not ra and not dec:
    return {}
  if not ra or not dec:
    other = "dec" if ra else "ra"
    raise UserError(
      f"{rows.path} has no column for {other} to go with {ra or dec!r}: name "
      f"it as {other}_column."
    )
  return {"ra": _degrees(rows, ra, 0, 360), "dec": _degrees(rows, dec, -90, 90)}


def splits(rows: TableRows, name: str) -> pd.Series:
  """The split of each galaxy, one of `SPLITS`, which must all occur.

  The column has their names, in any case; val, valid and dev are validation.

  Raises:
    UserError: naming the first row with another value, or the missing split.
  """
  rows.refuse_empty(name)
  split = rows.text(name).str.lower().map(SPLIT_NAMES)
  rows.refuse(
    split.isna().to_numpy(bool),
    lambda i: f"{rows.cell(name, i)}, none of {', '.join(SPLITS)}",
    "correct the row",
  )
  missing = [wanted for wanted in SPLITS if wanted not in set(split)]
  if missing:
    raise UserError(
      f"{rows.path}: column {name!r} puts no galaxy into {missing[0]}: use all "
      f"of {', '.join(SPLITS)}, or no split_column for a random split."
    )
  return split


def add_crops(frame: pd.DataFrame, rows: TableRows, name: str) -> list[str]:
  """Adds `crop`, the edges of the squares to cut out, if a column is named.

  i64[N], whole pixels of the image files; of the frame `id_str` and `path` are
  read. Says how many crops are larger than their images, if any.

  Raises:
    UserError: naming the first row without a number above 0.
  """
  if not name:
    return []
  edges = rows.numbers(name)
  rows.refuse(
    ~(np.isfinite(edges) & (edges > 0)),
    lambda i: f"{rows.cell(name, i)}, not a number of pixels above 0",
    "give the edge of the square to cut out, in pixels of the image",
  )
  frame["crop"] = np.rint(edges).clip(1, _LARGEST_CROP).astype(np.int64)
  names = zip(frame["id_str"], frame["path"], strict=True)
  sides = [_side(i, *name) for i, name in enumerate(names, 1)]
  larger = frame["crop"].to_numpy() > np.array(sides)
  if not larger.any():
    return []
  i = int(larger.argmax())
  return [
    f"crops larger than their images, clipped: {larger.sum()}, first in row "
    f"{i + 1} (id {frame['id_str'].iloc[i]})"
  ]


def _side(row: int, id_str: str, path: str) -> float:
  """Of what is no image, infinite: that is told with all others of its kind."""
  try:
    return shorter_side(row, id_str, path)
  except BadImageError:
    return np.inf


def _degrees(rows, name, low, high):
  values = rows.numbers(name)
  rows.refuse(
    ~rows.empty(name) & ~((values >= low) & (values <= high)),
    lambda i: f"{rows.cell(name, i)}, not an angle between {low} and {high}",
    "give decimal degrees, or leave the cell empty",
  )
  return values
