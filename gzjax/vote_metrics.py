"""Numbers about predicted votes, on the host in float64.

Fractions are cumulative (shares of all volunteers, what the Kaggle challenge
scores), shares are conditional (of those who were asked); both have the answers
in the order of `Tree.answers` on the last axis. A prediction that is not finite
counts as wrong: as 0 or 1, whichever is farther from the truth, or as outside
of every interval.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special
from sklearn import cluster

from gzjax import metrics
from gzjax.data import decision_tree
from gzjax.data.decision_tree import Tree
from gzjax.data.labels import Votes
from gzjax.data.pixels import Images

ALL = "all"  # the row over all questions or answers
CONSTANT = "one law for all"  # the baseline of the Dirichlet laws
FLAGGED_FROM = 0.4  # seed 2, section 4.5
THRESHOLDS = tuple(k / 100 for k in range(1, 100))
LEVELS = tuple(k / 20 for k in range(1, 20))
# The challenge's central pixel benchmark takes a square of 10 of 424 pixels.
CENTRE, CLUSTERS = 10, 6


class Predictions(NamedTuple):
  """What a network says about N galaxies, answers in the order of the tree."""

  tree: Tree
  shares: np.ndarray  # f64[N,A], conditional
  concentration: np.ndarray | None = None  # f64[N,A], of Dirichlet laws

  @property
  def cumulative(self) -> np.ndarray:
    """f64[N,A], shares of all volunteers."""
    return decision_tree.joint(self.tree, self.shares)

  def select(self, rows: np.ndarray) -> "Predictions":
    """The predictions for some of the galaxies."""
    return Predictions(
      self.tree,
      self.shares[rows],
      None if self.concentration is None else self.concentration[rows],
    )


def votes_table(votes: Votes) -> pd.DataFrame:
  """Columns of votes.parquet: `<answer>`, and `<answer>_votes` if known."""
  columns = _named(votes.tree, "{}", votes.shares)
  if votes.counts is not None:
    columns |= _named(votes.tree, "{}_votes", votes.counts)
  return pd.DataFrame(columns)


def votes_of(tree: Tree, table: pd.DataFrame) -> Votes:
  """The votes in the columns of `votes_table`."""
  return Votes(
    tree, _values(tree, "{}", table), _values_if_any(tree, "{}_votes", table)
  )


def predictions_table(
  predictions: Predictions, level: float = 0.9
) -> pd.DataFrame:
  """Columns of evaluate/<method>.parquet that speak of votes.

  `<answer>` (share), `p_asked_<question>`, and for Dirichlet laws
  `<answer>_concentration`, `<answer>_lo` and `<answer>_hi`.

  Args:
    predictions: of a network.
    level: of the credible intervals.
  """
  tree, shares, alpha = predictions
  columns = _named(tree, "{}", shares)
  for question, reach in zip(
    tree.questions, decision_tree.asked(tree, shares).T, strict=True
  ):
    columns[f"p_asked_{question.name}"] = reach
  if alpha is not None:
    low, high = credible_interval(tree, alpha, level)
    columns |= _named(tree, "{}_concentration", alpha)
    columns |= _named(tree, "{}_lo", low) | _named(tree, "{}_hi", high)
  return pd.DataFrame(columns)


def predictions_of(tree: Tree, table: pd.DataFrame) -> Predictions:
  """The predictions in the columns of `predictions_table`."""
  return Predictions(
    tree,
    _values(tree, "{}", table),
    _values_if_any(tree, "{}_concentration", table),
  )


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
  """Root mean squared error over all galaxies and answers.

  The Kaggle challenge's score.

  Args:
    truth: f[N,A], cumulative fractions.
    predicted: f[N,A], or f[A] for the same prediction everywhere.
  """
  return _rms(_errors(truth, predicted))


def rmse_interval(
  truth: np.ndarray, predicted: np.ndarray, seed: int = 0
) -> tuple[float, float]:
  """95% interval of `rmse`: a bootstrap over galaxies."""
  squares = np.mean(_errors(truth, predicted) ** 2, axis=1)
  low, high = bootstrap_interval(squares, seed)
  return float(np.sqrt(low)), float(np.sqrt(high))


def bootstrap_interval(
  values: np.ndarray,
  seed: int = 0,
  *,
  draws: int = 1000,
  confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
  """Percentile interval of the mean over the first axis (Efron 1979).

  Args:
    values: f[N,...], a galaxy a row.
    seed: of the draws; equal seeds draw equal galaxies.
    draws: samples of N galaxies, with replacement.
    confidence: of the interval.
  """
  return metrics.resampled_interval(
    lambda rows: values[rows].mean(axis=0),
    len(values),
    seed,
    draws=draws,
    confidence=confidence,
  )


def answers(
  tree: Tree, truth: np.ndarray, predicted: np.ndarray, mean: np.ndarray
) -> pd.DataFrame:
  """How well each answer is predicted, and what the zero labels cost.

  Seed 2 (section 4.4) lays most of its error to the many labels of exactly 0,
  for which its network "generally guesses a value".

  Args:
    tree: the questions.
    truth: f[N,A], cumulative fractions.
    predicted: f[N,A], cumulative fractions.
    mean: f[A], what to beat: the `mean_vector` of the training set.

  Returns:
    A rows and one over all answers: `question`, `answer`, `mean_true`,
    `mean_predicted`, `rmse`, `rmse_of_mean`, `skill` (1 - (rmse /
    rmse_of_mean)^2), `correlation` (Pearson's, of the departures from `mean`),
    `zero_share` (of the galaxies whose true fraction is 0),
    `predicted_where_zero`, `rmse_where_zero`, `rmse_elsewhere` and
    `error_from_zeros` (share of the squared error). NaN where there is nothing
    to take the mean of.
  """
  rows = []
  for a, answer in enumerate(tree.answers):
    question = tree.questions[tree.question_of[a]].name
    short = answer.removeprefix(f"{question}_")
    at = np.s_[:, a : a + 1]
    row = _answer(truth[at], predicted[at], mean[a : a + 1])
    rows.append({"question": question, "answer": short, **row})
  whole = _answer(truth, predicted, mean)
  return pd.DataFrame([*rows, {"question": ALL, "answer": ALL, **whole}])


def _answer(truth, predicted, mean) -> dict[str, float]:
  squares = _errors(truth, predicted) ** 2
  of_mean = rmse(truth, mean)
  zero, finite = truth == 0, np.isfinite(predicted)
  return {
    "mean_true": truth.mean(),
    "mean_predicted": _mean(predicted[finite]),
    "rmse": np.sqrt(squares.mean()),
    "rmse_of_mean": of_mean,
    "skill": 1 - _ratio(squares.mean(), of_mean**2),
    "correlation": _correlation(
      (truth - mean)[finite], (predicted - mean)[finite]
    ),
    "zero_share": zero.mean(),
    "predicted_where_zero": _mean(predicted[zero & finite]),
    "rmse_where_zero": np.sqrt(_mean(squares[zero])),
    "rmse_elsewhere": np.sqrt(_mean(squares[~zero])),
    "error_from_zeros": _ratio(squares[zero].sum(), squares.sum()),
  }


def mean_vector(fractions: np.ndarray) -> np.ndarray:
  """The best constant prediction, f64[A]: the mean of fractions f[N,A]."""
  return np.asarray(np.mean(fractions, axis=0, dtype=np.float64))


def central_colour(image: Images, pixels: int = CENTRE) -> np.ndarray:
  """Mean colour of the central square of each image, f64[N,3].

  Args:
    image: u8[N,S,S,3]; of a memory map only the centres are read.
    pixels: edge of the square, at most S.
  """
  start = (image.shape[1] - pixels) // 2
  centre = np.s_[start : start + pixels]
  return np.asarray(
    np.mean(image[:, centre, centre], axis=(1, 2), dtype=np.float64)
  )


def central_pixel(
  colour: np.ndarray,
  fractions: np.ndarray,
  train: np.ndarray,
  clusters: int = CLUSTERS,
  seed: int = 0,
) -> np.ndarray:
  """The challenge's central pixel benchmark, f64[N,A].

  The training galaxies are clustered by the colour of their centres (k-means);
  every galaxy gets the mean vector of the cluster whose colour is nearest.

  Args:
    colour: f[N,3], see `central_colour`.
    fractions: f[N,A], cumulative; only those of `train` are looked at.
    train: i[n], rows of the training galaxies.
    clusters: at most; fewer if there are fewer colours.
    seed: of the clusters' first centres.
  """
  known = fractions[train]
  clusters = min(clusters, len(np.unique(colour[train], axis=0)))
  fit = cluster.KMeans(clusters, n_init=4, random_state=seed)
  member = fit.fit_predict(colour[train])
  means = [mean_vector(known[member == k]) for k in range(clusters)]
  return np.stack(means)[fit.predict(colour)]


def merger(tree: Tree) -> str | None:
  """The full name of the tree's answer "merger"; None: it has none."""
  return next((x for x in tree.answers if x.endswith("_merger")), None)


def flag(
  tree: Tree,
  truth: np.ndarray,
  predicted: np.ndarray,
  *,
  answer: str = "",
  threshold: float = FLAGGED_FROM,
  meant_from: float = FLAGGED_FROM,
) -> pd.DataFrame:
  """How well a threshold on a prediction flags what the volunteers saw.

  Seed 2 (section 4.5) takes galaxies with a predicted merger fraction of 0.4
  or higher for mergers.

  Args:
    tree: the questions.
    truth: f[N,A], cumulative fractions.
    predicted: f[N,A], cumulative fractions.
    answer: full name; "" for mergers.
    threshold: galaxies with at least this prediction are flagged.
    meant_from: galaxies with at least this true fraction are meant.

  Returns:
    A row for each reading of what is meant (`meant`: "fraction", as above, or
    "most voted", where no other answer of the question has more votes):
    `threshold`, `flagged`, `positives`, `hits` (galaxies), `precision` and
    `recall` (NaN of nothing), each with `_low` and `_high`, the 95% Wilson
    interval.
  """
  a = tree.index(answer or merger(tree) or "")
  rivals = truth[:, tree.slices[tree.question_of[a]]]
  meanings = {
    "fraction": truth[:, a] >= meant_from,
    "most voted": (truth[:, a] > 0) & (truth[:, a] == rivals.max(axis=1)),
  }
  return pd.DataFrame(
    [
      {"meant": name, **_flag(meant, predicted[:, a], threshold)}
      for name, meant in meanings.items()
    ]
  )


def precision_recall(
  tree: Tree,
  truth: np.ndarray,
  predicted: np.ndarray,
  *,
  answer: str = "",
  thresholds: Sequence[float] = THRESHOLDS,
  meant_from: float = FLAGGED_FROM,
) -> pd.DataFrame:
  """The rows of `flag` for many thresholds."""
  tables = [
    flag(
      tree,
      truth,
      predicted,
      answer=answer,
      threshold=threshold,
      meant_from=meant_from,
    )
    for threshold in thresholds
  ]
  return pd.concat(tables, ignore_index=True)


def _flag(meant, score, threshold) -> dict[str, float]:
  flagged = score >= threshold  # NaN is not
  hits = int(np.sum(flagged & meant))
  row = {
    "threshold": threshold,
    "flagged": int(flagged.sum()),
    "positives": int(meant.sum()),
    "hits": hits,
  }
  for name, n in (("precision", row["flagged"]), ("recall", row["positives"])):
    row[name] = _ratio(hits, n)
    row[f"{name}_low"], row[f"{name}_high"] = metrics.wilson_interval(hits, n)
  return row


def mean_shares(tree: Tree, alpha: np.ndarray) -> np.ndarray:
  """Means of Dirichlet laws, f64[N,A]; NaN for laws that are not finite.

  Args:
    tree: the questions.
    alpha: f[N,A], concentrations.
  """
  return decision_tree.conditional(tree, _law(alpha), empty=np.nan)


def credible_interval(
  tree: Tree, alpha: np.ndarray, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
  """Central interval of each share, (f64[N,A], f64[N,A]).

  Of the marginal Beta(alpha, A - alpha) of a Dirichlet law with the sum A: what
  all volunteers of the world would say.

  Args:
    tree: the questions.
    alpha: f[N,A], concentrations.
    level: probability within.
  """
  alpha, rest = _beta(tree, alpha)
  tail = (1 - level) / 2
  low, high = (special.betaincinv(alpha, rest, p) for p in (tail, 1 - tail))
  return low, high


def predictive_interval(
  tree: Tree, alpha: np.ndarray, asked: np.ndarray, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
  """Central interval of each share that `asked` volunteers give.

  Of the beta-binomial law of k / n; wider than `credible_interval`, since few
  volunteers are a small sample.

  Args:
    tree: the questions.
    alpha: f[N,A], concentrations.
    asked: [N,Q], numbers of volunteers n.
    level: probability within, at least: votes come in whole numbers.

  Returns:
    (f64[N,A], f64[N,A]); NaN where nobody is asked or alpha is not finite.
  """
  alpha, rest = _beta(tree, alpha)
  tail = (1 - level) / 2
  ends = np.full((2, *alpha.shape), np.nan)
  for a, q in enumerate(tree.question_of):
    valid = (asked[:, q] > 0) & np.isfinite(alpha[:, a] + rest[:, a])
    n = np.rint(asked[valid, q]).astype(int)
    upto = _vote_law(n, alpha[valid, a], rest[valid, a]).cumsum(axis=1)
    for end, p in zip(ends, (tail, 1 - tail)):
      end[valid, a] = np.sum(upto < p, axis=1).clip(max=n) / n
  return ends[0], ends[1]


def coverage(
  tree: Tree,
  counts: np.ndarray,
  alpha: np.ndarray,
  levels: Sequence[float] = LEVELS,
  seed: int = 0,
) -> pd.DataFrame:
  """How often the votes lie inside the central intervals of their laws.

  Votes are whole numbers, and no interval of those has a probability of, say,
  0.9. So a vote count k is placed at random between P(fewer than k) and P(at
  most k) (the randomised probability integral transform, Smith 1985): the true
  law is inside exactly as often as the level says.

  Args:
    tree: the questions.
    counts: f[N,A], votes; questions with none are left out.
    alpha: f[N,A], concentrations.
    levels: nominal probabilities within.
    seed: of the random places.

  Returns:
    A row for each level and question, and over all questions: `question`,
    `level`, `shares` (galaxies x answers), `inside` and its `standard_error`
    over galaxies, since the answers of a galaxy are not independent.
  """
  counts = np.rint(counts)
  place = _places(tree, counts, alpha, np.random.default_rng(seed))
  known = decision_tree.sums(tree, counts)[:, tree.question_of] > 0
  rows = []
  for name, part in _parts(tree).items():
    for level in levels:
      inside = np.abs(place[:, part] - 0.5) <= level / 2
      share, error = _mean_over_galaxies(inside, known[:, part])
      rows.append((name, level, known[:, part].sum(), share, error))
  names = ["question", "level", "shares", "inside", "standard_error"]
  return pd.DataFrame(rows, columns=names)


def reliability(
  tree: Tree,
  shares: np.ndarray,
  predicted: np.ndarray,
  asked: np.ndarray,
  bins: int = 10,
) -> pd.DataFrame:
  """Whether shares that are predicted as p are p on average.

  Args:
    tree: the questions.
    shares: f[N,A], the volunteers' conditional shares; NaN where nobody was
      asked.
    predicted: f[N,A], conditional shares; not finite ones are left out.
    asked: f[N,Q], the weight of a galaxy's answers: how many volunteers were
      asked, or which share of them.
    bins: of equal width, over 0 to 1.

  Returns:
    A row for each question and bin that is not empty: `question`, `bin`,
    `predicted` and `observed` (weighted means), `standard_error` of the latter
    over galaxies, `shares` (galaxies x answers) and `weight` (their sum).
  """
  known = np.isfinite(shares) & np.isfinite(predicted)
  weight = np.where(known, asked[:, tree.question_of], 0)
  shares, predicted = np.where(known, shares, 0), np.where(known, predicted, 0)
  place = np.minimum(predicted * bins, bins - 1).astype(int)
  rows = []
  for question, part in zip(tree.questions, tree.slices, strict=True):
    for b in range(bins):
      inside = weight[:, part] * (place[:, part] == b)
      if not inside.any():
        continue
      mean, _ = _mean_over_galaxies(predicted[:, part], inside)
      observed = _mean_over_galaxies(shares[:, part], inside)
      size = np.count_nonzero(inside), inside.sum()
      rows.append((question.name, b, mean, *observed, *size))
  names = ["question", "bin", "predicted", "observed", "standard_error"]
  return pd.DataFrame(rows, columns=[*names, "shares", "weight"])


def negative_log_likelihood(
  tree: Tree, counts: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
  """-log P(votes) of Dirichlet-multinomial laws in nats, f64[N,Q].

  Walmsley et al. (2022), the questions taken as independent given how many
  volunteers are asked each. Exactly 0 where nobody is, infinite where somebody
  is and alpha is not finite.

  Args:
    tree: the questions.
    counts: f[N,A], votes.
    alpha: f[N,A], or f[A] for the same law everywhere; concentrations > 0.
  """
  counts = np.asarray(counts, np.float64)
  alpha = np.broadcast_to(_law(alpha), counts.shape)
  found = np.zeros((len(counts), len(tree.questions)))
  for q, part in enumerate(tree.slices):
    known = counts[:, part].sum(axis=1) > 0
    loss = -_log_likelihood(counts[known, part], alpha[known, part])
    found[known, q] = np.where(np.isfinite(loss), loss, np.inf)
  return found


def fit_concentration(tree: Tree, counts: np.ndarray) -> np.ndarray:
  """The likeliest Dirichlet laws of all galaxies together, f64[A].

  What can be said of votes without an image: the baseline of
  `negative_log_likelihood`. Concentrations are sought from 1e-3 to 1e4.

  Args:
    tree: the questions.
    counts: f[N,A], votes.
  """
  counts = np.asarray(counts, np.float64)
  return np.concatenate([_fit(counts[:, part]) for part in tree.slices])


def _fit(counts):
  n = counts.sum(axis=1, keepdims=True)

  def loss(log_alpha):
    alpha = np.exp(log_alpha)
    slope = special.digamma(alpha.sum()) - special.digamma(n + alpha.sum())
    slope = slope + special.digamma(counts + alpha) - special.digamma(alpha)
    value = _log_likelihood(counts, alpha[None])
    return -value.mean(), -alpha * slope.mean(axis=0)

  bounds = [(np.log(1e-3), np.log(1e4))] * counts.shape[1]
  start = np.zeros(counts.shape[1])
  found = optimize.minimize(
    loss, start, jac=True, method="L-BFGS-B", bounds=bounds
  )
  return np.exp(found.x)


def scores(
  truth: np.ndarray, predicted: Mapping[str, np.ndarray], seed: int = 0
) -> pd.DataFrame:
  """`method`, `rmse` and its interval `rmse_low` to `rmse_high`.

  Args:
    truth: f[N,A], cumulative fractions.
    predicted: method -> f[N,A] or f[A], cumulative fractions.
    seed: of the bootstrap.
  """
  rows = [
    (name, rmse(truth, found), *rmse_interval(truth, found, seed))
    for name, found in predicted.items()
  ]
  return pd.DataFrame(rows, columns=["method", "rmse", "rmse_low", "rmse_high"])


def likelihood(
  tree: Tree,
  counts: np.ndarray,
  alpha: Mapping[str, np.ndarray],
  seed: int = 0,
) -> pd.DataFrame:
  """Mean negative log-likelihood per galaxy of the votes, in nats.

  Args:
    tree: the questions.
    counts: f[N,A], votes.
    alpha: method -> concentrations, f[N,A] or f[A].
    seed: of the bootstrap.

  Returns:
    A row for each method and question, and their sum: `method`, `question`,
    `nll` and its 95% interval `nll_low` to `nll_high`.
  """
  tables = []
  for name, found in alpha.items():
    loss = negative_log_likelihood(tree, counts, found)
    loss = np.column_stack([loss, loss.sum(axis=1)])
    low, high = bootstrap_interval(loss, seed)
    columns = {"method": name, "question": list(_parts(tree))}
    columns |= {"nll": loss.mean(axis=0), "nll_low": low, "nll_high": high}
    tables.append(pd.DataFrame(columns))
  return pd.concat(tables, ignore_index=True)


def study(
  votes: Votes,
  predictions: Mapping[str, Predictions],
  colour: np.ndarray,
  *,
  train: np.ndarray,
  test: np.ndarray,
  seed: int = 0,
) -> dict[str, pd.DataFrame]:
  """All tables about the test galaxies, by their names.

  Args:
    votes: on all N galaxies.
    predictions: method -> of all N galaxies.
    colour: f[N,3], see `central_colour`.
    train: i[n], rows whose fractions the baselines learn from.
    test: i[m], rows to judge on.
    seed: of bootstrap, clusters and random places.

  Returns:
    `baselines` (see `scores`: "mean vector", "central pixel" and the methods),
    `answers`, `reliability`; where the tree asks for mergers `flag` and
    `precision_recall`; where there are counts and concentrations `coverage` and
    `likelihood` (with CONSTANT). The first column of all is `method`.
  """
  tree, fractions = votes.tree, votes.cumulative
  mean = mean_vector(fractions[train])
  centre = central_pixel(colour, fractions, train, seed=seed)[test]
  seen, truth = votes.select(test), fractions[test]
  found = {name: p.select(test) for name, p in predictions.items()}
  given = {name: p.cumulative for name, p in found.items()}
  baselines = {"mean vector": mean, "central pixel": centre}
  asked = seen.asked
  if seen.counts is not None:
    asked = decision_tree.sums(tree, seen.counts)
  tables = {
    "baselines": scores(truth, {**baselines, **given}, seed),
    "answers": _each(given, lambda p: answers(tree, truth, p, mean)),
    "reliability": _each(
      found, lambda p: reliability(tree, seen.shares, p.shares, asked)
    ),
  }
  if merger(tree):
    tables["flag"] = _each(given, lambda p: flag(tree, truth, p))
    tables["precision_recall"] = _each(
      given, lambda p: precision_recall(tree, truth, p)
    )
  laws = {
    name: p.concentration
    for name, p in found.items()
    if p.concentration is not None
  }
  if votes.counts is None or not laws:
    return tables
  counts = votes.counts[test]
  constant = {CONSTANT: fit_concentration(tree, votes.counts[train])}
  return {
    **tables,
    "coverage": _each(
      laws, lambda alpha: coverage(tree, counts, alpha, seed=seed)
    ),
    "likelihood": likelihood(tree, counts, {**constant, **laws}, seed),
  }


def _each(
  values: Mapping[str, object], table: Callable[..., pd.DataFrame]
) -> pd.DataFrame:
  tables = []
  for name, value in values.items():
    found = table(value)
    found.insert(0, "method", name)
    tables.append(found)
  return pd.concat(tables, ignore_index=True)


def _parts(tree: Tree) -> dict[str, slice]:
  """Where the answers of each question stand, and all of them."""
  names = [question.name for question in tree.questions]
  return {**dict(zip(names, tree.slices, strict=True)), ALL: slice(None)}


def _places(tree, counts, alpha, rng):
  """Randomised probability integral transform, f64[N,A]; NaN if unknown."""
  alpha, rest = _beta(tree, alpha)
  asked = decision_tree.sums(tree, counts)
  place = np.full(alpha.shape, np.nan)
  for a, q in enumerate(tree.question_of):
    valid = (asked[:, q] > 0) & np.isfinite(alpha[:, a] + rest[:, a])
    votes, n = (x[valid].astype(int) for x in (counts[:, a], asked[:, q]))
    law = _vote_law(n, alpha[valid, a], rest[valid, a])
    at = np.arange(len(votes)), votes
    upto = law.cumsum(axis=1)[at]
    place[valid, a] = upto - rng.random(len(votes)) * law[at]
  return place


def _vote_law(n, a, b):
  """Beta-binomial P(k), f64[N,max(n)+1]; without meaning where k > n."""
  k = np.arange(n.max(initial=0) + 1)[None]
  n, a, b = n[:, None], a[:, None], b[:, None]
  others = np.maximum(n - k, 0)
  ways = -np.log(n + 1) - special.betaln(k + 1, others + 1)
  draws = special.betaln(k + a, others + b) - special.betaln(a, b)
  return np.exp(ways + draws)


def _log_likelihood(counts, alpha):
  """Dirichlet-multinomial log P of counts [N,K], f64[N]."""
  n, total = counts.sum(axis=1), alpha.sum(axis=1)
  log_gamma = special.gammaln
  each = (
    log_gamma(counts + alpha) - log_gamma(alpha) - log_gamma(counts + 1)
  ).sum(axis=1)
  return log_gamma(total) + log_gamma(n + 1) - log_gamma(n + total) + each


def _law(alpha):
  """Concentrations in f64, NaN where not finite: infinite ones would warn."""
  alpha = np.asarray(alpha, np.float64)
  return np.where(np.isfinite(alpha), alpha, np.nan)


def _beta(tree, alpha):
  """The parameters of each answer's marginal Beta law."""
  alpha = _law(alpha)
  total = decision_tree.sums(tree, alpha)[:, tree.question_of]
  return alpha, total - alpha


def _mean_over_galaxies(values, weight) -> tuple[float, float]:
  """Weighted mean of [N,K] and its standard error with galaxies as units."""
  total = weight.sum()
  if not total:
    return np.nan, np.nan
  mean = np.sum(weight * values) / total
  residual = np.sum(weight * (values - mean), axis=1)
  return mean, np.sqrt(np.sum(residual**2)) / total


def _errors(truth, predicted):
  """Predicted less true; what is not finite is as wrong as can be."""
  truth = np.asarray(truth, np.float64)
  worst = np.where(truth < 0.5, 1.0, 0.0)
  return np.where(np.isfinite(predicted), predicted, worst) - truth


def _rms(values) -> float:
  return float(np.sqrt(np.mean(np.square(values))))


def _ratio(part, whole) -> float:
  return float(part / whole) if whole else np.nan


def _mean(values) -> float:
  return float(values.mean()) if values.size else np.nan


def _correlation(x, y) -> float:
  """Pearson's; NaN where one side is constant or there is nothing."""
  if not x.size or not np.ptp(x) or not np.ptp(y):
    return np.nan
  return float(np.corrcoef(x, y)[0, 1])


def _named(tree, form, values):
  names = [form.format(name) for name in tree.answers]
  return dict(zip(names, values.T, strict=True))


def _values(tree, form, table):
  return table[[form.format(name) for name in tree.answers]].to_numpy(float)


def _values_if_any(tree, form, table):
  present = form.format(tree.answers[0]) in table
  return _values(tree, form, table) if present else None
