"""From what networks say to a ranking, and to a probability for each label."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from gzjax.audit import endless, how_many, suspicion, volunteers
from gzjax.audit.evidence import Evidence
from gzjax.errors import SettingError
from gzjax.evaluation import metrics
from gzjax.registry import Table


class Ranked(NamedTuple):
  """N labels; low scores look wrong."""

  label_score: np.ndarray  # f64[N], 0 to 1
  probability_wrong: np.ndarray  # f64[N], falls with the score
  suggested: np.ndarray  # i64[N], the likeliest other class
  calibrated: np.ndarray  # f64[N,C], probabilities of given labels


def rank(
  found: Evidence,
  label: np.ndarray,
  *,
  score: str,
) -> Ranked:
  """Ranks labels i[N] by a row of `SCORES`.

  Where votes judge the labels, their probabilities are not those of the
  consensus, which ranks best but adds up to no count: they are those of
  `endless.favourites`, that endlessly many volunteers would say otherwise.

  Raises:
    SettingError: see `check_score`.
  """
  check_score(score, found.counts)
  chosen = SCORES[score](found, label)
  calibrated = how_many.calibrated(found.probabilities, label)
  if found.counts is None:
    wrong = probability_wrong(calibrated, label)
    likely = calibrated
  else:
    favoured = endless.favourites(found.counts, found.probabilities)
    wrong = 1 - favoured[np.arange(len(label)), label]
    likely = _posterior(found)
  return Ranked(
    chosen,
    _falling(wrong, chosen),
    suspicion.scores(likely, label).suggested,
    calibrated,
  )


def check_score(score: str, counts: np.ndarray | None) -> None:
  """Raises SettingError for no row of `SCORES`, or one without its votes."""
  SCORES.pick("score", score)
  if score == CONSENSUS and counts is None:
    raise SettingError(
      f"score is {score!r}, but there are no volunteers' votes that may judge "
      "the labels: choose another one."
    )


def probability_wrong(
  probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
  """Probability that each of the labels i[N] is wrong, f64[N].

  The network has learned which label is given, right or wrong: p(given | x) =
  sum_k p(true = k | x) T[k, given], where T is `how_many.transitions` (the
  forward correction of Patrini et al. 2017). Solved for p(true | x), and Bayes:
  P(right) = p(true = given | x) T[given, given] / p(given | x).

  Args:
    probabilities: f[N,C], calibrated, of given labels.
    labels: i[N].
  """
  given = how_many.transitions(probabilities, labels).T  # [given, true]
  rows = np.arange(len(labels))
  true = np.clip(probabilities @ np.linalg.pinv(given).T, 0, None)
  true /= np.maximum(true.sum(axis=1, keepdims=True), 1e-12)
  both = true * given[labels]
  right = both[rows, labels] / np.maximum(both.sum(axis=1), 1e-12)
  return 1 - right


def _falling(wrong: np.ndarray, score: np.ndarray) -> np.ndarray:
  """The nearest probabilities that fall where the score rises."""
  from sklearn import isotonic  # slow to import

  fit = isotonic.IsotonicRegression(
    y_min=0, y_max=1, increasing=False, out_of_bounds="clip"
  )
  return fit.fit_transform(score, wrong)


def _auto(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The consensus where votes judge the labels, else `_posterior_margin`."""
  score = _posterior_margin if found.counts is None else _consensus
  return score(found, label)


def _consensus(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The probability of the label by volunteers and networks together."""
  return _posterior(found)[np.arange(len(label)), label]


def _posterior(found: Evidence) -> np.ndarray:
  assert found.counts is not None
  return volunteers.consensus(found.counts, found.probabilities).posterior


def _posterior_margin(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The probability that the label is right, and how clearly it was learned.

  The one of the networks that did not learn it, by `probability_wrong`; the
  other the margin of the mean probabilities of those that did, over their
  epochs (of those that did not, where none did). Their sum, to 0 to 1.
  """
  calibrated = how_many.calibrated(found.probabilities, label)
  right = 1 - probability_wrong(calibrated, label)
  learned = ~np.isnan(found.in_sample.loss)[:, None]
  said = np.where(learned, found.in_sample.probabilities, found.probabilities)
  margin = suspicion.scores(said, label).normalised_margin
  return (right + margin + 1) / 3


def _dynamics(found: Evidence, label: np.ndarray) -> np.ndarray:
  """Of what did not learn the label at the end, and of what did on its way.

  The mean of two losses: one of the last networks, one over all epochs.
  """
  end = metrics.cross_entropy(found.probabilities, label)
  every = np.stack([end, found.in_sample.loss])
  known = ~np.isnan(found.in_sample.loss)
  return np.exp(-np.where(known, every.mean(axis=0), end))


def _mean_loss(found: Evidence, label: np.ndarray) -> np.ndarray:
  """Of the mean loss over the epochs of networks that did not learn it."""
  del label
  return np.exp(-found.held_out.loss)


def _self_confidence(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The probability of the label (Northcutt et al. 2021)."""
  return suspicion.scores(found.probabilities, label).self_confidence


def _normalised_margin(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The same over the largest other probability, to 0 to 1."""
  margin = suspicion.scores(found.probabilities, label).normalised_margin
  return (1 + margin) / 2


def _adjusted_self_confidence(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The same less its mean over all labels of the class."""
  return suspicion.scores(found.probabilities, label).adjusted_self_confidence


def _mean_margin(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The margin of logits over epochs, of networks that did not learn it."""
  del label
  return special.expit(found.held_out.margin)


def _neighbours(found: Evidence, label: np.ndarray) -> np.ndarray:
  """The share of galaxies with the same look and the same label."""
  del label
  return 1 - found.disagreement


def _self_influence(found: Evidence, label: np.ndarray) -> np.ndarray:
  """One over one and the squared gradient of the head."""
  del label
  return 1 / (1 + found.influence)


# (evidence, label i[N]) -> f64[N], 0 to 1, low where the label looks wrong
Score = Callable[[Evidence, np.ndarray], np.ndarray]

DEFAULT, CONSENSUS = "auto", "consensus"

# Those that need no votes.
OF_NETWORKS: dict[str, Score] = {
  "posterior_margin": _posterior_margin,
  "dynamics": _dynamics,
  "mean_loss": _mean_loss,
  "self_confidence": _self_confidence,
  "normalised_margin": _normalised_margin,
  "adjusted_self_confidence": _adjusted_self_confidence,
  "mean_margin": _mean_margin,
  "neighbours": _neighbours,
  "self_influence": _self_influence,
}

SCORES: Table[Score] = Table(
  {DEFAULT: _auto, CONSENSUS: _consensus, **OF_NETWORKS}
)
