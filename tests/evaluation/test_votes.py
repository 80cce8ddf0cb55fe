"""Numbers about votes against closed forms, SciPy and simulated volunteers."""

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from gzjax.evaluation import baselines, dirichlet, flags, intervals, vote_tables
from gzjax.evaluation.votes import answers, reliability, rmse, rmse_interval
from gzjax.morphology import trees
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE, GZD_5, TREES
from gzjax.morphology.trees import Question
from gzjax.morphology.trees import Tree as Questions
from gzjax.morphology.votes import Predictions, from_counts, from_fractions
from gzjax.sky.volunteers import count_votes

# Two questions: three answers, and two for those who gave the first.
SMALL = Questions(
  "small",
  (
    Question("shape", "", ("round", "flat", "odd")),
    Question("merging", "", ("merger", "no"), ("shape_round",)),
  ),
)


def _laws(rng, count, tree=SMALL):
  return rng.uniform(1, 30, (count, len(tree.answers)))


def _votes(rng, alpha, volunteers=40, tree=SMALL):
  """Counts of volunteers who obey the tree, by NumPy."""
  counts = np.zeros_like(alpha)
  for q in tree.order:
    part, parents = tree.slices[q], list(tree.parents[q])
    for i, law in enumerate(alpha[:, part]):
      n = int(counts[i, parents].sum()) if parents else volunteers
      counts[i, part] = rng.multinomial(n, rng.dirichlet(law))
  return counts


@pytest.fixture(scope="module")
def crowd():
  """Laws, votes and shares of 4,000 galaxies."""
  rng = np.random.default_rng(0)
  alpha = _laws(rng, 4000)
  return alpha, from_counts(SMALL, _votes(rng, alpha))


def test_rmse_is_that_of_scikit_learn_and_takes_a_constant():
  truth, predicted = np.random.default_rng(0).random((2, 30, 5))
  wanted = sklearn_metrics.mean_squared_error(truth.ravel(), predicted.ravel())
  assert rmse(truth, predicted) == pytest.approx(wanted**0.5)
  constant = np.broadcast_to(predicted[0], truth.shape)
  assert rmse(truth, predicted[0]) == rmse(truth, constant)


def test_a_prediction_that_is_not_finite_is_as_wrong_as_can_be():
  truth = np.array([[0.25, 0.75, 0.5]])
  for bad in (np.nan, np.inf, -np.inf):
    assert rmse(truth, np.full((1, 3), bad)) == pytest.approx(
      np.sqrt((0.75**2 + 0.75**2 + 0.5**2) / 3)
    )


def test_the_mean_vector_beats_all_other_constants():
  rng = np.random.default_rng(1)
  truth = rng.random((50, 4)).astype(np.float32)
  best = baselines.mean_vector(truth)
  assert best.dtype == np.float64
  for other in best + 0.01 * rng.normal(size=(20, 4)):
    assert rmse(truth, best) < rmse(truth, other)


def test_bootstrap_interval_is_that_of_the_normal_law():
  values = np.random.default_rng(2).exponential(size=(2000, 2))
  low, high = intervals.bootstrap_interval(values, draws=2000)
  half = 1.96 * values.std(axis=0) / np.sqrt(2000)
  np.testing.assert_allclose(low, values.mean(axis=0) - half, atol=0.005)
  np.testing.assert_allclose(high, values.mean(axis=0) + half, atol=0.005)
  values[0] = np.inf
  assert np.isinf(intervals.bootstrap_interval(values)[1]).all()


def test_rmse_interval_holds_the_truth_as_often_as_it_says():
  rng = np.random.default_rng(3)
  inside = 0
  for seed in range(200):
    error = rng.normal(scale=0.1, size=(100, 5))
    low, high = rmse_interval(error, np.zeros(5), seed)
    inside += low < 0.1 < high
  assert 180 <= inside <= 199  # 95% of 200, four deviations about


