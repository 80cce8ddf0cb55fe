"""Figures as SVG text."""

import base64
from collections.abc import Mapping
import html
import io
import itertools
import math
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
import numpy as np
import pandas as pd

from gzjax.errors import SettingError

# Okabe and Ito (2008): told apart by colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
VERDICT_COLOURS = {
  "ok": "#009E73",
  "weak": "#E69F00",
  "collapsed": "#D55E00",
  "non-finite": "#4d4d4d",
}
ACCURACIES = ("corrected_accuracy", "test_balanced_accuracy")
# Black that stays so in a dark page, where other black has the colour of text.
_BLACK = "#010101"
_MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png"}
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
  return to_svg(figure, "Learning curves of the training and of retraining")


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
  return to_svg(figure, "Unlearning, epoch by epoch")


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


def ink(colour: Any) -> str:
  """Black or white, whatever reads better on a colour."""
  part = np.array(to_rgb(colour))
  part = np.where(
    part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4
  )
  return _BLACK if part @ (0.2126, 0.7152, 0.0722) > 0.18 else "white"


def to_svg(figure: Figure, title: str) -> str:
  """The figure as an <svg> element of words and shapes, with a title.

  What is black has the colour of the text around it, in a dark page, too.
  Figures of different titles have no id in common, equal ones are equal text.
  """
  buffer = io.StringIO()
  with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
    figure.savefig(
      buffer, format="svg", metadata={"Date": None}, transparent=True
    )
  text = buffer.getvalue()
  _, inside = text[text.index("<svg") :].split(">", 1)
  width, height = (f"{72 * x:g}" for x in figure.get_size_inches())
  title = html.escape(" ".join(title.split()))
  head = (
    f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}"'
    ' xmlns:xlink="http://www.w3.org/1999/xlink" fill="currentColor"'
    f' viewBox="0 0 {width} {height}" width="{width}pt" height="{height}pt">'
    f"<title>{title}</title>"
  )
  inside = re.sub('<g id="[^"]*"', "<g", inside)
  return head + inside.replace("#000000", "currentColor")


def to_png(figure: Figure) -> str:
  """The figure as a data URI: for what has too many points for SVG."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
  return data_uri(buffer.getvalue())


def data_uri(image: bytes, kind: str = "png") -> str:
  """An encoded image (png or jpeg) for the attribute src of an <img>."""
  return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def encoded_uri(image: bytes, name: str) -> str:
  """An image as it was recorded, of a galaxy of this name, for an <img>.

  Raises:
    SettingError: it is neither JPEG nor PNG.
  """
  for magic, kind in _MAGIC.items():
    if image.startswith(magic):
      return data_uri(image, kind)
  raise SettingError(
    f"image of galaxy {name!r} is neither JPEG nor PNG: encode it as PNG"
  )
