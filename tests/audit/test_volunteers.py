"""Votes and a network weighed up, beside loops, enumerations and cleanlab."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from gzjax.audit import how_many, volunteers


def some(seed=0, n=80, k=3, most=6, skill=0.7):
  """Votes i64[N,K] of up to `most` volunteers, probabilities f64[N,K]."""
  rng = np.random.default_rng(seed)
  true = rng.integers(k, size=n)
  share = (1 - skill) / k + skill * np.eye(k)[true]
  counts = rng.multinomial(rng.integers(1, most + 1, n), share)
  p = rng.dirichlet(np.ones(k), n) + np.eye(k)[true]
  return counts, p / 2


def crowdlab(counts, p):
  """The formulas of the paper for alike volunteers, galaxy by galaxy."""
  k = counts.shape[1]
  majority = []
  for votes, row in zip(counts, p, strict=True):
    most = [j for j in range(k) if votes[j] == max(votes)]
    majority.append(max(most, key=lambda j, row=row: row[j]))
  several = [i for i, votes in enumerate(counts) if votes.sum() > 1]
  top = [majority[i] for i in several]
  right = np.mean([counts[i][majority[i]] / counts[i].sum() for i in several])
  agree = pairs = 0
  for i in several:
    said = np.repeat(np.arange(k), counts[i])
    for a, b in itertools.permutations(range(len(said)), 2):
      agree, pairs = agree + (said[a] == said[b]), pairs + 1
  commonest = max(range(k), key=top.count)
  chance = np.mean([c != commonest for c in top])
  missed = np.mean([p[i].argmax() != majority[i] for i in several])
  one = 1 - (1 - agree / pairs) / chance
  votes_each = [votes.sum() for votes in counts if votes.sum()]
  network = (1 - missed / chance) * np.sqrt(np.mean(votes_each))
  posterior = []
  for votes, row in zip(counts, p, strict=True):
    terms, weights = [row], [network]
    for said in np.repeat(np.arange(k), votes):
      terms.append(np.where(np.arange(k) == said, right, (1 - right) / (k - 1)))
      weights.append(one)
    posterior.append(np.average(terms, axis=0, weights=weights))
  return np.array(posterior), np.array(majority), one, network


@pytest.mark.parametrize("seed", range(3))
def test_the_consensus_equals_a_loop_over_volunteers(seed):
  counts, p = some(seed)
  counts[:5] = 0  # nobody was asked
  found = volunteers.consensus(counts, p)
  posterior, majority, one, network = crowdlab(counts, p)
  np.testing.assert_allclose(found.posterior, posterior)
  np.testing.assert_array_equal(found.majority, majority)
  np.testing.assert_array_equal(found.label, posterior.argmax(axis=1))
  np.testing.assert_allclose(found.quality, posterior.max(axis=1))
  assert found.volunteer_weight == pytest.approx(one)
  assert found.network_weight == pytest.approx(network)
  np.testing.assert_allclose(found.posterior[:5], p[:5])


def test_galaxies_without_votes_change_nothing_for_the_others():
  counts, p = some()
  found = volunteers.consensus(counts, p)
  more = volunteers.consensus(
    np.pad(counts, ((0, 9), (0, 0))), np.concatenate([p, p[:9]])
  )
  np.testing.assert_allclose(more.posterior[:80], found.posterior)


def test_votes_of_no_worth_leave_the_network_alone():
  # Two volunteers never agree, though all classes are common.
  counts = np.tile([[1, 1, 0], [0, 1, 1], [1, 0, 1]], (20, 1))
  p = np.random.default_rng(0).dirichlet(np.ones(3), 60)
  found = volunteers.consensus(counts, p)
  np.testing.assert_allclose(found.posterior, p, atol=1e-5)


def test_of_a_single_class_all_is_finite():
  found = volunteers.consensus(np.tile([3, 0], (4, 1)), np.full((4, 2), 0.5))
  np.testing.assert_array_equal(found.label, 0)
  assert np.isfinite(found.posterior).all()


def named(counts):
  """Labels f64[N * M,M] of M named volunteers who are all alike.

  Each galaxy is there M times, its votes by other volunteers in turn.
  """
  m = counts.sum(axis=1).max()
  said = np.full((len(counts), m), np.nan)
  for row, votes in zip(said, counts, strict=True):
    row[: votes.sum()] = np.repeat(np.arange(len(votes)), votes)
  return np.concatenate([np.roll(said, i, axis=1) for i in range(m)]), m


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_the_consensus_is_that_of_cleanlab_for_named_volunteers(seed):
  theirs = pytest.importorskip("cleanlab.multiannotator")
  counts, p = some(seed)
  labels, m = named(counts)
  counts, p = np.tile(counts, (m, 1)), np.tile(p, (m, 1))
  found = volunteers.consensus(counts, p)
  expected = theirs.get_label_quality_multiannotator(
    labels,
    p,
    consensus_method="majority_vote",
    return_weights=True,
    verbose=False,
  )
  table = expected["label_quality"]
  np.testing.assert_array_equal(found.majority, table["consensus_label"])
  at = np.arange(len(p)), found.majority
  np.testing.assert_allclose(
    found.posterior[at], table["consensus_quality_score"]
  )
  assert found.network_weight == pytest.approx(expected["model_weight"])
  np.testing.assert_allclose(
    found.volunteer_weight, expected["annotator_weight"]
  )
  # Of what each said, too.
  qualities = expected["detailed_label_quality"].to_numpy()
  for quality, label, row in zip(
    qualities, labels, found.posterior, strict=True
  ):
    known = ~np.isnan(label)
    np.testing.assert_allclose(quality[known], row[label[known].astype(int)])


@pytest.mark.oracle
@pytest.mark.parametrize(("skill", "apart"), [(0.9, 1e-9), (0.6, 0.02)])
def test_who_is_shown_next_is_as_in_cleanlab(skill, apart):
  theirs = pytest.importorskip("cleanlab.multiannotator")
  inner = pytest.importorskip("cleanlab.internal.multiannotator_utils")
  counts, p = some(1, n=60, skill=skill)
  labels, m = named(counts)
  counts, p, unseen = np.tile(counts, (m, 1)), np.tile(p, (m, 1)), p[:50]
  expected = theirs.get_active_learning_scores(labels, p, unseen)
  # Theirs first looks for a temperature.
  at = inner.find_best_temp_scaler(labels, p)
  p, unseen = (inner.temp_scale_pred_probs(x, at) for x in (p, unseen))
  counts = np.pad(counts, ((0, 50), (0, 0)))
  found = volunteers.consensus(counts, np.concatenate([p, unseen]))
  score = volunteers.one_more_volunteer(found, counts)
  # Where the consensus is not the majority, theirs weighs all once more by it.
  agree = np.all(found.label == found.majority)
  assert agree == (skill == 0.9)
  np.testing.assert_allclose(score, np.concatenate(expected), atol=apart)
  assert stats.spearmanr(score, np.concatenate(expected)).statistic > 0.999


def test_one_more_volunteer_equals_the_formula():
  counts, p = some()
  counts[:3] = 0
  found = volunteers.consensus(counts, p)
  score = volunteers.one_more_volunteer(found, counts)
  one, network = found.volunteer_weight, found.network_weight
  for i, votes in enumerate(counts):
    expected = np.average(
      [found.quality[i], 1 / 3], weights=[network + one * votes.sum(), one]
    )
    assert score[i] == pytest.approx(expected)
  # Of galaxies that are as sure, the one with fewer votes comes first.
  found = found._replace(quality=np.full(80, 0.9))
  order = volunteers.one_more_volunteer(found, counts).argsort(kind="stable")
  assert np.all(np.diff(counts.sum(axis=1)[order]) >= 0)


def _crowd(alike, skill=2.5, seed=0):
  """(classes, counts, p) of five volunteers and a network, right or wrong.

  `alike` is how often all of a galaxy's say what the first one said, `skill`
  how far apart the network sees the classes: it knows how sure it may be.
  """
  rng = np.random.default_rng(seed)
  label = rng.integers(0, 3, 4000)
  law = np.full((3, 3), 0.15) + 0.55 * np.eye(3)
  votes = np.array([rng.choice(3, 5, p=law[x]) for x in label])
  same = rng.random(len(label)) < alike
  votes[same] = votes[same, :1]
  counts = np.stack([np.sum(votes == k, axis=1) for k in range(3)], axis=1)
  place = skill * np.eye(3)
  seen = place[label] + rng.normal(size=(len(label), 3))
  return label, counts, special.softmax(seen @ place, axis=1)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_volunteers_multiply_with_the_network(alike):
  """By loops over galaxies and classes."""
  _, counts, p = _crowd(alike)
  p = 0.999 * p + 0.001 / 3  # as sure as a network is taken for
  cool = how_many.calibrated(p, volunteers.consensus(counts, p).majority)
  first = volunteers.consensus(counts, cool)
  true = [(q + np.eye(3)[k]) / 2 for q, k in zip(first.posterior, first.label)]
  law = np.ones((3, 3))
  for q, votes in zip(true, counts):
    law += np.outer(q, votes)
  law /= law.sum(axis=1, keepdims=True)
  together = np.mean([(votes @ votes - 5) / 20 for votes in counts])
  chance = np.mean([q @ np.sum(law**2, axis=1) for q in true])
  worth = 1 / (1 + 4 * (together - chance) / (1 - chance))
  network = how_many.calibrated(p, first.label)
  found = volunteers.dawid_skene(counts, p)
  for i in range(50):
    wanted = [
      network[i, k] * np.prod(law[k] ** (counts[i] * worth)) for k in range(3)
    ]
    np.testing.assert_allclose(found[i], wanted / np.sum(wanted), rtol=1e-6)


def test_both_together_are_better_than_each_and_know_how_good_they_are():
  label, counts, p = _crowd(alike=0.2)
  first = volunteers.consensus(counts, p)
  alone = [first.majority, p.argmax(axis=1), first.label]
  both = volunteers.dawid_skene(counts, p)
  right = np.mean(both.argmax(axis=1) == label)
  assert right > max(np.mean(x == label) for x in alone) + 0.004
  assert both.max(axis=1).mean() == pytest.approx(right, abs=0.02)


def test_a_network_that_knows_nothing_says_nothing():
  _, counts, p = _crowd(alike=0.2, skill=0.0)
  both = volunteers.dawid_skene(counts, p).argmax(axis=1)
  clear = np.sum(counts == counts.max(axis=1, keepdims=True), axis=1) == 1
  majority = counts.argmax(axis=1)
  np.testing.assert_array_equal(both[clear], majority[clear])


def test_where_nobody_was_asked_the_network_decides():
  _, counts, p = _crowd(alike=0.5)
  counts[:20] = 0
  both = volunteers.dawid_skene(counts, p)[:20]
  np.testing.assert_array_equal(both.argmax(axis=1), p[:20].argmax(axis=1))


def test_the_conjugate_mean_lies_between_the_network_and_the_votes():
  rng = np.random.default_rng(0)
  alpha = rng.gamma(2, 2, (6, 3))
  counts, _ = some(n=6)
  counts[0] = 0
  found = volunteers.conjugate(counts, alpha)
  for row, a, votes in zip(found, alpha, counts, strict=True):
    # A law of the shares, seen at many places.
    shares = rng.dirichlet(a, 200_000)
    likelihood = np.prod(shares**votes, axis=1)
    np.testing.assert_allclose(
      row, np.average(shares, axis=0, weights=likelihood), atol=0.01
    )
  np.testing.assert_allclose(found[0], alpha[0] / alpha[0].sum())


def tail(votes, alpha):
  """By SciPy's law, over all outcomes."""
  n, k = sum(votes), len(votes)
  law = stats.dirichlet_multinomial(alpha, n)
  of_all = [
    law.pmf(np.array(other))
    for other in itertools.product(range(n + 1), repeat=k)
    if sum(other) == n
  ]
  return sum(p for p in of_all if p <= law.pmf(votes) * (1 + 1e-9))


