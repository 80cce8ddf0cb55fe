"""Figures show all of their data, or say what they leave out."""

import itertools
import xml.etree.ElementTree as ET

from matplotlib.text import Text
import numpy as np
import pandas as pd
import pytest

from gzjax.report import figures, score_figures, sweep_figures


@pytest.fixture
def drawn(monkeypatch):
  """The figures that were drawn, in place of their SVG."""
  kept = []
  monkeypatch.setattr(
    figures, "to_svg", lambda figure, title: kept.append(figure)
  )
  return kept


def _losses(losses):
  return pd.DataFrame(
    {
      "epoch": range(len(losses)),
      "split": "validation",
      "loss": losses,
      "balanced_accuracy": 0.5,
    }
  )


@pytest.mark.fault("A12")
def test_one_spike_does_not_flatten_the_learning_curves(drawn):
  losses = np.append(np.geomspace(1.1, 0.1, 20), [5e6, np.nan])
  figures.learning_curves({"train": _losses(losses)})
  left, right = drawn[0].axes
  bottom, top = left.get_ylim()
  assert bottom < 0.1
  assert 1.1 < top < 1.3
  assert left.get_title("left") == "above the axis: 1 of 21, up to 5e+06"
  assert not right.get_title("left")


def test_ordinary_learning_curves_are_shown_whole(drawn):
  losses = np.geomspace(2.3, 0.1, 30)
  figures.learning_curves({"train": _losses(losses)})
  left, _ = drawn[0].axes
  assert left.get_ylim()[1] > 2.3
  assert not left.get_title("left")


def _row(method, cost):
  return {
    "method": method,
    "corrected_accuracy": 0.5,
    "test_balanced_accuracy": 0.5,
    "cost_vs_retrain": cost,
  }


@pytest.mark.parametrize(("cost", "least"), [(8.0, 8.0), (0.2, 1.0)])
@pytest.mark.fault("A12")
def test_a_method_dearer_than_retraining_is_in_the_figure(drawn, cost, least):
  rows = [_row("retrain", 1.0), _row("dear", cost), _row("lost", np.nan)]
  score_figures.methods_over_seeds(rows)
  low, high = drawn[0].axes[-1].get_xlim()
  assert low < 0
  assert least < high < 1.2 * least


def test_the_squares_of_trials_that_went_wrong_have_no_nan(drawn):
  table = pd.DataFrame(
    {
      "fisher": "true",
      "stabiliser": [1e-8, 1e-4],
      "noise_scale": [1.0, 1.0],
      "verdict": ["non-finite", "ok"],
      "balanced_accuracy": [np.nan, 0.9],
      "noise_over_weight": [np.nan, 0.5],
    }
  )
  sweep_figures.stabiliser(table)
  words = [text.get_text() for text in drawn[0].axes[0].texts]
  assert words == ["not finite\n", "0.90\n0.500x"]


def test_the_plane_has_a_map_for_each_method_retraining_first(drawn):
  table = pd.DataFrame(
    {
      "noise": ["uniform", "uniform", "trigger", "trigger"] * 2,
      "discovered": [1.0, 0.5] * 4,
      "method": ["finetune"] * 4 + ["retrain"] * 4,
      "utility_x_healed": [0.8, 0.6, 0.4, np.nan, 0.9, 0.5, 0.7, 0.3],
    }
  )
  sweep_figures.plane(table)
  first, second = drawn[0].axes[:2]
  assert first.get_title() == "retrain: mean 0.60"
  assert second.get_title() == "finetune: mean 0.60"
  # Shares in their order, whatever that of the rows.
  np.testing.assert_allclose(
    np.asarray(first.images[0].get_array()), [[0.5, 0.9], [0.3, 0.7]]
  )
  words = [text.get_text() for text in second.texts]
  assert words == ["0.60", "0.80", "not finite", "0.40"]


