"""Figures as SVG text."""

import base64
from collections.abc import Mapping, Sequence
import io
import itertools
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from gzjax.report import cells

# Okabe and Ito (2008): told apart by colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
VERDICT_COLOURS = {
  "ok": "#009E73",
  "weak": "#E69F00",
  "collapsed": "#D55E00",
  "non-finite": "#000000",
}
_ACCURACIES = ("corrected_accuracy", "test_balanced_accuracy")
# Words in the middle of their place.
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}


def learning_curves(runs: Mapping[str, pd.DataFrame]) -> str:
  """Loss and quality of trainings, by their names and metrics.jsonl.

  The quality is the RMSE of the vote fractions where there is one, else the
  balanced accuracy. The learning rate, where it is written, has its own axis.
  """
  columns = set().union(*runs.values())
  quality = "rmse" if "rmse" in columns else "balanced_accuracy"
  space = {"wspace": 0.08 if "learning_rate" in columns else None}
  figure, (left, right) = panels(2, 2, (4.5, 3.2), gridspec_kw=space)
  rate = left.twinx() if "learning_rate" in columns else None
  for colour, (name, lines) in zip(COLOURS, runs.items()):
    for split, style in (("train", "--"), ("validation", "-")):
      part = lines[lines["split"] == split]
      label = f"{name}, {split}"
      left.plot(part["epoch"], part["loss"], style, color=colour, label=label)
    right.plot(part["epoch"], part[quality], color=colour, label=name)
    if rate and "learning_rate" in lines:
      part = lines[lines["split"] == "train"]
      x, y = part["epoch"], part["learning_rate"]
      rate.plot(x, y, ":", color=colour, linewidth=1)
  for axes in (left, right):
    axes.xaxis.get_major_locator().set_params(integer=True)
  _leave_out_spikes(left)
  if quality == "rmse":
    _leave_out_spikes(right)
  finish(left, "epoch", "loss" if rate else "loss (nats)")
  words = quality.replace("_", " ").replace("rmse", "RMSE of vote fractions")
  finish(right, "epoch", f"{words}, validation")
  if rate:
    if any((line.get_ydata() > 0).any() for line in rate.lines):
      rate.set_yscale("log")
    rate.set_ylabel("learning rate (dotted)")
    rate.spines["top"].set_visible(False)
  return to_svg(figure)


def _leave_out_spikes(axes: Axes) -> None:
  """Ends the y axis below values that would flatten all others; a note says so.

  Spikes lie more than five times the spread of the values, from the 5th to the
  90th percentile, above the latter.
  """
  values = np.concatenate(
    [np.asarray(x.get_ydata(), float) for x in axes.lines]
  )
  values = values[np.isfinite(values)]
  if not len(values):
    return
  low, high = np.percentile(values, [5, 90], method="lower")
  is_spike = values > high + 5 * (high - low)
  if not is_spike.any():
    return
  bottom, top = values.min(), values[~is_spike].max()
  margin = 0.05 * (top - bottom or abs(top) or 1)
  axes.set_ylim(bottom - margin, top + margin)
  note = f"{is_spike.sum()} of {len(values)}, up to {values.max():.3g}"
  axes.set_title(f"above the axis: {note}", fontsize=8, loc="left")


def unlearning_curves(runs: Mapping[str, pd.DataFrame]) -> str:
  """Forget accuracy against balanced accuracy of runs, epoch by epoch."""
  figure, (axes,) = panels(1, 1, (9, 4.8))
  for (marker, colour), (name, lines) in zip(
    itertools.product("osD^v", COLOURS), runs.items()
  ):
    x, y = lines["forget_accuracy"], lines["balanced_accuracy"]
    axes.plot(x, y, ".-", color=colour, alpha=0.35, markersize=3, linewidth=1)
    axes.plot(x.iloc[-1:], y.iloc[-1:], marker, color=colour, label=name)
  axes.set_xlim(-0.03, 1.03)
  axes.ticklabel_format(useOffset=False)
  finish(
    axes,
    "wrong labels still given (forget accuracy)",
    "balanced accuracy, validation",
  )
  axes.legend(
    frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5)
  )
  return to_svg(figure)


def stabiliser(table: pd.DataFrame) -> str:
  """Verdict of the published noise against stabiliser and noise scale.

  Of fisher, stabiliser, noise_scale, verdict, balanced_accuracy and
  noise_over_weight of each trial.
  """
  kinds = list(dict.fromkeys(table["fisher"]))
  figure, grid = panels(len(kinds), len(kinds), (5.2, 4))
  for axes, kind in zip(grid, kinds):
    part = table[table["fisher"] == kind]
    for verdict, colour in VERDICT_COLOURS.items():
      some = part[part["verdict"] == verdict]
      axes.scatter(
        some["stabiliser"], some["noise_scale"],
        s=900, marker="s", color=colour, label=verdict,
      )  # fmt: skip
    for row in part.itertuples():
      ratio = row.noise_over_weight
      times = "" if pd.isna(ratio) else f"{ratio:,.{0 if ratio > 10 else 3}f}x"
      words = f"{cells.number(row.balanced_accuracy, '%.2f')}\n{times}"
      place = row.stabiliser, row.noise_scale
      axes.annotate(words, place, color="white", fontsize=7, **CENTRED)
    axes.set(xscale="log", yscale="log", title=f"Fisher: {kind}")
    axes.margins(0.15)
    finish(axes, "stabiliser", "noise scale")
    legend = axes.legend(
      frameon=False, fontsize=8, ncols=4,
      loc="upper center", bbox_to_anchor=(0.5, -0.15),
    )  # fmt: skip
    for handle in legend.legend_handles:
      handle.set_sizes([40])
  return to_svg(figure)