def test_tail_probabilities_are_those_of_an_enumeration():
  rng = np.random.default_rng(0)
  counts, _ = some(n=25)
  alpha = rng.gamma(1, 2, (25, 3))
  alpha[:5] = 1  # all outcomes are as likely
  found = volunteers.tail_probability(counts, alpha)
  for i, votes in enumerate(counts):
    assert found[i] == pytest.approx(tail(votes, alpha[i]))
  np.testing.assert_allclose(found[:5], 1)


def test_two_answers_are_a_beta_binomial():
  n = 30
  counts = np.array([[k, n - k] for k in range(n + 1)])
  alpha = np.tile([2.0, 5.0], (n + 1, 1))
  pmf = stats.betabinom(n, 2.0, 5.0).pmf(np.arange(n + 1))
  expected = [pmf[pmf <= p * (1 + 1e-9)].sum() for p in pmf]
  np.testing.assert_allclose(
    volunteers.tail_probability(counts, alpha), expected
  )


def test_many_votes_are_drawn_and_agree_with_the_enumeration(monkeypatch):
  rng = np.random.default_rng(0)
  alpha = rng.gamma(1, 2, (40, 3))
  alpha[0] = 1e-4, 2e-4, 1e-4  # all but certain, of whom we know not
  shares = np.array([rng.dirichlet(a) for a in alpha])
  counts = rng.multinomial(rng.integers(8, 12, 40), shares)
  exact = volunteers.tail_probability(counts, alpha)
  monkeypatch.setattr(volunteers, "_MOST_OUTCOMES", 0)
  drawn = volunteers.tail_probability(counts, alpha, seed=1, samples=4000)
  error = np.sqrt(exact * (1 - exact) / 4000) + 1 / 4000
  assert np.all(np.abs(drawn - exact) < 4.5 * error)
  assert np.any(drawn != exact)
  again = volunteers.tail_probability(counts, alpha, seed=1, samples=4000)
  np.testing.assert_array_equal(drawn, again)


