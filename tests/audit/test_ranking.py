"""Rankings of labels; probabilities beside Bayes' theorem for a known law."""

import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from gzjax.audit import how_many, ranking, volunteers
from gzjax.audit.evidence import Evidence, Means
from gzjax.errors import SettingError
from tests.audit.simulated_crowds import crowds

K = 3


def _problem(seed=0, n=900, wrong=0.1):
  """Evidence of networks that know something; the labels; which are wrong."""
  rng = np.random.default_rng(seed)
  true = rng.integers(K, size=n)
  flipped = rng.random(n) < wrong
  label = np.where(flipped, (true + rng.integers(1, K, n)) % K, true)

  def said(certainty):
    logits = rng.normal(size=(n, K)) + certainty * np.eye(K)[true]
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)

  def means(p):
    rows = np.arange(n)
    others = np.where(np.eye(K, dtype=bool)[label], 0, p).max(axis=1)
    return Means(-np.log(p[rows, label]), np.log(p[rows, label] / others), p)

  p = said(3)
  miss = np.where(flipped, 0.8, 0.1)
  found = Evidence(
    fold=np.zeros(n, int),
    probabilities=p,
    held_out=means(said(3)),
    in_sample=means(said(2)),
    neighbours=np.zeros((n, 10), int),
    disagreement=rng.binomial(10, miss) / 10,
    oddity=np.zeros(n),
    influence=np.sum((p - np.eye(K)[label]) ** 2, axis=1) * 5,
    votes=None,
  )
  return found, label, flipped


FOUND, LABEL, FLIPPED = _problem()


@pytest.mark.parametrize("name", ranking.OF_NETWORKS)
def test_every_score_is_low_where_a_label_is_wrong(name):
  score = ranking.OF_NETWORKS[name](FOUND, LABEL)
  assert score.shape == LABEL.shape
  assert np.all((score >= 0) & (score <= 1))
  assert metrics.roc_auc_score(FLIPPED, -score) > 0.9


def test_the_default_adds_the_posterior_and_the_margin_of_the_training():
  learned = np.arange(len(LABEL)) % 3 > 0
  said = FOUND.in_sample._replace(
    loss=np.where(learned, FOUND.in_sample.loss, np.nan),
    probabilities=np.where(
      learned[:, None], FOUND.in_sample.probabilities, np.nan
    ),
  )
  found = ranking.SCORES[ranking.DEFAULT](FOUND._replace(in_sample=said), LABEL)
  calibrated = how_many.calibrated(FOUND.probabilities, LABEL)
  wrong = ranking.probability_wrong(calibrated, LABEL)
  for i, label in enumerate(LABEL):
    p = (said if learned[i] else FOUND).probabilities[i]
    margin = p[label] - max(np.delete(p, label))
    np.testing.assert_allclose(found[i], (1 - wrong[i] + margin + 1) / 3)


def test_the_dynamics_are_the_mean_of_two_losses():
  found = ranking.SCORES["dynamics"](FOUND, LABEL)
  for i in range(20):
    end = -np.log(FOUND.probabilities[i, LABEL[i]])
    mean = (end + FOUND.in_sample.loss[i]) / 2
    np.testing.assert_allclose(found[i], np.exp(-mean))


def test_what_was_not_learned_or_is_out_of_question_has_a_score():
  p = np.array([[0.8, 0.2], [0, 1], [0.5, 0.5], [0, 1], [0.5, 0.5]])
  loss = np.array([np.nan, 0.1, 0.4, np.nan, np.inf])
  found = FOUND._replace(
    probabilities=p, in_sample=FOUND.in_sample._replace(loss=loss)
  )
  score = ranking.SCORES["dynamics"](found, np.zeros(5, int))
  wanted = [0.8, 0, np.exp(-(np.log(2) + 0.4) / 2), 0, 0]
  np.testing.assert_allclose(score, wanted)


