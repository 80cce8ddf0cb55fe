"""Verdicts: the table of rules, walked."""

import numpy as np
import pytest

from gzjax.unlearning import health

CLASSES = ["smooth", "featured", "artifact"]
SPREAD = np.array([0.5, 0.4, 0.1])


def reading(balanced=0.9, forget=0.05, histogram=SPREAD, nonfinite=0):
  return health.Reading(nonfinite, np.asarray(histogram), balanced, forget)


LEARNED = reading(forget=1.0)


@pytest.mark.parametrize(
  ("after", "original", "verdict", "word"),
  [
    (reading(), LEARNED, "ok", "5% of the wrong labels"),
    (reading(nonfinite=3), LEARNED, "non-finite", "3 parameters"),
    (
      reading(histogram=[0.97, 0.03, 0], balanced=0.34),
      LEARNED,
      "collapsed",
      "97% of all galaxies smooth",
    ),
    (reading(balanced=0.5), LEARNED, "collapsed", "chance 0.333"),
    (reading(balanced=0.8), LEARNED, "weak", "hurt"),
    (reading(forget=0.9), LEARNED, "weak", "still gives 90%"),
    (reading(), reading(forget=0.06), "ok", "had not learned"),
    (LEARNED, LEARNED, "weak", "still gives 100%"),
  ],
)
def test_verdicts(after, original, verdict, word):
  got = health.diagnose(after, original, target=0.05, class_names=CLASSES)
  assert got.verdict == verdict
  assert got.verdict in health.VERDICTS
  assert word in got.reason


def test_reading_counts_nan_parameters_and_predictions():
  logits = np.eye(3)[[0, 1, 2, 0]] * 5
  logits[3] = np.nan
  label = np.array([0, 1, 2, 0])
  params = {"w": np.array([1.0, np.inf])}
  got = health.read(params, logits, label, logits[:2], label[:2])
  assert got.nonfinite == 2
  np.testing.assert_allclose(got.histogram, [0.25, 0.25, 0.25])
  assert got.balanced_accuracy == pytest.approx((0.5 + 1 + 1) / 3)
  assert got.forget_accuracy == 1.0


def test_a_predictor_of_nan_only_is_not_finite_rather_than_class_0():
  logits = np.full((4, 3), np.nan)
  label = np.zeros(4, int)
  got = health.read(None, logits, label, logits, label)
  verdict = health.diagnose(got, LEARNED, 0.05, CLASSES)
  assert verdict.verdict == "non-finite"


@pytest.mark.parametrize(
  ("now", "wanted"),
  [
    (reading(forget=0.5), "go on"),
    (reading(forget=0.05), "done"),
    (reading(forget=0.05, balanced=0.8), "rewind"),
    (reading(forget=0.05, nonfinite=1), "rewind"),
  ],
)
def test_stop_rule(now, wanted):
  got = health.ascent_verdict(now, LEARNED, target=0.1, max_damage=0.05)
  assert got == wanted


def test_target_of_a_clean_network():
  # Errors of an 80% network hit the one given wrong class of two in half.
  assert health.expected_forget_accuracy(0.8, 3) == pytest.approx(0.1)