def test_blocks_do_not_change_what_is_found(monkeypatch):
  counts, _ = some()
  alpha = np.random.default_rng(0).gamma(1, 2, (80, 3))
  whole = volunteers.tail_probability(counts, alpha)
  monkeypatch.setattr(volunteers, "_MOST_NUMBERS", 50)
  np.testing.assert_array_equal(
    whole, volunteers.tail_probability(counts, alpha)
  )


def test_few_votes_are_not_blamed_and_many_are():
  alpha = np.array([[18.0, 2.0]])
  one, five, forty = (
    volunteers.tail_probability(np.array([votes]), alpha)[0]
    for votes in ([0, 1], [0, 5], [0, 40])
  )
  assert one > 0.05 > five > forty
  assert one == pytest.approx(2 / 20)
  assert volunteers.tail_probability(np.array([[0, 0]]), alpha)[0] == 1


def test_tail_probabilities_of_the_law_itself_are_at_least_uniform():
  # P(tail <= x) <= x for every x: what makes it a p-value.
  rng = np.random.default_rng(0)
  alpha = rng.gamma(2, 2, (4000, 3))
  shares = np.array([rng.dirichlet(a) for a in alpha])
  counts = rng.multinomial(20, shares)
  found = volunteers.tail_probability(counts, alpha)
  for level in (0.01, 0.05, 0.2, 0.5):
    error = np.sqrt(level * (1 - level) / 4000)
    assert np.mean(found <= level) < level + 3 * error
    assert np.mean(found <= level) > 0.6 * level


