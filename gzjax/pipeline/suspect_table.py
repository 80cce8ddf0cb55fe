"""suspects.csv in a notebook: a frame that can draw its galaxies."""

import base64
import html
from pathlib import Path

import pandas as pd

from gzjax.data.dataset import encoded_images
from gzjax.files import read_json

_NUMBERS = (
  "probability_wrong",
  "label_score",
  "mean_loss",
  "margin",
  "neighbours",
)
_CELL = "display:inline-block;width:160px;margin:4px;vertical-align:top"


class Suspects(pd.DataFrame):
  """The table of suspects; pieces of it are drawn, too."""

  workdir: Path
  _metadata = ["workdir"]  # noqa: RUF012 - so pandas wants it

  @property
  def _constructor(self):
    return Suspects

  def show(self, count: int = 24) -> "Gallery":
    """The first galaxies: pictures, given and suggested labels."""
    return Gallery(self.head(count), self.workdir)


class Gallery:
  """Pictures that a notebook draws."""

  def __init__(self, table: pd.DataFrame, workdir: Path):
    self._table, self._workdir = table, workdir

  def _repr_html_(self) -> str:
    prepared = read_json(self._workdir / "stages" / "dataset.json")
    recorded = encoded_images(Path(prepared["folder"]))
    cells = []
    for suspect in self._table.to_dict("records"):
      name = str(suspect["id_str"])
      image = base64.b64encode(recorded(name)).decode()
      words = (
        name,
        f"{suspect['given_label']} → {suspect['suggested_label']}",
        f"wrong with {suspect['probability_wrong']:.0%}",
      )
      text = "<br>".join(map(html.escape, words))
      cells.append(
        f'<div style="{_CELL}"><img width="160" '
        f'src="data:image;base64,{image}"><br>{text}</div>'
      )
    return "".join(cells)


def suspect_table(table: pd.DataFrame, workdir: Path) -> Suspects:
  """The text of suspects.csv as numbers where they are some."""
  counts = table.columns[table.columns.str.startswith("votes_")]
  numbers = {x: pd.to_numeric(table[x]) for x in (*_NUMBERS, *counts)}
  # Spreadsheets write TRUE.
  issue = table["is_label_issue"].str.lower() == "true"
  found = Suspects(table.assign(**numbers, is_label_issue=issue))
  found.workdir = workdir
  return found
