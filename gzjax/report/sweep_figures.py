"""Figures of sweeps, which a run may draw besides."""

import itertools

import numpy as np
import pandas as pd

from gzjax.report import cells, figures


def stabiliser(table: pd.DataFrame) -> str:
  """Verdict of the published noise against stabiliser and noise scale.

  Of fisher, stabiliser, noise_scale, verdict, balanced_accuracy and
  noise_over_weight of each trial.
  """
  kinds = list(dict.fromkeys(table["fisher"]))
  figure, grid = figures.panels(len(kinds), len(kinds), (5.2, 4))
  for axes, kind in zip(grid, kinds):
    part = table[table["fisher"] == kind]
    for verdict, colour in figures.VERDICT_COLOURS.items():
      some = part[part["verdict"] == verdict]
      axes.scatter(
        some["stabiliser"], some["noise_scale"],
        s=900, marker="s", color=colour, label=verdict,
      )  # fmt: skip
    for row in part.itertuples():
      ratio = row.noise_over_weight
      times = "" if pd.isna(ratio) else f"{ratio:,.{0 if ratio > 10 else 3}f}x"
      words = f"{cells.number(row.balanced_accuracy, '%.2f')}\n{times}"
      place, colour = (
        (row.stabiliser, row.noise_scale),
        figures.ink(figures.VERDICT_COLOURS[row.verdict]),
      )
      axes.annotate(words, place, color=colour, fontsize=7, **figures.CENTRED)
    axes.set(xscale="log", yscale="log", title=f"Fisher: {kind}")
    axes.margins(0.15)
    figures.finish(axes, "stabiliser", "noise scale")
    legend = axes.legend(
      frameon=False, fontsize=8, ncols=4,
      loc="upper center", bbox_to_anchor=(0.5, -0.15),
    )  # fmt: skip
    for handle in legend.legend_handles:
      handle.set_sizes([40])
  return figures.to_svg(
    figure, "Verdict of the published noise by its settings"
  )


def discovery(table: pd.DataFrame) -> str:
  """Corrected and balanced accuracy against the share discovered.

  Of discovered, method, corrected_accuracy and test_balanced_accuracy.
  """
  figure, grid = figures.panels(2, 2, (4.5, 3.6))
  for axes, column in zip(grid, figures.ACCURACIES):
    for colour, (name, part) in zip(
      itertools.cycle(figures.COLOURS), table.groupby("method", sort=False)
    ):
      style = ":" if name == "original" else ".-"
      x, y = part["discovered"], part[column]
      axes.plot(x, y, style, color=colour, label=name)
    known = "share of the wrong labels that is known"
    figures.finish(axes, known, cells.words(column))
  return figures.to_svg(
    figure, "What is mended where only some wrong labels are known"
  )


def plane(table: pd.DataFrame) -> str:
  """What each method reaches by kind of noise and share discovered.

  Of noise, discovered, method and utility_x_healed; retraining comes first.
  """
  by_method = dict([*table.groupby("method", sort=False)])
  names = sorted(by_method, key=lambda name: name != "retrain")
  figure, grid = figures.panels(len(names), 3, (3.6, 2.6))
  for axes, name in zip(grid, names):
    values = by_method[name].pivot_table(
      "utility_x_healed", "noise", "discovered", sort=False
    )
    values = values.sort_index(axis=1)
    drawn = axes.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(values.to_numpy()):
      colour = figures.ink(drawn.cmap(drawn.norm(value)))
      words = cells.number(value, "%.2f")
      axes.text(column, row, words, color=colour, fontsize=8, **figures.CENTRED)
    axes.set_xticks(range(values.shape[1]), [f"{x:g}" for x in values])
    axes.set_yticks(range(len(values)), values.index)
    axes.set_xlabel("share of the wrong labels that is known")
    axes.set_title(f"{name}: mean {np.nanmean(values):.2f}", fontsize=10)
  return figures.to_svg(
    figure, "What methods reach by kind and share of wrong labels"
  )
