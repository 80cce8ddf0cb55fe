"""audit/review.html: one offline file in which a person reviews suspects."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gzjax.errors import SettingError
from gzjax.files import write_text
from gzjax.report import cells
from gzjax.report.figures import encoded_uri
from gzjax.report.templates import part, source_of, template

_NEEDED = (
  "id_str",
  "given_label",
  "suggested_label",
  "probability_wrong",
  "verdict",
  "corrected_label",
  "note",
)
# From the percentage on; as the IPCC speaks of the likely (Mastrandrea et al.
# 2010, table 1).
_WORDS = (
  (90, "very probably wrong"),
  (66, "probably wrong"),
  (33, "may be wrong"),
  (0, "probably right"),
)
_ODD = 0.95  # share of galaxies that are less odd, from which on it is said
_SURVEY = (
  "https://www.legacysurvey.org/viewer"
  "?ra={:.6f}&dec={:.6f}&layer=ls-dr9&zoom=16"
)


class Neighbour(NamedTuple):
  """A galaxy that looks like a suspect."""

  id_str: str
  given_label: str
  image: bytes  # a small JPEG or PNG


def write(
  path: Path,
  table: pd.DataFrame,
  *,
  run: str,
  classes: Sequence[str],
  total: int,
  wrong: tuple[float, float, float] | None,
  image: Callable[[str], bytes],
  neighbours: Callable[[str], Sequence[Neighbour]],
) -> None:
  """Writes the page of the first suspects.

  Args:
    path: of the page.
    table: the first rows of suspects.csv, worst first, text or numbers. The
      page exports these columns, verdict, corrected_label and note as the
      person left them; ra and dec (degrees, missing where unknown), for links
      to the sky, and odder (0 to 1, the share of galaxies that are less odd)
      are not exported.
    run: name of the audit; the browser keeps the review under it.
    classes: K names, in the order of their keys 1 to 9.
    total: labels of the whole catalogue.
    wrong: how many of them are wrong, and a 95% interval; None if not known.
    image: id_str -> JPEG or PNG as it was recorded.
    neighbours: id_str -> galaxies of the same look, nearest first.

  Raises:
    SettingError: `table` lacks a column or has a galaxy twice, or an image is
      neither JPEG nor PNG.
  """
  _check(table)
  script, style = (part(f"review.{kind}.jinja") for kind in ("js", "css"))
  text = template("review.html.jinja").render(
    script=script,
    style=style,
    script_hash=source_of(script),
    style_hash=source_of(style),
    data={
      "run": run,
      "classes": list(classes),
      **_galaxies(table, image, neighbours),
    },
    shown=len(table),
    total=total,
    wrong=wrong,
  )
  write_text(path, text)


def probability_words(probability: Any) -> str:
  """Such as "probably wrong (70%)"; of 0 to 1 as a number or as text."""
  value = _number(probability)
  if np.isnan(value):
    return "probability unknown"
  percent = round(100 * value)
  words = next(words for least, words in _WORDS if percent >= least)
  # Nothing here is certain.
  shown = {0: "under 1", 100: "over 99"}.get(percent, percent)
  return f"{words} ({shown}%)"


def oddity_words(odder: Any) -> str:
  """Of the share of galaxies, 0 to 1, that are less odd; "" if few are not."""
  value = _number(odder)
  if not value >= _ODD:
    return ""
  return f"like no other: odder than {min(99, int(100 * value))}% of galaxies"


def survey_link(ra: Any, dec: Any) -> str | None:
  """The Legacy Survey's viewer at a place in degrees; None if there is none."""
  ra, dec = _number(ra), _number(dec)
  if not (0 <= ra <= 360 and -90 <= dec <= 90):
    return None
  return _SURVEY.format(ra, dec)


def _check(table: pd.DataFrame) -> None:
  missing = [name for name in _NEEDED if name not in table]
  if missing:
    raise SettingError(
      f"table lacks {', '.join(missing)}: give the columns of suspects.csv"
    )
  again = table["id_str"][table["id_str"].duplicated()]
  if len(again):
    raise SettingError(
      f"table has galaxy {again.iloc[0]!r} twice: give each a single row"
    )


def _galaxies(table, image, neighbours) -> dict[str, Any]:
  """What review.js.jinja reads of the galaxies; each picture stands once."""
  index: dict[str, int] = {}

  def picture(encoded: bytes, name: str) -> int:
    return index.setdefault(encoded_uri(encoded, name), len(index))

  exported = table.drop(columns=["ra", "dec", "odder"], errors="ignore")
  exported = exported.map(lambda value: str(cells.or_else(value, "")))
  unknown = [None] * len(table)
  galaxies = [
    {
      "picture": picture(image(name), name),
      "words": probability_words(probability),
      "survey": survey_link(ra, dec),
      "odd": oddity_words(odder),
      "neighbours": [
        [other.id_str, other.given_label, picture(other.image, other.id_str)]
        for other in neighbours(name)
      ],
    }
    for name, probability, ra, dec, odder in zip(
      exported["id_str"],
      table["probability_wrong"],
      table.get("ra", unknown),
      table.get("dec", unknown),
      table.get("odder", unknown),
    )
  ]
  return {
    "columns": list(exported),
    "rows": exported.to_numpy().tolist(),
    "galaxies": galaxies,
    "pictures": list(index),
  }


def _number(value: Any) -> float:
  """A number or its text; NaN for all else."""
  return float(pd.to_numeric(value, errors="coerce"))
