"""Figures of votes: what volunteers say, and what networks predict."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from gzjax.evaluation.dirichlet import ALL
from gzjax.evaluation.votes import rmse
from gzjax.morphology.trees import Tree
from gzjax.report import figures
from gzjax.report.figures import CENTRED, COLOURS


def _heatmap(axes: Axes, table: pd.DataFrame):
  return axes.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)


def correlations(table: pd.DataFrame, questions: Mapping[str, slice]) -> str:
  """The correlations of all answers, the questions divided by lines.

  Of the table of `vote_statistics.correlations`, and where the answers of each
  question stand in it.
  """
  figure, (axes,) = figures.panels(1, 1, (9, 8.2))
  drawn = _heatmap(axes, table)
  places = range(len(table))
  axes.set_xticks(places, table.columns, rotation=90, fontsize=6)
  axes.set_yticks(places, table.index, fontsize=6)
  for part in list(questions.values())[1:]:
    axes.axhline(part.start - 0.5, color="black", linewidth=0.5)
    axes.axvline(part.start - 0.5, color="black", linewidth=0.5)
  figure.colorbar(drawn, shrink=0.7, label="correlation of vote fractions")
  return figures.to_svg(figure, "Correlations of all answers")


def correlations_by_question(
  table: pd.DataFrame, questions: Mapping[str, slice]
) -> str:
  """The correlations of the answers of each question, with their numbers."""
  figure, grid = figures.panels(len(questions), 4, (2.75, 2.7))
  for axes, (name, part) in zip(grid, questions.items()):
    block = table.iloc[part, part]
    drawn = _heatmap(axes, block)
    short = [str(x).removeprefix(f"{name}_") for x in block]
    axes.set_xticks(range(len(short)), short, rotation=40, ha="right")
    axes.set_yticks(range(len(short)), short)
    axes.tick_params(labelsize=6)
    axes.set_title(name, fontsize=9)
    for (i, j), value in np.ndenumerate(block.to_numpy()):
      if i != j and np.isfinite(value):
        colour = figures.ink(drawn.cmap(drawn.norm(value)))
        axes.text(j, i, f"{value:.2f}", fontsize=6, color=colour, **CENTRED)
  return figures.to_svg(figure, "Correlations of the answers of each question")


def splits(table: pd.DataFrame) -> str:
  """Mean vote fraction of each answer in each split.

  Of the table of `vote_statistics.compare_splits`.
  """
  figure, (axes,) = figures.panels(1, 1, (9, 3.8))
  marks = {"train": "_", "validation": "o", "test": "x"}
  for colour, (name, mark) in zip(COLOURS, marks.items()):
    size = 9 if mark == "_" else 4
    x, y = table["answer"], table[f"mean_{name}"]
    axes.plot(x, y, mark, color=colour, label=name, markersize=size)
  axes.tick_params(axis="x", labelrotation=90, labelsize=6)
  axes.margins(x=0.01)
  figures.finish(axes, "", "mean vote fraction")
  return figures.to_svg(figure, "Mean vote fractions of each split")


def predicted_against_true(
  tree: Tree, truth: np.ndarray, predicted: np.ndarray
) -> str:
  """A panel an answer, a dot a galaxy, as a data URI (lab report, figure 7).

  Of cumulative fractions f[N,A].
  """
  names = [
    f"{x.name}\n{answer}" for x in tree.questions for answer in x.answers
  ]
  figure, grid = _unit_squares(names, columns=8, size=(1.37, 1.62))
  for a, axes in enumerate(grid):
    x, y = truth[:, a], predicted[:, a]
    axes.plot(
      x, y, ".",
      color=COLOURS[tree.question_of[a] % 3],
      alpha=0.3, markersize=3, markeredgewidth=0,
    )  # fmt: skip
    pale = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1}
    axes.text(0.02, 0.9, f"{rmse(x, y):.3f}", fontsize=7, bbox=pale)
  figure.supxlabel("fraction of the volunteers", fontsize=9)
  figure.supylabel("predicted fraction", fontsize=9)
  return figures.to_png(figure)


def _unit_squares(
  names: Sequence[str], columns: int, size: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
  """A panel for each name, from 0 to 1 with a diagonal; see `panels`."""
  figure, grid = figures.panels(len(names), columns, size)
  figure.set_figheight(figure.get_figheight() + 0.3)
  for i, (axes, name) in enumerate(zip(grid, names)):
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
    axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], autoscale_on=False)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.7)
    axes.set_title(name, fontsize=8, pad=4, linespacing=1.1)
    axes.tick_params(
      labelsize=7,
      length=2,
      labelbottom=i + columns >= len(names),
      labelleft=i % columns == 0,
    )
    axes.spines[["top", "right"]].set_visible(False)
  return figure, grid


def precision_recall(table: pd.DataFrame, marked: float) -> str:
  """Precision against recall, and both against the threshold.

  Of rows of one meaning of `flags.flag`; the threshold `marked` has a dot.
  """
  figure, (left, right) = figures.panels(2, 2, (4.5, 3.2))
  left.plot(table["recall"], table["precision"], color=COLOURS[0])
  dot = table[np.isclose(table["threshold"], marked)]
  left.plot(
    dot["recall"], dot["precision"], "o",
    color=COLOURS[1], label=f"threshold {marked:g}",
  )  # fmt: skip
  for colour, name in zip(COLOURS[2:], ("precision", "recall")):
    right.plot(table["threshold"], table[name], color=colour, label=name)
    right.fill_between(
      table["threshold"], table[f"{name}_low"], table[f"{name}_high"],
      where=table[name].notna(), color=colour, alpha=0.2, linewidth=0,
    )  # fmt: skip
  right.axvline(marked, color=COLOURS[1], linewidth=0.8, linestyle="--")
  for axes in (left, right):
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
  figures.finish(left, "recall", "precision")
  figures.finish(
    right, "threshold on the predicted fraction", "share (95% interval)"
  )
  return figures.to_svg(figure, "Precision and recall of predicted mergers")


def reliability(table: pd.DataFrame) -> str:
  """Observed against predicted shares of `votes.reliability`, by question."""
  parts = {
    str(name): part for name, part in table.groupby("question", sort=False)
  }
  figure, grid = _unit_squares(list(parts), columns=6, size=(1.8, 1.9))
  for axes, part in zip(grid, parts.values()):
    axes.errorbar(
      part["predicted"], part["observed"], 1.96 * part["standard_error"],
      fmt="o-", color=COLOURS[0], markersize=3, linewidth=1,
    )  # fmt: skip
  figure.supxlabel("predicted share", fontsize=9)
  figure.supylabel("share of the volunteers", fontsize=9)
  return figures.to_svg(
    figure, "Predicted shares against those of the volunteers"
  )


def coverage(table: pd.DataFrame) -> str:
  """Share of the votes inside of intervals, and that less their level.

  Of `dirichlet.coverage`; the question that is farthest off is named.
  """
  figure, (left, right) = figures.panels(2, 2, (4.5, 3.4))
  left.plot([0, 1], [0, 1], color="black", linewidth=0.7)
  right.plot([0, 1], [0, 0], color="black", linewidth=0.7)
  table = table.assign(off=table["inside"] - table["level"])
  single = table[table["question"] != ALL]
  worst = single["off"].abs().groupby(single["question"]).max().idxmax()
  styles: dict[str, dict[str, Any]] = {
    str(worst): {"color": COLOURS[1], "label": f"{worst} (farthest off)"},
    ALL: {"color": COLOURS[0], "label": "all questions", "linewidth": 2.5},
  }
  others = {"color": "#bbbbbb", "linewidth": 0.8}
  for name, part in table.groupby("question", sort=False):
    style = styles.get(str(name), others)
    left.plot(part["level"], part["inside"], **style)
    right.plot(part["level"], part["off"], **style)
  figures.finish(left, "level of the interval", "share of the votes inside")
  figures.finish(right, "level of the interval", "share inside less level")
  right.get_legend().remove()
  return figures.to_svg(figure, "Share of the votes inside of intervals")