def test_answers_by_hand():
  truth = np.array([[0.0, 1, 0, 0, 0], [0.8, 0.2, 0, 0.4, 0.4]])
  predicted = np.array([[0.1, 0.9, 0, 0, 0], [0.6, 0.4, 0, 0.4, 0.2]])
  mean = baselines.mean_vector(truth)
  table = answers(SMALL, truth, predicted, mean)
  assert list(table["question"]) == [*["shape"] * 3, *["merging"] * 2, "all"]
  assert list(table["answer"]) == [
    "round", "flat", "odd", "merger", "no", "all",
  ]  # fmt: skip
  first = table.iloc[0]
  wanted = {
    "mean_voted": 0.4,
    "mean_predicted": 0.35,
    "rmse": np.sqrt((0.1**2 + 0.2**2) / 2),
    "rmse_of_mean": 0.4,
    "skill": 1 - (0.05 / 2) / 0.16,
    "correlation": 1.0,
    "zero_share": 0.5,
    "predicted_where_zero": 0.1,
    "rmse_where_zero": 0.1,
    "rmse_elsewhere": 0.2,
    "error_from_zeros": 0.2,
  }
  assert first[list(wanted)].to_dict() == pytest.approx(wanted)
  odd = table.iloc[2]  # never seen, never said
  assert odd["rmse"] == 0
  assert odd[["skill", "correlation", "rmse_elsewhere"]].isna().all()
  whole = table.iloc[-1]
  assert whole["rmse"] == rmse(truth, predicted)
  assert whole["rmse_of_mean"] == rmse(truth, mean)
  assert whole["zero_share"] == 0.5
  # Of 0.14 = 0.01 + 0.01 + 0.04 + 0.04 + 0.04 one hundredth is at a zero.
  assert whole["error_from_zeros"] == pytest.approx(0.01 / 0.14)


def test_only_exact_zeros_are_zeros():
  truth = np.array([[0, 1e-6, 0.5, 0, 1]])
  table = answers(SMALL, truth, truth, truth[0])
  assert table["zero_share"].tolist() == [1, 0, 0, 1, 0, 0.4]


def test_the_skill_of_the_mean_vector_is_0_and_of_the_truth_1():
  truth = np.random.default_rng(4).random((20, 5))
  mean = baselines.mean_vector(truth)
  constant = np.tile(mean, (20, 1))
  table = answers(SMALL, truth, constant, mean)
  np.testing.assert_allclose(table["skill"], 0, atol=1e-12)
  assert table["correlation"].isna().all()
  table = answers(SMALL, truth, truth, mean)
  np.testing.assert_allclose(table["skill"], 1)
  np.testing.assert_allclose(table["correlation"], 1)
  broken = np.where(np.arange(20)[:, None] == 3, np.nan, truth)
  table = answers(SMALL, truth, broken, mean)
  assert (table["rmse"] > 0.1).all()
  np.testing.assert_allclose(table["correlation"], 1)


def test_central_pixel_finds_what_the_colour_tells():
  rng = np.random.default_rng(5)
  kind = rng.integers(0, 3, 90)
  image = rng.integers(0, 255, (90, 20, 20, 3), dtype=np.uint8)
  image[:, 8:12, 8:12] = np.diag([200, 150, 100])[kind][:, None, None]
  fractions = np.eye(3)[kind] + 0.01 * rng.normal(size=(90, 3))
  train = np.arange(0, 90, 2)
  colour = baselines.central_colour(image, 4)
  np.testing.assert_array_equal(colour, np.diag([200, 150, 100])[kind])
  found = baselines.central_pixel(colour, fractions, train, clusters=3)
  for k in range(3):
    mean = fractions[train][kind[train] == k].mean(axis=0)
    np.testing.assert_allclose(
      found[kind == k], mean[None].repeat(sum(kind == k), 0)
    )
  # More clusters than colours: no warning, the same answer.
  again = baselines.central_pixel(colour, fractions, train, clusters=9)
  np.testing.assert_allclose(again, found)


def test_only_the_centres_of_a_memory_map_are_asked_for(tmp_path):
  image = np.arange(4 * 9 * 9 * 3).reshape(4, 9, 9, 3).astype(np.uint8)
  np.save(tmp_path / "pixels.npy", image)
  mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
  np.testing.assert_array_equal(
    baselines.central_colour(mapped, 1), image[:, 4, 4]
  )


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_mergers_of_every_tree(tree):
  without = ("hubble", "hubble_v2", "ukidss", "rings")
  known = ("odd-feature_merger", "merging_merger")
  wanted = (None,) if tree.name in without else known
  assert flags.merger(tree) in wanted


