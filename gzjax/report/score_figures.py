"""Figures of scores: how good networks are, and at what cost."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox
import numpy as np
import pandas as pd

from gzjax.evaluation.intervals import wilson_interval
from gzjax.report import cells, figures

_MARKS = {"ok": "o", "weak": "^"}
_OF_COST = ("cost_vs_retrain", "gap_to_retrain")
_LABEL = 8  # points


def methods_over_seeds(rows: Sequence[Mapping[str, Any]]) -> str:
  """Corrected and balanced accuracy, and cost, of methods: a dot a seed.

  Where nobody knows the right labels, without the first.
  """
  table = pd.DataFrame(rows)
  names = table["method"].unique()
  columns = [x for x in (*figures.ACCURACIES, "cost_vs_retrain") if x in table]
  size = 10 / 3, 0.3 * len(names) + 1.2
  figure, grid = figures.panels(len(columns), len(columns), size, sharey=True)
  for axes, column in zip(grid, columns):
    for place, name in enumerate(names):
      values = table[column][table["method"] == name].astype(float)
      colour = figures.COLOURS[1] if name == "retrain" else figures.COLOURS[0]
      axes.plot(values, [place] * len(values), ".", color=colour, alpha=0.6)
      axes.plot(values.mean(), place, "|", color=colour, markersize=14)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(cells.words(column))
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
  grid[0].invert_yaxis()
  # From no cost at all to retraining's, and on to whatever costs more.
  dearest = max(1.05, grid[-1].dataLim.xmax)
  grid[-1].set_xlim(-0.03 * dearest, 1.05 * dearest)
  return figures.to_svg(figure, "Methods, a dot a seed")


def confusion_matrices(
  matrices: Mapping[str, np.ndarray], classes: Sequence[str]
) -> str:
  """Confusion matrices of the test set, rows normalised, counts written in.

  A figure each, of i64[K,K], rows are the labels of the test set; or of
  f64[K,K], shares of the rows.
  """
  return "".join(
    _confusion(name, matrix, classes) for name, matrix in matrices.items()
  )


def _confusion(name: str, matrix: np.ndarray, classes: Sequence[str]) -> str:
  is_counts = matrix.dtype.kind == "i"
  shares = matrix
  if is_counts:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
  side = 1.6 + 0.42 * len(classes)
  figure, (axes,) = figures.panels(1, 1, (side, side))
  drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
  for (i, j), value in np.ndenumerate(matrix):
    if np.isnan(value):
      continue
    text = str(value) if is_counts else f"{value:.2f}"
    colour = figures.ink(drawn.cmap(drawn.norm(shares[i, j])))
    axes.text(j, i, text, color=colour, **figures.CENTRED)
  axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
  axes.set_yticks(range(len(classes)), classes)
  axes.set(xlabel="predicted", ylabel="label")
  axes.set_title(name, fontsize=10)
  return figures.to_svg(figure, f"Confusion matrix of {name}")


def recalls(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
  """Recall of each class with its interval, of rows of the scoreboard."""
  height = 1 + 0.16 * (len(rows) + 1) * len(classes)
  figure, (axes,) = figures.panels(1, 1, (5, height))
  places = np.arange(len(classes))
  for i, (mark, colour, row) in enumerate(zip("osD^", figures.COLOURS, rows)):
    values = np.array(row["recalls"], float)
    low, high = np.array(row["intervals"]["recalls"], float).T
    lift = (i - (len(rows) - 1) / 2) / (len(rows) + 1)
    ends = np.clip([values - low, high - values], 0, None)
    axes.errorbar(
      values, places + lift, xerr=ends, fmt=mark,
      color=colour, markersize=4, linewidth=1.2, label=row["method"],
    )  # fmt: skip
  axes.set_yticks(places, classes)
  axes.set(xlim=(-0.02, 1.02), ylim=(len(classes) - 0.5, -0.5))
  figures.finish(axes, "recall on the test set (95% Wilson interval)", "")
  _above(axes)
  return figures.to_svg(figure, "Recall of each class")


def calibration(tables: Mapping[str, Mapping[str, np.ndarray]]) -> str:
  """Share that is right against what networks say of their own answers.

  Of `metrics.confidence_bins` of each.
  """
  figure, (axes,) = figures.panels(1, 1, (5, 3.8))
  axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
  for mark, colour, (name, bins) in zip(
    "osD^", figures.COLOURS, tables.items()
  ):
    counts = zip(bins["right"] * bins["count"], bins["count"], strict=True)
    low, high = np.array([wilson_interval(*x) for x in counts]).T
    ends = np.clip([bins["right"] - low, high - bins["right"]], 0, None)
    axes.errorbar(
      bins["said"], bins["right"], yerr=ends, fmt=f"{mark}-",
      color=colour, markersize=4, linewidth=1, label=name,
    )  # fmt: skip
  least = min(bins["said"].min() for bins in tables.values())
  axes.set(xlim=(least - 0.05, 1.02), ylim=(-0.02, 1.02))
  figures.finish(
    axes, "probability of the class that is named", "share that is right"
  )
  _above(axes)
  return figures.to_svg(figure, "Calibration on the test set")


def cost_against_gap(
  rows: Sequence[Mapping[str, Any]], chosen: str, idle: float
) -> str:
  """Cost against gap to retraining, the name at each point.

  Of rows of methods; `idle` is the gap of the original network.
  """
  figure, (axes,) = figures.panels(1, 1, (9, 5.4))
  axes.axvline(1, color=figures.COLOURS[2], linewidth=1.5)
  axes.axhline(idle, color="#888888", linewidth=1, linestyle="--")
  for verdict, mark in _MARKS.items():
    some = [row for row in rows if row["verdict"] == verdict]
    x, y = ([row[name] for row in some] for name in _OF_COST)
    axes.plot(
      x, y, mark, color=figures.VERDICT_COLOURS[verdict], markersize=7,
      label=verdict, linestyle="", clip_on=False,
    )  # fmt: skip
  for row in rows:
    if row["method"] == chosen:
      axes.plot(
        *(row[name] for name in _OF_COST), "o", markersize=13,
        markerfacecolor="none", color=figures.COLOURS[0], label="to use",
      )  # fmt: skip
  dearest = max([1, *(row[_OF_COST[0]] for row in rows)])
  # Where all do what retraining does there is a scale still.
  highest = max([0.01, idle, *(row[_OF_COST[1]] for row in rows)])
  axes.set_yscale("function", functions=(_root, np.square))  # small gaps apart
  axes.set(xscale="log", ylim=(0, 1.2 * highest))
  axes.set_xlim(axes.get_xlim()[0] * 0.8, dearest * 2.2)
  axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
  axes.xaxis.set_minor_formatter(NullFormatter())
  axes.text(1.03, 1.18 * highest, "retraining", va="top", fontsize=9)
  axes.text(
    0.995, idle, "the original, nothing unlearned", va="bottom", ha="right",
    fontsize=8, transform=axes.get_yaxis_transform(),
  )  # fmt: skip
  figures.finish(
    axes,
    "work, as a share of retraining's (log scale)",
    "gap to retraining (root scale)",
  )
  _above(axes)
  x, y = _OF_COST
  _name_points(axes, {row["method"]: (row[x], row[y]) for row in rows})
  return figures.to_svg(
    figure, "Cost of each method against its gap to retraining"
  )


def _root(values: np.ndarray) -> np.ndarray:
  return np.sqrt(np.maximum(values, 0))


def _name_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
  """Writes a name at each point, none over another or over a point."""
  figure = axes.get_figure()
  assert isinstance(figure, Figure)
  figure.draw_without_rendering()  # gives the axes their place
  point = 72 / figure.dpi
  places = point * axes.transData.transform(list(points.values()))
  whole = Bbox(point * axes.bbox.get_points())
  taken = [Bbox([place - 4, place + 4]) for place in places]
  # From the top: what is crowded moves down.
  for i in np.argsort(-places[:, 1], kind="stable"):
    name = list(points)[i]
    free = (
      (shift, box)
      for shift, box in _candidates(places[i], name)
      if not box.count_overlaps(taken) and _holds(whole, box)
    )
    (dx, dy), box = next(free, next(_candidates(places[i], name)))
    taken.append(box)
    text = axes.annotate(
      name, points[name], (dx, dy), textcoords="offset points",
      fontsize=_LABEL, va="center", ha="left" if dx > 0 else "right",
      arrowprops={
        "arrowstyle": "-", "color": "#888888", "linewidth": 0.7,
        "shrinkA": 0, "shrinkB": 3, "relpos": (float(dx < 0), 0.5),
      },
    )  # fmt: skip
    text.set_in_layout(False)  # the axes keep their place


def _holds(whole: Bbox, part: Bbox) -> bool:
  return whole.contains(*part.min) and whole.contains(*part.max)


def _candidates(
  place: np.ndarray, name: str
) -> Iterator[tuple[tuple[float, float], Bbox]]:
  """Shifts of a label in points, the nearest first, and what it covers."""
  width, height = 0.65 * _LABEL * len(name), 1.25 * _LABEL
  for far in range(16):
    for dy in (far * height / 2, -far * height / 2):
      for side in (1, -1):
        dx = side * (7 + 2.5 * far)
        x, y = place[0] + dx, place[1] + dy
        left, right = sorted((x, x + side * width))
        yield (dx, dy), Bbox([(left, y - height / 2), (right, y + height / 2)])


def _above(axes: Axes) -> None:
  """Moves the legend above the axes, where it covers nothing."""
  axes.legend(
    frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1)
  )
