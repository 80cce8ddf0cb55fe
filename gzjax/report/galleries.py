"""Cards of galaxies; each picture is in the page once."""

from collections.abc import Callable
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from gzjax.files import read_json
from gzjax.report import cells, figures
from gzjax.report.review_page import probability_words

# Narrower pictures are enlarged, in squares as they are.
_COARSE = 150


class Card(NamedTuple):
  """A galaxy of a gallery; without an image where another card shows it."""

  row: int
  id_str: str
  image: str  # data URI
  is_coarse: bool
  lines: list[str]


class Galleries:
  """The galleries of a page, which know what was shown before."""

  def __init__(
    self, workdir: Path, split: pd.DataFrame, picture: Callable[[str], bytes]
  ):
    """Of a run, its galaxies and id_str -> JPEG or PNG as recorded."""
    self._workdir, self._split, self._picture = workdir, split, picture
    self._shown: set[int] = set()

  def suspects(self, count: int, chosen: str | None) -> list[Card]:
    """The most suspicious labels, and what the chosen network makes of them.

    Once there are networks, those to forget come first.
    """
    names = ("given_label", "suggested_label", "probability_wrong")
    table = pd.read_parquet(
      self._workdir / "audit" / "scores.parquet",
      columns=["label_score", *names],
    )
    kept = (self._split["set"] != "forget").to_numpy() if chosen else True
    order = ["kept", "label_score"]
    table = table.assign(kept=kept).sort_values(order, kind="stable")
    said = self._before_and_after(chosen)
    return [
      self._card(
        row,
        f"label {suspect.given_label} → {suspect.suggested_label}",
        *([f"network {said(row)}"] if chosen else []),
        f"{probability_words(suspect.probability_wrong)}, {self._place(row)}",
        *self._truth(row),
      )
      for row, suspect in zip(table.index[:count], table.itertuples())
    ]

  def changed(self, count: int, chosen: str) -> list[Card]:
    """Others whose class the network changed; the forget set comes first."""
    before, after = (
      self._predicted(x).fillna("") for x in ("original", chosen)
    )
    rows = np.flatnonzero(before != after)
    rows = rows[~np.isin(rows, list(self._shown))]
    of_set = self._split["set"]
    rows = rows[np.argsort(of_set.iloc[rows] != "forget", kind="stable")]
    said = self._before_and_after(chosen)
    return [
      self._card(
        row,
        f"network {said(row)}",
        f"given {self._split['train_label'].iloc[row]}, {self._place(row)}",
        *self._truth(row),
      )
      for row in rows[:count].tolist()
    ]

  def described(self) -> list[Card]:
    """What the original network says about some galaxies of validation."""
    said = read_json(self._workdir / "evaluate" / "cards.json") or []
    return [self._card(card["row"], *card["lines"]) for card in said]

  def _card(self, row: int, *lines: str) -> Card:
    name = self._split["id_str"].iloc[row]
    if row in self._shown:
      return Card(row, name, "", False, list(lines))
    self._shown.add(row)
    encoded = self._picture(name)
    is_coarse = _width(encoded) < _COARSE
    uri = figures.encoded_uri(encoded, name)
    return Card(row, name, uri, is_coarse, list(lines))

  def _place(self, row: int) -> str:
    """The set of a training galaxy, else its split."""
    galaxy = self._split.iloc[row]
    return cells.or_else(galaxy["set"], galaxy["split"])

  def _truth(self, row: int) -> list[str]:
    """In a benchmark, whether the label was made wrong on purpose."""
    if "true_label" not in self._split:
      return []
    galaxy = self._split.iloc[row]
    if not galaxy["flipped"]:
      return ["not flipped"]
    return [f"was flipped, true {galaxy['true_label']}"]

  def _before_and_after(self, chosen: str | None) -> Callable[[int], str]:
    """Row -> class of the original network, and of the chosen one."""
    names = dict.fromkeys(x for x in ("original", chosen) if chosen and x)
    tables = [self._predicted(name) for name in names]
    return lambda row: " → ".join(
      cells.or_else(x.iloc[row], "not finite") for x in tables
    )

  def _predicted(self, name: str) -> pd.Series:
    path = self._workdir / "evaluate" / f"{name}.parquet"
    return pd.read_parquet(path, columns=["predicted"])["predicted"]


def _width(encoded: bytes) -> int:
  # No other format: some start programs.
  return Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")).width