def test_flag_by_hand():
  truth = np.zeros((5, 5))
  truth[:, 3] = [0.4, 0.5, 0.2, 0.0, 0.6]
  truth[:, 4] = [0.5, 0.1, 0.1, 0.0, 0.7]
  predicted = np.zeros((5, 5))
  predicted[:, 3] = [0.4, 0.9, 0.7, 0.41, np.nan]
  table = flags.flag(SMALL, truth, predicted).set_index("meant")
  assert list(table.index) == ["fraction", "most voted"]
  fraction, most = table.loc["fraction"], table.loc["most voted"]
  assert fraction[["flagged", "positives", "hits"]].tolist() == [4, 3, 2]
  assert fraction[["precision", "recall"]].tolist() == [2 / 4, 2 / 3]
  wanted = stats.binomtest(2, 4).proportion_ci(0.95, "wilson")
  assert fraction[["precision_low", "precision_high"]].tolist() == (
    pytest.approx(list(wanted))
  )
  assert most[["flagged", "positives", "hits"]].tolist() == [4, 2, 2]
  nothing = flags.flag(SMALL, truth, predicted, thresholds=[0.99])
  assert nothing["precision"].isna().all()
  assert (nothing["precision_high"] == 1).all()
  other = flags.flag(
    SMALL, truth, predicted, answer="merging_no", meant_from=0.1
  )
  assert other["positives"].tolist() == [4, 2]


def test_precision_and_recall_are_those_of_scikit_learn():
  rng = np.random.default_rng(6)
  truth = rng.random((300, 5))
  predicted = np.clip(truth + 0.3 * rng.normal(size=truth.shape), 0, 1)
  table = flags.flag(
    SMALL, truth, predicted, thresholds=(0.1, 0.5, 0.9), meant_from=0.6
  )
  meant = truth[:, 3] >= 0.6
  for row in table[table["meant"] == "fraction"].itertuples():
    said = predicted[:, 3] >= row.threshold
    assert row.precision == sklearn_metrics.precision_score(meant, said)
    assert row.recall == sklearn_metrics.recall_score(meant, said)


def test_the_mean_shares_are_those_of_scipy():
  alpha = _laws(np.random.default_rng(7), 3)
  found = dirichlet.mean_shares(SMALL, alpha.astype(np.float32))
  assert found.dtype == np.float64
  for i in range(3):
    for part in SMALL.slices:
      np.testing.assert_allclose(
        found[i, part], stats.dirichlet(alpha[i, part]).mean(), rtol=1e-6
      )
  alpha[0, 4] = np.inf
  bad = dirichlet.mean_shares(SMALL, alpha)
  assert np.isnan(bad[0, 3:]).all()
  assert np.isfinite(bad[0, :3]).all()


def test_a_credible_interval_holds_its_share_of_dirichlet_draws():
  rng = np.random.default_rng(8)
  alpha = _laws(rng, 1)
  low, high = dirichlet.credible_interval(SMALL, alpha, 0.8)
  for part in SMALL.slices:
    draws = rng.dirichlet(alpha[0, part], 40_000)
    for end, share in ((low, 0.1), (high, 0.9)):
      np.testing.assert_allclose(
        (draws < end[0, part]).mean(axis=0), share, atol=0.01
      )


def test_the_true_law_covers_as_often_as_it_says(crowd):
  alpha, votes = crowd
  table = dirichlet.coverage(SMALL, votes.counts, alpha)
  assert len(table) == 3 * len(dirichlet.LEVELS)
  z = (table["inside"] - table["level"]) / table["standard_error"]
  assert np.abs(z).max() < 4
  # The error is about the binomial one of as many galaxies.
  merging = table[table["question"] == "merging"]
  known = np.sum(votes.counts[:, 3:].sum(axis=1) > 0)
  assert (merging["shares"] == 2 * known).all()
  binomial = np.sqrt(merging["level"] * (1 - merging["level"]) / known)
  assert (merging["standard_error"] < 1.05 * binomial).all()
  assert (merging["standard_error"] > 0.6 * binomial).all()


def test_coverage_tells_overconfidence_from_doubt_and_nan(crowd):
  alpha, votes = crowd
  levels = (0.5, 0.9)
  sure, unsure = (
    dirichlet.coverage(SMALL, votes.counts, factor * alpha, levels)
    for factor in (20, 0.05)
  )
  assert (sure["inside"] < sure["level"] - 0.05).all()
  assert (unsure["inside"] > unsure["level"] + 0.02).all()
  nothing = dirichlet.coverage(
    SMALL, votes.counts, np.full_like(alpha, np.nan), levels
  )
  assert (nothing["inside"] == 0).all()
  nobody = dirichlet.coverage(SMALL, 0 * votes.counts, alpha, levels)
  assert (nobody["shares"] == 0).all()
  assert nobody["inside"].isna().all()


