"""Verdicts: the table of rules, walked; and causes."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from gzjax.evaluation import health
from gzjax.objectives import targets
from gzjax.problem import Review
from gzjax.unlearning import diagnosis, edits

CLASSES = ["smooth", "featured", "artifact"]
SPREAD = np.array([0.5, 0.4, 0.1])


def reading(balanced=0.9, forget=0.05, histogram=SPREAD, nonfinite=0):
  # So many galaxies that the error of a difference is next to nothing.
  credits = np.full(10_000, balanced / 10_000)
  return health.Reading(nonfinite, np.asarray(histogram), credits, forget)


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


@pytest.mark.parametrize(
  ("after", "original", "verdict", "word"),
  [
    (reading(histogram=[0.95, 0.05, 0]), LEARNED, "collapsed", "calls 95%"),
    # It gives few of them by chance: nothing to be judged by.
    (reading(forget=0.1), reading(forget=0.1), "weak", "still gives 10%"),
    (reading(forget=0.25), reading(forget=0.5), "ok", "gives 25%"),
  ],
)
def test_verdicts_at_the_thresholds(after, original, verdict, word):
  got = health.diagnose(after, original, target=0.0, class_names=CLASSES)
  assert got.verdict == verdict
  assert word in got.reason


@pytest.mark.parametrize(
  ("lost", "error", "exceeds"),
  [
    (0.75, 0.25, True),
    (0.5, 0.25, False),
    (0.75, 0.75, False),
    (0.75, 0, True),
  ],
)
def test_damage_is_more_than_is_tolerated_and_than_its_error(
  lost, error, exceeds
):
  assert health.Damage(lost, error).exceeds(0.5) == exceeds


def test_reading_counts_nan_parameters_and_predictions():
  probabilities = targets.softmax(np.eye(3)[[0, 1, 2, 0]] * 5)
  probabilities[3] = np.nan
  label = np.array([0, 1, 2, 0])
  params = {"w": np.array([1.0, np.inf, 2.0])}
  got = health.take_reading(
    params, probabilities, label, probabilities[:2], label[:2]
  )
  assert got.nonfinite == 2
  np.testing.assert_allclose(got.histogram, [0.25, 0.25, 0.25])
  assert got.balanced_accuracy == pytest.approx((0.5 + 1 + 1) / 3)
  assert got.forget_accuracy == 1.0
  assert 0.9 < got.distance_to_constant < np.log(3)


def test_a_predictor_of_nan_only_is_not_finite_rather_than_class_0():
  nan = np.full((4, 3), np.nan)
  label = np.zeros(4, int)
  got = health.take_reading(None, nan, label, nan, label)
  right = health.take_reading(None, np.eye(3)[label], label, nan, label)
  verdict = health.diagnose(got, right, 0.05, CLASSES)
  assert verdict.verdict == "non-finite"
  assert got.distance_to_constant == 0


def test_a_reading_of_a_problem_is_of_its_validation_and_its_wrong_labels():
  problem = SimpleNamespace(
    sets=SimpleNamespace(
      validation=np.array([0, 1, 2, 3]), forget=np.array([4, 5])
    ),
    true=np.array([0, 1, 2, 2, 0, 1]),
    given=np.array([1, 1, 1, 1, 2, 2]),
  )
  said = np.eye(3)[[0, 1, 2, 0, 2, 1]]
  got = health.read(problem, None, said[:4], said[4:])
  assert got.nonfinite == 0
  # One of two galaxies of the last class is missed.
  np.testing.assert_allclose(got.credits, [1 / 3, 1 / 3, 1 / 6, 0])
  assert got.forget_accuracy == 0.5


@pytest.mark.parametrize(
  ("now", "wanted"),
  [
    (reading(forget=0.5), "go on"),
    (reading(forget=0.05), "done"),
    (reading(forget=0.05, balanced=0.8), "rewind"),
    (reading(forget=0.05, nonfinite=1), "rewind"),
  ],
)
@pytest.mark.fault("A14")
def test_stop_rule(now, wanted):
  got = health.ascent_verdict(now, LEARNED, target=0.1, max_damage=0.05)
  assert got == wanted


@pytest.mark.parametrize(
  ("forget", "balanced", "wanted"),
  [
    (0.04, 0.9, 0.0),  # at the target, as good as the original
    (0.10, 0.9, -0.06),
    (0.01, 0.9, -0.03),
    (0.04, 0.8, -0.1),
    (0.01, 0.95, 0.02),  # what was won counts as much as what was lost
  ],
)
def test_rewind_weighs_the_distance_against_balanced_accuracy(
  forget, balanced, wanted
):
  now = reading(forget=forget, balanced=balanced)
  original = reading(forget=0.9, balanced=0.9)
  assert health.worth(now, original, 0.04) == pytest.approx(wanted)


@pytest.mark.parametrize(
  ("galaxies", "verdict", "exceeds"),
  [(30, "ok", False), (3000, "weak", True)],
)
def test_a_small_validation_set_knows_how_little_it_can_tell(
  galaxies, verdict, exceeds
):
  # One in ten is lost of each class, and one in thirty is won.
  label = np.arange(galaxies) % 3
  said = [label.copy(), label.copy()]
  lost, won = np.arange(galaxies) // 3 % 10 == 0, np.arange(galaxies) % 30 == 3
  said[1][lost] = (label[lost] + 1) % 3
  said[0][won] = (label[won] + 1) % 3
  before, after = (
    health.take_reading(None, np.eye(3)[x], label, np.eye(3)[:1], [forget])
    for x, forget in zip(said, (0, 1), strict=True)
  )
  found = health.damage(after, before)
  assert found.lost == pytest.approx(
    before.balanced_accuracy - after.balanced_accuracy
  )
  assert found.lost == pytest.approx(1 / 10 - 1 / 30)
  # The classes are of one size: McNemar's standard error of two shares.
  error = np.sqrt(lost.sum() + won.sum()) / galaxies
  assert found.error == pytest.approx(error)
  assert found.exceeds(0.02) == exceeds
  assert health.diagnose(after, before, 0.0, CLASSES).verdict == verdict
  # What goes on until it hurts has no doubts in its favour.
  assert health.ascent_verdict(after, before, 0.0, 0.02) == "rewind"


def test_the_worse_of_both_batchnorm_readings_is_the_verdict():
  ok, weak = health.Diagnosis("ok", "forgot"), health.Diagnosis("weak", "gives")
  assert health.worse(ok, ok) == ok
  assert health.worse(weak, ok) == weak
  verdict, reason = health.worse(ok, weak)
  assert verdict == "weak"
  assert reason == "with renewed BatchNorm statistics: gives"


def test_target_of_a_clean_network():
  # Errors of an 80% network hit the one given wrong class of two in half.
  assert health.expected_forget_accuracy(0.8, 3) == pytest.approx(0.1)


def test_the_target_is_what_networks_show_that_never_saw_the_labels():
  said = np.eye(3)[[0, 0, 0, 1, 2]]  # right for four of five
  problem = SimpleNamespace(
    sets=SimpleNamespace(validation=np.arange(5)),
    true=np.array([0, 0, 0, 1, 0]),
    target=SimpleNamespace(classes=CLASSES),
    review=None,
  )
  assert health.target_of(problem, said) == pytest.approx(0.1)
  problem.review = Review()  # nothing else is known either
  assert health.target_of(problem, said) == pytest.approx(0.1)
  for share in (0.0, 0.4):
    problem.review = Review(target=share)
    assert health.target_of(problem, said) == share


@pytest.mark.fault("A14")
def test_an_original_that_learned_little():
  assert "only 40%" in health.hardly_learned(reading(forget=0.4))
  assert "only 50%" in health.hardly_learned(reading(forget=0.5))
  assert health.hardly_learned(reading(forget=0.6)) == ""


@pytest.mark.parametrize(
  ("forget", "least", "words"),
  [
    (0.15, 0.1, "gives 15% of the labels to forget, 10% are expected"),
    (0.25, 0.1, ""),
    (0.25, 0.2, "gives 25%"),
    (0.05, 0.0, ""),  # methods always run
  ],
)
def test_where_there_is_nothing_to_unlearn(forget, least, words):
  said = health.nothing_to_unlearn(reading(forget=forget), 0.1, least)
  assert words in said
  assert bool(said) == bool(words)
  # Exactly so much more often is enough.
  assert not health.nothing_to_unlearn(reading(forget=0.75), 0.5, 0.25)


PARAMS = {"w": jnp.full((10, 10), 0.05), "b": jnp.ones(4)}
NO_FISHER = {"w": jnp.zeros((10, 10)), "b": jnp.zeros(4)}


def test_noise_report_of_the_published_noise():
  scale = edits.published_noise_scale(
    NO_FISHER, PARAMS, noise_scale=0.01, stabiliser=1e-8
  )
  report = diagnosis.noise_report(PARAMS, NO_FISHER, scale)
  # sigma = 100 everywhere.
  assert report["layers"]["w"]["noise_over_weight"] == pytest.approx(2000)
  assert report["layers"]["b"]["noise_over_weight"] == pytest.approx(100)
  assert report["noise_over_weight"] == pytest.approx(
    (100 * 2000 + 4 * 100) / 104
  )
  assert report["zero_fisher"] == 1
  assert report["effective_parameters"] == 0
  assert report["parameters"] == 104


def test_noise_report_leaves_out_what_gets_no_noise():
  scale = edits.fisher_noise_scale(
    NO_FISHER, PARAMS, budget=0.1, stabiliser=0.1, cap=0.2
  )
  report = diagnosis.noise_report(PARAMS, NO_FISHER, scale)
  assert list(report["layers"]) == ["w"]
  assert report["at_cap"] == 1
  assert report["noise_over_weight"] == pytest.approx(0.2)


def _report(verdict, drop=0.5, after=0.1, error=0.0, before=0.01, **noise):
  report = {
    "verdict": verdict,
    "balanced_accuracy_drop": drop,
    "balanced_accuracy_drop_error": error,
    "forget_loss": {"before": before, "after": after},
  }
  if noise:
    report["noise"] = {
      "noise_over_weight": 1.0,
      "effective_parameters": 1.0,
      "parameters": 1000,
      "predicted_loss_change": 0.1,
      "measured_loss_change": 5.0,
      "at_cap": 0.5,
      "zero_fisher": 0.25,
      **noise,
    }
  return report


@pytest.mark.parametrize(
  ("report", "words"),
  [
    (_report("ok", drop=0.0), ""),
    (_report("weak", drop=0.0, after=99.0), ""),
    (_report("weak", drop=0.1, error=0.11, after=99.0), ""),
    (_report("collapsed"), ""),  # nothing is known
    (_report("collapsed", after=116.6), "without an upper bound"),
    (_report("weak", after=116.6), "117 nats"),
    (_report("collapsed", drop=0.0, after=99.0), "99 nats"),
    (_report("non-finite", drop=0.0, after=99.0), "99 nats"),
    # Of a loss that is large, and ten times as large as before.
    (_report("weak", after=5.0), ""),
    (_report("weak", after=5.2), "from 0.01 to 5.2 nats"),
    (_report("weak", before=2.0, after=20.0), ""),
    (_report("weak", before=2.0, after=21.0), "from 2 to 21 nats"),
    (_report("weak", after=None), ""),
    (_report("collapsed", noise_over_weight=2000), "2,000 times the weights"),
    (_report("collapsed", noise_over_weight=2000), "Fisher plays no part"),
    (_report("collapsed", noise_over_weight=100.0), "noise is 100 times"),
    (_report("collapsed", noise_over_weight=1.5), "Fisher plays no part"),
    (
      _report("collapsed", noise_over_weight=1.5, effective_parameters=500.0),
      "nothing bounds it",
    ),
    (_report("collapsed", noise_over_weight=1.0), "costs 5 nats"),
    (_report("collapsed", noise_over_weight=0.2), "costs 5 nats"),
    (
      _report("non-finite", noise_over_weight=0.2, measured_loss_change=None),
      "more than can be told",
    ),
  ],
)
def test_causes(report, words):
  found = health.cause(report)
  assert words in found
  assert bool(found) == bool(words)
