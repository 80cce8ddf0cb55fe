"""Figures show all of their data, or say what they leave out."""

import numpy as np
import pandas as pd
import pytest

from gzjax.report import figures


@pytest.fixture
def drawn(monkeypatch):
  """The figures that were drawn, in place of their SVG."""
  kept = []
  monkeypatch.setattr(figures, "to_svg", lambda figure: kept.append(figure))
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
  figures.methods_over_seeds(rows)
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
  figures.stabiliser(table)
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
  figures.plane(table)
  first, second = drawn[0].axes[:2]
  assert first.get_title() == "retrain: mean 0.60"
  assert second.get_title() == "finetune: mean 0.60"
  # Shares in their order, whatever that of the rows.
  np.testing.assert_allclose(
    np.asarray(first.images[0].get_array()), [[0.5, 0.9], [0.3, 0.7]]
  )
  words = [text.get_text() for text in second.texts]
  assert words == ["0.60", "0.80", "not finite", "0.40"]