def test_the_laws_of_the_synthetic_volunteers_cover_their_votes():
  alpha = np.random.default_rng(13).uniform(1, 50, (3000, 37))
  keys = jax.random.split(jax.random.key(0), 3000)
  crowds = np.full(3000, 45)
  counts = jax.vmap(count_votes)(keys, np.float32(alpha), crowds)
  table = dirichlet.coverage(GZ2, np.asarray(counts), alpha, (0.5, 0.9))
  z = (table["inside"] - table["level"]) / table["standard_error"]
  assert np.abs(z).max() < 4
  assert table["standard_error"].max() < 0.02
  assert len(z) == 2 * 12


def test_reliability_of_the_truth_and_of_a_bias(crowd):
  alpha, votes = crowd
  shares = dirichlet.mean_shares(SMALL, alpha)
  asked = trees.sums(SMALL, votes.counts)
  table = reliability(SMALL, votes.shares, shares, asked)
  z = (table["observed"] - table["predicted"]) / table["standard_error"]
  assert np.abs(z[table["shares"] > 30]).max() < 4
  assert table["shares"].sum() == np.isfinite(votes.shares).sum()
  assert table["weight"].sum() == pytest.approx((asked * [3, 2]).sum())
  low = table["bin"] / 10
  assert ((low <= table["predicted"]) & (table["predicted"] < low + 0.1)).all()
  shrunk = reliability(SMALL, votes.shares, 0.5 * shares + 0.25, asked)
  bold = shrunk[shrunk["predicted"] > 0.6]
  assert len(bold) > 2
  assert (bold["observed"] > bold["predicted"] + bold["standard_error"]).all()


def test_reliability_weighs_by_the_volunteers_and_leaves_nan_out():
  shares = np.array([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [np.nan, np.nan]])
  predicted = np.array([[0.32, 0.68], [0.38, 0.62], [np.nan] * 2, [0.3, 0.7]])
  asked = np.array([[30.0], [10.0], [20.0], [0.0]])
  tree = Questions("one", (Question("q", "", ("yes", "no")),))
  table = reliability(tree, shares, predicted, asked)
  assert table["bin"].tolist() == [3, 6]
  assert table["observed"].tolist() == pytest.approx([0.25, 0.75])
  assert table["predicted"].tolist() == pytest.approx([0.335, 0.665])
  assert table["weight"].tolist() == [40, 40]


def test_the_first_and_the_last_bin_hold_0_and_1():
  predicted = np.array([[0.0, 1.0], [0.09, 0.91], [0.5, 0.5]])
  tree = Questions("one", (Question("q", "", ("yes", "no")),))
  table = reliability(tree, predicted, predicted, np.ones((3, 1)))
  assert table["bin"].tolist() == [0, 5, 9]
  np.testing.assert_allclose(table["predicted"], table["observed"])
  np.testing.assert_allclose(table["predicted"], [0.045, 0.5, 0.955])


