"""Figures of the votes: correlations of answers, and splits compared."""

from collections.abc import Mapping
import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from gzjax.report.figures import COLOURS, finish, to_svg


def _heatmap(axes: Axes, table: pd.DataFrame):
  return axes.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)


def correlations(table: pd.DataFrame, questions: Mapping[str, slice]) -> str:
  """The correlations of all answers, the questions divided by lines.

  Args:
    table: A x A, see `gzjax.data.studies.correlations`.
    questions: name -> where its answers stand.
  """
  figure = Figure(figsize=(9, 8.2), layout="constrained")
  axes = figure.subplots()
  drawn = _heatmap(axes, table)
  places = range(len(table))
  axes.set_xticks(places, table.columns, rotation=90, fontsize=6)
  axes.set_yticks(places, table.index, fontsize=6)
  for part in list(questions.values())[1:]:
    axes.axhline(part.start - 0.5, color="black", linewidth=0.5)
    axes.axvline(part.start - 0.5, color="black", linewidth=0.5)
  figure.colorbar(drawn, shrink=0.7, label="correlation of vote fractions")
  return to_svg(figure)


def correlations_by_question(
  table: pd.DataFrame, questions: Mapping[str, slice]
) -> str:
  """The correlations of the answers of each question, with their numbers."""
  columns = 4
  rows = math.ceil(len(questions) / columns)
  figure = Figure(figsize=(11, 2.7 * rows), layout="constrained")
  grid = figure.subplots(rows, columns, squeeze=False).ravel()
  for axes in grid[len(questions) :]:
    axes.axis("off")
  for axes, (name, part) in zip(grid, questions.items()):
    block = table.iloc[part, part]
    _heatmap(axes, block)
    short = [str(x).removeprefix(f"{name}_") for x in block]
    axes.set_xticks(range(len(short)), short, rotation=40, ha="right")
    axes.set_yticks(range(len(short)), short)
    axes.tick_params(labelsize=6)
    axes.set_title(name, fontsize=9)
    for (i, j), value in np.ndenumerate(block.to_numpy()):
      if i != j and np.isfinite(value):
        axes.text(
          j,
          i,
          f"{value:.2f}",
          ha="center",
          va="center",
          fontsize=6,
          color="white" if abs(value) > 0.6 else "black",
        )
  return to_svg(figure)


def splits(table: pd.DataFrame) -> str:
  """Mean vote fraction of each answer in each split.

  Args:
    table: see `gzjax.data.studies.compare_splits`.
  """
  figure = Figure(figsize=(9, 3.8), layout="constrained")
  axes = figure.subplots()
  marks = {"train": "_", "validation": "o", "test": "x"}
  for colour, (name, mark) in zip(COLOURS, marks.items()):
    axes.plot(
      table["answer"],
      table[f"mean_{name}"],
      mark,
      color=colour,
      label=name,
      markersize=9 if mark == "_" else 4,
    )
  axes.tick_params(axis="x", labelrotation=90, labelsize=6)
  axes.margins(x=0.01)
  finish(axes, "", "mean vote fraction")
  return to_svg(figure)