@pytest.mark.parametrize("name", ranking.OF_NETWORKS)
def test_a_lower_score_is_never_less_probably_wrong(name):
  found = ranking.rank(FOUND, LABEL, score=name)
  order = np.argsort(found.label_score, kind="stable")
  assert np.all(np.diff(found.probability_wrong[order]) <= 1e-12)
  assert np.all(found.suggested != LABEL)
  rows = np.arange(len(LABEL))
  others = FOUND.probabilities.copy()
  others[rows, LABEL] = -1
  np.testing.assert_array_equal(found.suggested, others.argmax(axis=1))
  # As many in all as by each label's own probability.
  own = ranking.probability_wrong(found.calibrated, LABEL)
  np.testing.assert_allclose(found.probability_wrong.sum(), own.sum())
  assert found.probability_wrong.sum() == pytest.approx(FLIPPED.sum(), rel=0.5)


def test_a_score_of_votes_needs_votes():
  with pytest.raises(SettingError, match="no volunteers' votes"):
    ranking.rank(FOUND, LABEL, score="consensus")


def test_an_unknown_score_is_refused():
  with pytest.raises(ValueError, match="score is 'magic'"):
    ranking.rank(FOUND, LABEL, score="magic")


def test_votes_rank_by_the_consensus_and_count_by_the_favourites():
  counts, p, truth = crowds(0)
  rows, label = np.arange(len(p)), counts.argmax(axis=1)
  wrong = label != truth
  evidence = FOUND._replace(probabilities=p, counts=counts)
  found = ranking.rank(evidence, label, score="auto")
  consensus = volunteers.consensus(counts, p).posterior
  np.testing.assert_allclose(found.label_score, consensus[rows, label])
  consensus[rows, label] = -1
  np.testing.assert_array_equal(found.suggested, consensus.argmax(axis=1))
  order = np.argsort(found.label_score, kind="stable")
  assert np.all(np.diff(found.probability_wrong[order]) <= 1e-12)
  assert found.probability_wrong.sum() == pytest.approx(wrong.sum(), rel=0.3)
  # Another score ranks as it says.
  other = ranking.rank(evidence, label, score="self_confidence")
  np.testing.assert_allclose(other.label_score, p[rows, label])
  # The weights of the consensus would name none of them.
  named = order[: how_many.cut(found.probability_wrong, 0.2)]
  assert len(named) > 0.2 * wrong.sum()
  assert how_many.cut(1 - found.label_score, 0.2) < len(named) / 2
  assert np.mean(wrong[named]) > 0.7


# Of each true class (rows), the labels that it is given.
GIVEN = np.array([[0.9, 0.1, 0.0], [0.05, 0.85, 0.1], [0.2, 0.0, 0.8]])


@pytest.fixture(scope="module")
def known():
  """(p of the labels, labels, P(wrong | x, label), wrong), all exact."""
  rng = np.random.default_rng(0)
  true = rng.integers(3, size=6000)
  place = 2.5 * np.eye(3)
  law = special.softmax((place[true] + rng.normal(size=(6000, 3))) @ place, 1)
  labels = np.sum(rng.random((6000, 1)) > GIVEN[true].cumsum(axis=1), axis=1)
  said = law @ GIVEN
  rows = np.arange(6000)
  right = law[rows, labels] * GIVEN[labels, labels] / said[rows, labels]
  return said, labels, 1 - right, labels != true


def test_the_probability_of_a_wrong_label_is_that_of_bayes(known):
  said, labels, expected, wrong = known
  found = ranking.probability_wrong(said, labels)
  assert np.abs(found - expected).mean() < 0.02
  assert found.sum() == pytest.approx(wrong.sum(), rel=0.1)


def test_the_cut_has_as_many_right_labels_as_it_says(known):
  said, labels, _, wrong = known
  found = ranking.probability_wrong(said, labels)
  for target in (0.1, 0.2, 0.3):
    chosen = np.argsort(-found)[: how_many.cut(found, target)]
    assert len(chosen) > 500
    assert np.mean(~wrong[chosen]) == pytest.approx(target, abs=0.05)
