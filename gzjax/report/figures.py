"""Figures as SVG text."""

from collections.abc import Mapping, Sequence
import io
import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

# Okabe and Ito (2008): told apart by colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def learning_curves(runs: Mapping[str, pd.DataFrame]) -> str:
  """Loss and balanced accuracy of trainings, from their metrics.jsonl.

  Args:
    runs: name -> lines with epoch, split, loss, balanced_accuracy.
  """
  figure = Figure(figsize=(9, 3.2), layout="constrained")
  left, right = figure.subplots(1, 2)
  for colour, (name, lines) in zip(COLOURS, runs.items()):
    for split, style in (("train", "--"), ("validation", "-")):
      part = lines[lines["split"] == split]
      label = f"{name}, {split}"
      left.plot(part["epoch"], part["loss"], style, color=colour, label=label)
    part = lines[lines["split"] == "validation"]
    right.plot(
      part["epoch"], part["balanced_accuracy"], color=colour, label=name
    )
  for axes in (left, right):
    axes.xaxis.get_major_locator().set_params(integer=True)
  _finish(left, "epoch", "loss (nats)")
  _finish(right, "epoch", "balanced accuracy, validation")
  return _svg(figure)


def unlearning_curves(runs: Mapping[str, pd.DataFrame]) -> str:
  """Forget accuracy against balanced accuracy, epoch by epoch.

  Args:
    runs: name -> lines with forget_accuracy and balanced_accuracy.
  """
  figure = Figure(figsize=(5.5, 3.6), layout="constrained")
  axes = figure.subplots()
  for colour, (name, lines) in zip(COLOURS, runs.items()):
    axes.plot(
      lines["forget_accuracy"],
      lines["balanced_accuracy"],
      ".-",
      color=colour,
      label=name,
    )
    axes.plot(
      lines["forget_accuracy"].iloc[-1:],
      lines["balanced_accuracy"].iloc[-1:],
      "o",
      color=colour,
    )
  axes.set_xlim(-0.03, 1.03)
  axes.ticklabel_format(useOffset=False)
  _finish(
    axes,
    "wrong labels still given (forget accuracy)",
    "balanced accuracy, validation",
  )
  return _svg(figure)


def confusion_matrices(
  matrices: Mapping[str, np.ndarray], classes: Sequence[str]
) -> str:
  """Confusion matrices of the test set, rows normalised, counts written in.

  Args:
    matrices: method -> i64[K,K], rows are true classes.
    classes: K names.
  """
  columns = min(len(matrices), 3)
  rows = math.ceil(len(matrices) / columns)
  figure = Figure(figsize=(3.2 * columns, 3 * rows), layout="constrained")
  grid = figure.subplots(rows, columns, squeeze=False).ravel()
  for axes in grid[len(matrices) :]:
    axes.axis("off")
  for axes, (name, matrix) in zip(grid, matrices.items()):
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(matrix):
      axes.text(
        j,
        i,
        str(count),
        ha="center",
        va="center",
        color="white" if shares[i, j] > 0.5 else "black",
      )
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(title=name, xlabel="predicted", ylabel="true")
  return _svg(figure)


def _finish(axes: Axes, x: str, y: str) -> None:
  axes.set(xlabel=x, ylabel=y)
  axes.spines[["top", "right"]].set_visible(False)
  axes.legend(frameon=False, fontsize=8)


def _svg(figure: Figure) -> str:
  buffer = io.StringIO()
  figure.savefig(buffer, format="svg", metadata={"Date": None})
  text = buffer.getvalue()
  return text[text.index("<svg") :]
