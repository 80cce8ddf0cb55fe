"""Is the unlearned network still a network? Verdicts, with the reason."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gzjax.evaluation import metrics
from gzjax.problem import Problem
from gzjax.types import PyTree

VERDICTS = ("ok", "weak", "collapsed", "non-finite")

CONSTANT_SHARE = 0.95  # of one class, in a prediction that is constant
LEAST_SKILL = 0.5  # of the original's balanced accuracy above chance
LEAST_FORGETTING = 0.5  # of the way to the target
LARGEST_DAMAGE = 0.05  # loss of balanced accuracy of a healthy network
LEAST_LEARNED = 0.1  # forget accuracy of the original above the target
WELL_LEARNED = 0.5  # forget accuracy of one that learned its wrong labels
RUNAWAY_LOSS = 5.0  # nats, of wrong labels; tells of an ascent without bound


class Reading(NamedTuple):
  """What a diagnosis looks at, measured on clean validation labels."""

  nonfinite: int  # parameters and validation galaxies that are not finite
  histogram: np.ndarray  # f64[K], shares of the predicted classes
  credits: np.ndarray  # f64[N], what each adds to the balanced accuracy
  forget_accuracy: float  # share of wrong labels that are still predicted
  distance_to_constant: float = float("nan")  # nats, see metrics

  @property
  def balanced_accuracy(self) -> float:
    """On validation."""
    return float(np.sum(self.credits))


class Damage(NamedTuple):
  """Balanced accuracy that was lost, and its standard error."""

  lost: float
  error: float

  def exceeds(self, tolerated: float) -> bool:
    """Whether more was lost, and more than one standard error."""
    return self.lost > max(tolerated, self.error)


class Diagnosis(NamedTuple):
  """A verdict out of `VERDICTS` and the reason in words."""

  verdict: str
  reason: str


def take_reading(
  params: PyTree,
  validation: np.ndarray,
  validation_label: np.ndarray,
  forget: np.ndarray,
  forget_label: np.ndarray,
) -> Reading:
  """Takes the reading of a network from its predictions.

  Of its parameters (None: they are not looked at), probabilities f64[N,K] with
  true labels i[N], and probabilities f64[M,K] with wrong labels i[M].
  """
  num_classes = validation.shape[1]
  predicted = metrics.predicted_class(validation)
  forget_predicted = metrics.predicted_class(forget)
  finite = predicted[predicted != metrics.INVALID_CLASS]
  bad_params = (~np.isfinite(np.asarray(p)) for p in jax.tree.leaves(params))
  nonfinite = sum(int(x.sum()) for x in bad_params)
  return Reading(
    nonfinite=nonfinite + len(predicted) - len(finite),
    histogram=np.bincount(finite, minlength=num_classes) / len(predicted),
    credits=metrics.hit_weights(validation_label)
    * (validation_label == predicted),
    forget_accuracy=metrics.accuracy(forget_label, forget_predicted),
    distance_to_constant=metrics.distance_to_constant(validation),
  )


def read(
  problem: Problem, params: PyTree, validation: np.ndarray, forget: np.ndarray
) -> Reading:
  """The reading by the probabilities f64[n,C] of both sets of a problem."""
  true = problem.true[problem.sets.validation]
  wrong = problem.given[problem.sets.forget]
  return take_reading(params, validation, true, forget, wrong)


def damage(now: Reading, original: Reading) -> Damage:
  """What a network lost on the galaxies that both readings are of.

  Only those count that one of both is right about, in the loss and in its
  error (as McNemar 1947 compares shares): sum(d) and sqrt(sum(d^2)) of the
  differences d of their credits. So a small validation set knows how little it
  can tell.
  """
  differences = original.credits - now.credits
  return Damage(float(differences.sum()), float(np.linalg.norm(differences)))


def expected_forget_accuracy(accuracy: float, num_classes: int) -> float:
  """How often a network that never saw a wrong label gives it: the target.

  A network of this accuracy errs with probability 1 - accuracy, and hits one
  given wrong class out of K - 1. Known without retraining.
  """
  return (1 - accuracy) / (num_classes - 1)


def target_of(problem: Problem, validation: np.ndarray) -> float:
  """The target, by what the original says of validation, f64[n,C].

  Or as networks show it that never saw the labels to forget, see `Review`.
  """
  if problem.review and problem.review.target is not None:
    return problem.review.target
  label = problem.true[problem.sets.validation]
  accuracy = metrics.accuracy(label, metrics.predicted_class(validation))
  return expected_forget_accuracy(accuracy, len(problem.target.classes))


def diagnose(
  after: Reading, original: Reading, target: float, class_names: Sequence[str]
) -> Diagnosis:
  """Judges a network against the one that it was made from.

  The first of the rules below that holds decides; losses of balanced accuracy
  count where they are larger than their error, see `damage`. The target is that
  of `expected_forget_accuracy`.
  """
  chance = 1 / len(class_names)
  largest = int(after.histogram.argmax())
  share = after.histogram[largest]
  skill_before = original.balanced_accuracy - chance
  lost = damage(after, original)
  learned = original.forget_accuracy - target
  forgotten = original.forget_accuracy - after.forget_accuracy
  if after.nonfinite:
    words = f"{after.nonfinite} parameters or predictions are NaN or inf"
    return Diagnosis("non-finite", words)
  if share >= CONSTANT_SHARE:
    words = f"calls {share:.0%} of all galaxies {class_names[largest]}"
    return Diagnosis("collapsed", words)
  if lost.exceeds((1 - LEAST_SKILL) * skill_before):
    return Diagnosis(
      "collapsed",
      f"balanced accuracy fell from {original.balanced_accuracy:.3f} to "
      f"{after.balanced_accuracy:.3f} (chance {chance:.3f})",
    )
  if lost.exceeds(LARGEST_DAMAGE):
    words = f"hurt: lost {lost.lost:.3f} ±{lost.error:.3f} of balanced accuracy"
    return Diagnosis("weak", words)
  if learned < LEAST_LEARNED:
    return Diagnosis("ok", "the original had not learned its wrong labels")
  gives = (
    f"gives {after.forget_accuracy:.0%} of the wrong labels (original "
    f"{original.forget_accuracy:.0%}, target {target:.0%})"
  )
  if forgotten < LEAST_FORGETTING * learned:
    return Diagnosis("weak", f"still {gives}")
  return Diagnosis("ok", gives)


def worth(now: Reading, original: Reading, target: float) -> float:
  """By which `rewind` ranks the readings of a method; more is better.

  The balanced accuracy that was won, or less what was lost, less the distance
  of the forget accuracy from the target. What was won has to count: the target
  is known no better than the validation labels are right, and of two readings
  near to it the one is to stand that does better.
  """
  distance = abs(now.forget_accuracy - target)
  return -damage(now, original).lost - distance


def worse(stored: Diagnosis, renewed: Diagnosis) -> Diagnosis:
  """Of a network as it is, and with renewed BatchNorm statistics."""
  if VERDICTS.index(renewed.verdict) <= VERDICTS.index(stored.verdict):
    return stored
  words = f"with renewed BatchNorm statistics: {renewed.reason}"
  return renewed._replace(reason=words)


def nothing_to_unlearn(original: Reading, target: float, least: float) -> str:
  """Why methods are not run; "" if there is something to unlearn.

  That is where the original gives the labels to forget by `least` more often
  than the target, see `expected_forget_accuracy`; `least` 0: always.
  """
  if not least or original.forget_accuracy - target >= least:
    return ""
  return (
    f"the original gives {original.forget_accuracy:.0%} of the labels to "
    f"forget, {target:.0%} are expected of a network that never saw them: "
    "there is nothing to unlearn"
  )


def hardly_learned(original: Reading) -> str:
  """A warning where the original gives less than half of its wrong labels."""
  if original.forget_accuracy > WELL_LEARNED:
    return ""
  return (
    f"the original gives only {original.forget_accuracy:.0%} of its wrong "
    "labels: it hardly learned them, so there is (almost) nothing to unlearn. "
    "More epochs or less augmentation would make it memorise them."
  )


def cause(report: Mapping[str, Any]) -> str:
  """Why a network was hurt, in words; empty if it was not or nobody knows.

  By its `verdict`, `balanced_accuracy_drop` and the error of that,
  `forget_loss` (before, after) and, of noise, `noise` with the fields of
  `noise_report` and `measured_loss_change`.
  """
  drop, error = (f"balanced_accuracy_drop{x}" for x in ("", "_error"))
  hurt = Damage(report[drop], report[error]).exceeds(LARGEST_DAMAGE)
  if report["verdict"] not in ("collapsed", "non-finite") and not hurt:
    return ""
  if report.get("noise"):
    return _cause_of_noise(report["noise"])
  before, after = (report["forget_loss"][key] for key in ("before", "after"))
  if after is not None and after > max(10 * before, RUNAWAY_LOSS):
    return (
      "the loss of the wrong labels was driven from "
      f"{_number(before)} to {_number(after)} nats (a guess costs about 1): "
      "ascent of a loss without an upper bound"
    )
  return ""


def _number(value: float) -> str:
  return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _cause_of_noise(noise: Mapping[str, Any]) -> str:
  ratio = noise["noise_over_weight"]
  share = noise["effective_parameters"] / noise["parameters"]
  size = f"the noise is {_number(ratio)} times the weights (rms)"
  if ratio > 1 and share < 0.5:
    return (
      f"{size}: the Fisher is below the stabiliser (only {share:.1%} of the "
      "parameters count), so the noise is the same everywhere and the Fisher "
      "plays no part"
    )
  if ratio > 1:
    return f"{size}: nothing bounds it where the Fisher is small"
  measured = noise["measured_loss_change"]
  predicted = noise["predicted_loss_change"]
  cost = "more than can be told" if measured is None else f"{measured:.3g}"
  return (
    f"{size} and costs {cost} nats where the Fisher predicts {predicted:.2g}: "
    "it left the region in which the quadratic law holds "
    f"({noise['at_cap']:.0%} of the parameters at the cap, F = 0 for "
    f"{noise['zero_fisher']:.0%})"
  )


def ascent_verdict(
  now: Reading, original: Reading, target: float, max_damage: float
) -> str:
  """The stop rule of gradient ascent: "go on", "done" or "rewind".

  "rewind" (to the weights before) where the network is not finite or has lost
  more than `max_damage` of balanced validation accuracy; "done" where it gives
  the wrong labels no more often than `target`. It has no doubts in its favour:
  to go on until it hurts is to look for the luckiest reading.
  """
  if now.nonfinite or damage(now, original).lost > max_damage:
    return "rewind"
  return "done" if now.forget_accuracy <= target else "go on"