def discovery(table: pd.DataFrame) -> str:
  """Corrected and balanced accuracy against the share discovered.

  Of discovered, method, corrected_accuracy and test_balanced_accuracy.
  """
  figure, grid = panels(2, 2, (4.5, 3.6))
  for axes, column in zip(grid, _ACCURACIES):
    for colour, (name, part) in zip(
      itertools.cycle(COLOURS), table.groupby("method", sort=False)
    ):
      style = ":" if name == "original" else ".-"
      x, y = part["discovered"], part[column]
      axes.plot(x, y, style, color=colour, label=name)
    known = "share of the wrong labels that is known"
    finish(axes, known, column.replace("_", " "))
  return to_svg(figure)


def plane(table: pd.DataFrame) -> str:
  """What each method reaches by kind of noise and share discovered.

  Of noise, discovered, method and utility_x_healed; retraining comes first.
  """
  by_method = dict([*table.groupby("method", sort=False)])
  names = sorted(by_method, key=lambda name: name != "retrain")
  figure, grid = panels(len(names), 3, (3.6, 2.6))
  for axes, name in zip(grid, names):
    values = by_method[name].pivot_table(
      "utility_x_healed", "noise", "discovered", sort=False
    )
    values = values.sort_index(axis=1)
    axes.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(values.to_numpy()):
      colour = "black" if value > 0.6 else "white"
      words = cells.number(value, "%.2f")
      axes.text(column, row, words, color=colour, fontsize=8, **CENTRED)
    axes.set_xticks(range(values.shape[1]), [f"{x:g}" for x in values])
    axes.set_yticks(range(len(values)), values.index)
    axes.set_xlabel("share of the wrong labels that is known")
    axes.set_title(f"{name}: mean {np.nanmean(values):.2f}", fontsize=10)
  return to_svg(figure)


def methods_over_seeds(rows: Sequence[Mapping[str, Any]]) -> str:
  """Corrected and balanced accuracy, and cost, of methods: a dot a seed.

  Where nobody knows the right labels, without the first.
  """
  table = pd.DataFrame(rows)
  names = table["method"].unique()
  columns = [x for x in (*_ACCURACIES, "cost_vs_retrain") if x in table]
  size = 10 / 3, 0.3 * len(names) + 1.2
  figure, grid = panels(len(columns), len(columns), size, sharey=True)
  for axes, column in zip(grid, columns):
    for place, name in enumerate(names):
      values = table[column][table["method"] == name].astype(float)
      colour = COLOURS[1] if name == "retrain" else COLOURS[0]
      axes.plot(values, [place] * len(values), ".", color=colour, alpha=0.6)
      axes.plot(values.mean(), place, "|", color=colour, markersize=14)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(column.replace("_", " "))
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
  grid[0].invert_yaxis()
  # From no cost at all to retraining's, and on to whatever costs more.
  dearest = max(1.05, grid[-1].dataLim.xmax)
  grid[-1].set_xlim(-0.03 * dearest, 1.05 * dearest)
  return to_svg(figure)


def confusion_matrices(
  matrices: Mapping[str, np.ndarray], classes: Sequence[str]
) -> str:
  """Confusion matrices of the test set, rows normalised, counts written in.

  Of each method i64[K,K], rows are the labels of the test set; or f64[K,K],
  shares of the rows.
  """
  figure, grid = panels(len(matrices), min(len(matrices), 4), (3, 2.8))
  for axes, (name, matrix) in zip(grid, matrices.items()):
    is_counts = matrix.dtype.kind == "i"
    shares = matrix
    if is_counts:
      shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(matrix):
      if np.isnan(value):
        continue
      text = str(value) if is_counts else f"{value:.2f}"
      colour = "white" if shares[i, j] > 0.5 else "black"
      axes.text(j, i, text, color=colour, **CENTRED)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(title=name, xlabel="predicted", ylabel="label")
  return to_svg(figure)


def panels(
  count: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, list[Any]]:
  """A figure of Axes, each of a width and height in inches, row by row."""
  rows = math.ceil(count / columns)
  width, height = size
  figure = Figure(
    figsize=(columns * width, rows * height), layout="constrained"
  )
  grid = figure.subplots(rows, columns, squeeze=False, **options).ravel()
  for axes in grid[count:]:
    axes.axis("off")
  return figure, list(grid[:count])


def finish(axes: Axes, x: str, y: str) -> None:
  """Names the axes and draws the legend, in the style of the report."""
  axes.set(xlabel=x, ylabel=y)
  axes.spines[["top", "right"]].set_visible(False)
  axes.legend(frameon=False, fontsize=8)


def to_svg(figure: Figure) -> str:
  """The figure as an <svg> element."""
  buffer = io.StringIO()
  figure.savefig(buffer, format="svg", metadata={"Date": None})
  text = buffer.getvalue()
  return text[text.index("<svg") :]


def to_png(figure: Figure) -> str:
  """The figure as a data URI: for what has too many points for SVG."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
  return data_uri(buffer.getvalue())


def data_uri(image: bytes, kind: str = "png") -> str:
  """An encoded image (png or jpeg) for the attribute src of an <img>."""
  return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
