"""Numbers about labels and questions against scikit-learn, SciPy and loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from gzjax.evaluation import intervals, label_scores, questions, uncertain
from gzjax.morphology import campaigns
from gzjax.morphology.campaigns import GZD_5
from gzjax.morphology.trees import Question
from gzjax.morphology.trees import Tree as Questions
from gzjax.morphology.votes import from_counts

# Two questions: three answers, and two for those who gave the first.
SMALL = Questions(
  "small",
  (
    Question("shape", "", ("round", "flat", "odd")),
    Question("merging", "", ("merger", "no"), ("shape_round",)),
  ),
)


def _labels(seed, count=80, size=6):
  """Truth and probabilities with ties; the last label is never there."""
  rng = np.random.default_rng(seed)
  truth = rng.random((count, size)) < np.linspace(0.6, 0, size)
  noise = rng.normal(scale=0.3, size=truth.shape)
  return truth, np.clip(0.6 * truth + 0.2 + noise, 0, 1).round(2)


@pytest.mark.parametrize("seed", range(5))
def test_no_cut_has_a_larger_f1_than_the_chosen_one(seed):
  truth, probabilities = _labels(seed)
  probabilities[:20][np.random.default_rng(seed).random((20, 6)) < 0.3] = np.nan
  found = label_scores.choose_thresholds(truth, probabilities)
  assert found.dtype == np.float64
  cuts = np.arange(0, 1.001, 0.01).round(2)
  scores = [
    sklearn_metrics.f1_score(
      truth, probabilities >= cut, average=None, zero_division=0
    )
    for cut in cuts
  ]
  for meant, f1, threshold in zip(truth.T, zip(*scores), found, strict=True):
    if not meant.any():
      assert threshold == 0.5
      continue
    f1 = dict(zip(cuts, f1, strict=True))
    best = max(f1.values())
    assert f1[threshold] == best
    # Any higher cut is worse.
    assert all(f1[cut] < best for cut in f1 if cut > threshold)
  assert (found[:-1] != 0.5).any()


def test_thresholds_of_equal_f1_and_of_labels_that_cannot_be_found():
  truth = np.array([[1, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])
  p = np.array([[0.9, 0.2, 0.4, np.nan], [0.2, 0.9, 0.4, 0.3]] * 2)
  p[2, 0] = 0.8
  # First: 0.9 finds one of two (F1 2/3), 0.2 two of four (F1 2/3).
  np.testing.assert_array_equal(
    label_scores.choose_thresholds(truth, p), [0.9, 0.5, 0.4, 0.5]
  )


def test_float32_probabilities_reach_their_own_thresholds():
  truth, probabilities = _labels(0)
  probabilities = probabilities.astype(np.float32)
  found = label_scores.choose_thresholds(truth, probabilities)
  said = label_scores.above(probabilities, found)
  for k in range(5):
    assert said[probabilities[:, k] == np.float32(found[k]), k].all()
    assert said[:, k].any()


def test_what_is_not_finite_is_not_predicted():
  p = np.array([[np.nan, np.inf, 0.5], [-np.inf, 0.4, 0.51]])
  np.testing.assert_array_equal(
    label_scores.above(p, np.array([0.0, 0.4, 0.51])),
    [[False, False, False], [False, True, True]],
  )


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_several_labels_are_those_of_scikit_learn(seed):
  truth, probabilities = _labels(seed)
  predicted = probabilities > 0.5
  predicted[:, -1] = False  # never there and never predicted
  found = label_scores.label_scores(truth.astype(np.float32), predicted)
  assert list(found) == [
    "exact_match", "macro_precision", "macro_recall", "macro_f1",
    "micro_precision", "micro_recall", "micro_f1", "hamming",
  ]  # fmt: skip
  wanted = {
    "exact_match": sklearn_metrics.accuracy_score(truth, predicted),
    "hamming": sklearn_metrics.hamming_loss(truth, predicted),
  }
  for average in ("macro", "micro"):
    scores = sklearn_metrics.precision_recall_fscore_support(
      truth, predicted, average=average, zero_division=0
    )
    for name, score in zip(("precision", "recall", "f1"), scores):
      wanted[f"{average}_{name}"] = score
  assert found == pytest.approx(wanted)
  assert 0 < found["exact_match"] < found["micro_f1"] < 1


def test_each_label_as_in_scikit_learn():
  truth, probabilities = _labels(4)
  predicted = probabilities > 0.5
  predicted[:, -1] = False
  table = label_scores.per_label("abcdef", truth, predicted)
  assert list(table["label"]) == list("abcdef")
  matrices = sklearn_metrics.multilabel_confusion_matrix(truth, predicted)
  columns = [
    "true_negative",
    "false_positive",
    "false_negative",
    "true_positive",
  ]
  np.testing.assert_array_equal(table[columns], matrices.reshape(6, 4))
  scores = sklearn_metrics.precision_recall_fscore_support(
    truth, predicted, average=None, zero_division=0
  )
  for name, wanted in zip(("precision", "recall", "f1", "positives"), scores):
    np.testing.assert_allclose(table[name], wanted)
  np.testing.assert_array_equal(table["predicted"], predicted.sum(axis=0))


def test_the_difference_of_two_predictions_is_that_of_scikit_learn():
  truth, probabilities = _labels(5, count=40, size=3)
  one, other = probabilities > 0.5, probabilities > 0.7

  found = label_scores.macro_f1_difference(truth, one, other, seed=3)
  scores = [
    sklearn_metrics.f1_score(truth, said, average="macro")
    for said in (one, other)
  ]
  assert found[0] == pytest.approx(scores[0] - scores[1])

  def macro_f1(meant, said):
    return np.mean(
      [
        # F1 is Dice's coefficient.
        2 * sum(a & b) / (sum(a) + sum(b)) if any(a | b) else 0
        for a, b in zip(meant.T, said.T)
      ]
    )

  low, high = intervals.resampled_interval(
    lambda rows: (
      macro_f1(truth[rows], one[rows]) - macro_f1(truth[rows], other[rows])
    ),
    40,
    seed=3,
  )
  assert found[1:] == pytest.approx((low, high))
  assert low < found[0] < high


def test_a_difference_is_paired_and_has_a_sign():
  truth, probabilities = _labels(6, count=200)
  good, bad = probabilities > 0.5, probabilities > 0.9
  assert label_scores.macro_f1_difference(truth, good, good) == (0, 0, 0)
  better = label_scores.macro_f1_difference(truth, good, bad)
  assert 0 < better[1] < better[0] < better[2]
  worse = label_scores.macro_f1_difference(truth, bad, good)
  assert worse == pytest.approx((-better[0], -better[2], -better[1]), abs=0.01)
  # One more hit moves both ends by less than the macro-F1 itself is unsure of.
  near = good.copy()
  near[np.flatnonzero(truth[:, 0] & ~good[:, 0])[:1], 0] = True
  _, low, high = label_scores.macro_f1_difference(truth, near, good)
  assert 0 <= low < high < 0.02


def test_question_accuracy_by_hand():
  counts = np.array(
    [
      [36, 2, 2, 9, 27],  # sure, right; three of four: not sure, wrong
      [20, 15, 5, 20, 0],  # not sure, right; half are asked: sure, right
      [18, 22, 0, 18, 0],  # not sure, wrong; fewer than half are asked
      [32, 8, 0, 0, 32],  # exactly 0.8 is not over it, wrong; sure, wrong
      [0, 0, 40, 0, 0],  # sure, not finite
      [40, 0, 0, 0, 0],  # sure, right; nobody answered
      [0, 0, 0, 0, 0],  # nobody saw it
    ]
  )
  shares = np.array(
    [
      [0.6, 0.3, 0.1, 0.8, 0.2],
      [0.5, 0.4, 0.1, 0.9, 0.1],
      [0.5, 0.4, 0.1, 0.9, 0.1],
      [0.1, 0.8, 0.1, 0.5, 0.4],
      [np.nan, 0.1, 0.9, 0.5, 0.5],
      [0.7, 0.2, 0.1, 0.5, 0.5],
      [0.7, 0.2, 0.1, 0.5, 0.5],
    ]
  )
  votes = from_counts(SMALL, counts)
  table = questions.question_accuracy(SMALL, votes, shares)
  table = table.set_index("question")
  assert list(table.index) == ["shape", "merging", "all"]
  wanted = {"shape": (3, 6, 2, 3), "merging": (1, 3, 1, 2), "all": (4, 9, 3, 5)}
  for question, (right, n, sure_right, sure) in wanted.items():
    row = table.loc[question]
    for of, hits, count in (
      ("", right, n),
      ("confident_", sure_right, sure),
    ):
      assert row[f"{of}galaxies"] == count
      assert row[f"{of}accuracy"] == hits / count
      interval = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
      assert row[[f"{of}accuracy_low", f"{of}accuracy_high"]].tolist() == (
        pytest.approx(list(interval))
      )


def test_question_accuracy_of_nobody_is_nan():
  votes = from_counts(SMALL, np.array([[0, 5, 5, 0, 0]]))
  table = questions.question_accuracy(SMALL, votes, np.full((1, 5), 0.5))
  row = table.iloc[1]
  assert (row["galaxies"], row["confident_galaxies"]) == (0, 0)
  assert np.isnan([row["accuracy"], row["confident_accuracy"]]).all()
  assert table.iloc[0]["galaxies"] == 1
  assert np.isnan(table.iloc[0]["confident_accuracy"])


def test_question_accuracy_of_a_part_of_the_tree_galaxy_by_galaxy():
  rng = np.random.default_rng(0)
  counts = rng.gamma(0.15, 60, (400, len(GZD_5.answers))).round()
  votes = from_counts(GZD_5, counts)
  tree = campaigns.hierarchy(GZD_5)
  shares = rng.random((400, len(tree.answers)))
  shares[rng.random(400) < 0.1] = np.nan
  table = questions.question_accuracy(
    tree, votes, shares, confident=0.7, min_asked=0.3
  ).set_index("question")
  whole = np.zeros(4, int)
  for question in tree.questions:
    names = [f"{question.name}_{answer}" for answer in question.answers]
    here, there = [[t.index(name) for name in names] for t in (tree, GZD_5)]
    found = np.zeros(4, int)
    for i in range(400):
      given = counts[i, there]
      asked = votes.asked[i, GZD_5.question(question.name)]
      if asked < 0.3 or not given.sum():
        continue
      answer = shares[i, here]
      right = np.isfinite(answer).all() and given.argmax() == answer.argmax()
      sure = given.max() > 0.7 * given.sum()
      found += np.array([1, right, sure, sure and right])
    assert 0 < found[3] < found[2] < found[0]
    _agrees(table.loc[question.name], found)
    whole += found
  _agrees(table.loc["all"], whole)
  assert len(table) == 6


def _agrees(row, found):
  n, right, sure, sure_right = found
  assert (row["galaxies"], row["confident_galaxies"]) == (n, sure)
  assert row["accuracy"] == right / n
  assert row["confident_accuracy"] == sure_right / sure


P = np.array(
  [
    [0.7, 0.2, 0.1],
    [0.6, 0.3, 0.1],
    [0.59, 0.41, 0.0],
    [0.1, 0.1, 0.8],
    [np.nan, 0.9, 0.1],
    [0.0, np.inf, 0.0],
    [0.2, 0.7, 0.1],
    [0.2, 0.7, 0.1],
  ]
)
TRUE = np.array([0, 1, 0, 2, 1, 1, -1, 1])


def test_a_class_needs_its_probability_and_finite_numbers():
  found = uncertain.with_uncertain(P, 0.6)
  np.testing.assert_array_equal(found, [0, 0, 3, 2, 3, 3, 1, 1])
  assert found.dtype == np.int64
  with_nothing_below = uncertain.with_uncertain(P, 0)
  np.testing.assert_array_equal(with_nothing_below, [0, 0, 0, 2, 3, 3, 1, 1])


def test_the_confusion_matrix_with_uncertain_is_that_of_scikit_learn():
  rng = np.random.default_rng(1)
  truth = rng.integers(-1, 3, 200)
  p = rng.dirichlet(np.ones(3), 200)
  said = [row.argmax() if row.max() >= 0.6 else 3 for row in p]
  meant = [3 if label == -1 else label for label in truth]
  wanted = sklearn_metrics.confusion_matrix(meant, said, labels=range(4))
  assert (wanted > 0).all()
  found = uncertain.confusion_with_uncertain(truth, p, 0.6)
  np.testing.assert_array_equal(found, wanted)


def test_coverage_and_the_accuracy_of_what_is_covered():
  found = uncertain.coverage_accuracy(TRUE, P, 0.6)
  assert found == {"coverage": 4 / 7, "accuracy": 3 / 4}
  nothing = uncertain.coverage_accuracy(TRUE, P, 0.99)
  assert nothing["coverage"] == 0
  assert np.isnan(nothing["accuracy"])
  nobody = uncertain.coverage_accuracy(TRUE[:0], P[:0], 0.6)
  assert np.isnan(list(nobody.values())).all()


def test_rank_correlations_and_their_intervals_are_those_of_scipy():
  rng = np.random.default_rng(2)
  truth = rng.random((60, 2)).round(1)
  predicted = (truth + rng.normal(scale=0.4, size=(60, 2))).round(1)
  truth[:9, 1] = np.nan
  predicted[5:12, 1] = np.nan
  table = questions.rank_correlations("ab", truth, predicted, seed=4)
  assert list(table["answer"]) == ["a", "b"]
  assert list(table["galaxies"]) == [60, 48]
  for row, x, y in zip(table.itertuples(), truth.T, predicted.T):
    both = np.isfinite(x + y)
    x, y = x[both], y[both]
    assert row.spearman == pytest.approx(stats.spearmanr(x, y).statistic)
    interval = intervals.resampled_interval(
      lambda rows, x=x, y=y: stats.spearmanr(x[rows], y[rows]).statistic,
      len(x),
      seed=4,
    )
    assert (row.low, row.high) == pytest.approx(interval)
    assert row.low < row.spearman < row.high


def test_ranks_of_constants_and_of_nothing_have_no_correlation():
  truth = np.array([[0.1, np.nan, 0.3], [0.1, np.nan, 0.4], [0.1, 0.2, 0.9]])
  predicted = np.array([[0.1, 0.2, 1.0], [0.2, 0.3, 4.0], [0.3, 0.4, 9.0]])
  table = questions.rank_correlations("abc", truth, predicted)
  assert list(table["galaxies"]) == [3, 1, 3]
  assert table.loc[:1, ["spearman", "low", "high"]].isna().all(axis=None)
  assert table.loc[2, "spearman"] == 1
  # Some samples of three galaxies are one galaxy three times.
  assert table.loc[2, ["low", "high"]].isna().all()
  none = questions.rank_correlations("a", truth[:0, :1], truth[:0, :1])
  assert none.loc[0, "galaxies"] == 0
  assert np.isnan(none.loc[0, "spearman"])