@pytest.mark.fault("F")
def test_a_figure_has_words_a_title_and_the_colour_of_its_text():
  text = figures.learning_curves({"train": _losses(np.arange(1.0, 5))})
  svg = ET.fromstring(text)
  space = "{http://www.w3.org/2000/svg}"
  words = [x.text for x in svg.iter(f"{space}text")]
  assert {"epoch", "loss (nats)", "train, validation"} <= {*words}
  title = svg.find(f"{space}title")
  assert title is not None
  assert title.text == svg.get("aria-label")
  assert "Learning curves" in title.text
  # Drawn on the page, light or dark.
  assert svg.get("fill") == "currentColor"
  assert "stroke: currentColor" in text
  assert "#000000" not in text


def test_equal_figures_are_equal_text():
  run = {"train": _losses(np.arange(1.0, 5))}
  assert figures.learning_curves(run) == figures.learning_curves(run)


@pytest.mark.parametrize("colour", ["white", "#08306b", "#6baed6", "#E69F00"])
def test_words_on_a_colour_can_be_read(colour):
  ink = figures.ink(colour)
  assert ink == ("white" if colour == "#08306b" else "#010101")


def _costs(places):
  return [
    {
      "method": f"method_{i}",
      "verdict": "ok" if i else "weak",
      "gap_to_retrain": gap,
      "cost_vs_retrain": cost,
    }
    for i, (cost, gap) in enumerate(places)
  ]


def test_each_method_is_named_at_its_point_and_no_name_over_another(drawn):
  places = [(0.15, 0.03 + 0.001 * i) for i in range(12)] + [(1.9, 0.3)]
  score_figures.cost_against_gap(_costs(places), "method_3", 0.32)
  (axes,) = drawn[0].axes
  drawn[0].draw_without_rendering()
  labels = {
    text.get_text(): text
    for text in axes.texts
    if text.get_text().startswith("method_")
  }
  assert len(labels) == len(places)
  for i, place in enumerate(places):
    assert labels[f"method_{i}"].xy == pytest.approx(place)
  # Of the words alone, without what leads to the point.
  boxes = [Text.get_window_extent(text) for text in labels.values()]
  for one, other in itertools.combinations(boxes, 2):
    assert not one.overlaps(other)
  for box in boxes:
    assert axes.bbox.contains(box.x0, box.y0)
    assert axes.bbox.contains(box.x1, box.y1)


def test_retraining_is_a_line_and_the_original_too(drawn):
  score_figures.cost_against_gap(
    _costs([(0.2, 0.1), (0.3, 0.05)]), "method_1", 0.25
  )
  (axes,) = drawn[0].axes
  lines = {tuple(map(tuple, x.get_xydata())) for x in axes.lines}
  assert ((1, 0), (1, 1)) in lines
  assert ((0, 0.25), (1, 0.25)) in lines
  low, high = axes.get_ylim()
  assert low == 0
  assert high > 0.25
  words = [text.get_text() for text in axes.texts]
  assert {"retraining", "the original, nothing unlearned"} <= {*words}
  names = axes.get_legend_handles_labels()[1]
  assert names == ["ok", "weak", "to use"]


def test_methods_that_do_what_retraining_does_have_a_figure(drawn):
  figure = score_figures.cost_against_gap
  figure(_costs([(0.2, 0.0), (0.2, 0.0)]), "method_0", 0.0)
  (axes,) = drawn[0].axes
  assert axes.get_ylim() == (0, pytest.approx(0.012))


def test_recalls_and_calibration_show_their_intervals(drawn):
  row = {
    "method": "original",
    "recalls": [0.5, None],
    "intervals": {"recalls": [(0.3, 0.7), (0.0, 1.0)]},
  }
  score_figures.recalls([row], ["x", "y"])
  (bars,) = drawn[0].axes[0].collections
  np.testing.assert_allclose(bars.get_segments()[0][:, 0], [0.3, 0.7])
  bins = {
    "said": np.array([0.6, 0.9]),
    "right": np.array([0.5, 1.0]),
    "count": np.array([10, 30]),
  }
  score_figures.calibration({"original": bins})
  (bars,) = drawn[1].axes[0].collections
  low, high = bars.get_segments()[0][:, 1]
  assert (low, high) == pytest.approx((0.237, 0.763), abs=1e-3)