def test_likelihood_is_scipys_dirichlet_multinomial():
  rng = np.random.default_rng(10)
  alpha = _laws(rng, 30, GZ2)
  counts = _votes(rng, alpha, tree=GZ2)
  counts[0, 3:] = 0
  found = dirichlet.negative_log_likelihood(GZ2, counts, alpha)
  assert found.shape == (30, 11)
  for i in range(30):
    for q, part in enumerate(GZ2.slices):
      n = int(counts[i, part].sum())
      law = stats.dirichlet_multinomial(alpha[i, part], n)
      wanted = -law.logpmf(counts[i, part].astype(int))
      assert found[i, q] == pytest.approx(wanted, abs=1e-10)
  assert (found[0, 1:] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_law_that_is_not_finite_has_no_likelihood(bad):
  counts = np.array([[1.0, 2, 0, 0, 0]])
  found = dirichlet.negative_log_likelihood(SMALL, counts, np.full(5, bad))
  np.testing.assert_array_equal(found, [[np.inf, 0]])


def test_likelihood_of_single_precision_is_that_of_double():
  rng = np.random.default_rng(14)
  alpha = _laws(rng, 9).astype(np.float32)
  counts = _votes(rng, alpha).astype(np.float32)
  np.testing.assert_array_equal(
    dirichlet.negative_log_likelihood(SMALL, counts, alpha),
    dirichlet.negative_log_likelihood(
      SMALL, counts.astype(np.float64), alpha.astype(np.float64)
    ),
  )


def test_the_fit_finds_the_law_and_nothing_is_likelier():
  rng = np.random.default_rng(11)
  law = np.array([8.0, 3.0, 0.7, 2.0, 5.0])
  counts = _votes(rng, np.tile(law, (4000, 1)))
  found = dirichlet.fit_concentration(SMALL, counts)
  np.testing.assert_allclose(found, law, rtol=0.1)

  def loss(alpha):
    return dirichlet.negative_log_likelihood(SMALL, counts, alpha).mean()

  for factor in np.exp(0.02 * rng.normal(size=(10, 5))):
    assert loss(found) < loss(found * factor)


def test_tables_hold_what_was_put_in(crowd):
  alpha, votes = crowd
  back = vote_tables.votes_of(SMALL, vote_tables.votes_table(votes))
  np.testing.assert_array_equal(back.shares, votes.shares)
  np.testing.assert_array_equal(back.counts, votes.counts)
  shares_only = votes._replace(counts=None)
  back = vote_tables.votes_of(SMALL, vote_tables.votes_table(shares_only))
  assert back.counts is None
  shares = dirichlet.mean_shares(SMALL, alpha)
  given = Predictions(SMALL, shares, alpha)
  table = vote_tables.predictions_table(given)
  back = vote_tables.predictions_of(SMALL, table)
  np.testing.assert_array_equal(back.concentration, alpha)
  np.testing.assert_array_equal(back.shares, shares)
  np.testing.assert_allclose(table["p_asked_merging"], shares[:, 0])
  assert (table["shape_flat_lo"] < table["shape_flat"]).all()
  assert (table["shape_flat_hi"] > table["shape_flat"]).all()
  np.testing.assert_allclose(back.cumulative[:, 3], shares[:, 0] * shares[:, 3])


def test_study_has_all_tables_of_the_test_galaxies(crowd):
  alpha, votes = crowd
  shares = dirichlet.mean_shares(SMALL, alpha)
  colour = 255 * shares[:, :3]
  train, test = np.arange(1000, 4000), np.arange(1000)
  predictions = {
    "original": Predictions(SMALL, shares, alpha),
    "plain": Predictions(SMALL, np.full_like(shares, 0.5)),
  }
  tables = vote_tables.vote_tables(
    votes, predictions.items(), colour, train=train, test=test
  )
  found = tables["baselines"].set_index("method")["rmse"]
  assert list(found.index) == [
    "mean vector", "central pixel", "original", "plain",
  ]  # fmt: skip
  assert found["original"] < found["central pixel"] < found["mean vector"]
  truth = votes.cumulative
  assert found["mean vector"] == rmse(truth[test], truth[train].mean(axis=0))
  nll = tables["likelihood"].set_index(["method", "question"])["nll"]
  assert set(nll.index.get_level_values(0)) == {"one law for all", "original"}
  assert nll["original"]["all"] < nll["one law for all"]["all"]
  assert nll["original"]["all"] == pytest.approx(
    nll["original"][["shape", "merging"]].sum()
  )
  constant = dirichlet.fit_concentration(SMALL, votes.counts[train])
  losses = dirichlet.negative_log_likelihood(
    SMALL, votes.counts[test], constant
  )
  assert nll["one law for all"]["all"] == pytest.approx(
    losses.sum(axis=1).mean()
  )
  for name in ("answers", "flag", "precision_recall", "reliability"):
    assert list(tables[name]["method"].unique()) == ["original", "plain"], name
  assert list(tables["coverage"]["method"].unique()) == ["original"]
  assert (tables["flag"]["positives"] <= 1000).all()


def test_study_of_fractions_has_neither_coverage_nor_likelihood():
  rng = np.random.default_rng(12)
  for tree in (GZ2_KAGGLE, GZD_5):
    fractions = trees.joint(
      tree, dirichlet.mean_shares(tree, _laws(rng, 60, tree))
    )
    votes = from_fractions(tree, fractions)
    alpha = _laws(rng, 60, tree)
    tables = vote_tables.vote_tables(
      votes,
      [
        (
          "original",
          Predictions(tree, dirichlet.mean_shares(tree, alpha), alpha),
        )
      ],
      rng.random((60, 3)),
      train=np.arange(40),
      test=np.arange(40, 60),
    )
    assert sorted(tables) == [
      "answers", "baselines", "flag", "precision_recall", "reliability",
    ]  # fmt: skip
    assert isinstance(tables["answers"], pd.DataFrame)