def test_outcomes_are_all_there_once():
  for n, k in ((1, 2), (4, 3), (3, 5)):
    found = volunteers._outcomes(n, k)
    assert len(found) == special.comb(n + k - 1, k - 1)
    assert len(np.unique(found, axis=0)) == len(found)
    np.testing.assert_array_equal(found.sum(axis=1), n)
    assert found.min() == 0


COUNTS, PROBABILITIES = some(n=4)


@pytest.mark.parametrize(
  ("counts", "p", "match"),
  [
    (COUNTS[:, :2], PROBABILITIES, r"counts is \[4, 2\]: give i\[4, 3\]"),
    (COUNTS, PROBABILITIES[:3], r"give i\[3\]"),
    (COUNTS - 9, PROBABILITIES, "counts has NaN, infinite or negative"),
    (COUNTS * np.nan, PROBABILITIES, "counts has NaN"),
    (COUNTS / 7, PROBABILITIES, "fractions of votes"),
    (COUNTS, PROBABILITIES * 2, "sum to 1"),
    (np.eye(3)[[0, 1, 2, 0]], PROBABILITIES, "no galaxy with two votes"),
    (COUNTS * 0, PROBABILITIES, "no galaxy with two votes"),
  ],
)
def test_what_is_no_vote_is_refused(counts, p, match):
  with pytest.raises(ValueError, match=match):
    volunteers.consensus(counts, p)


@pytest.mark.parametrize(
  ("alpha", "match"),
  [
    (np.ones(4), r"alpha is f\[4\]: give f\[N,K\]"),
    (np.ones((3, 3)), r"counts is \[4, 3\]: give i\[3, 3\]"),
    (np.zeros((4, 3)), "alpha has numbers that are not finite and above 0"),
    (np.full((4, 3), np.inf), "alpha has"),
  ],
)
def test_what_is_no_law_is_refused(alpha, match):
  for function in (volunteers.conjugate, volunteers.tail_probability):
    with pytest.raises(ValueError, match=match):
      function(COUNTS, alpha)
