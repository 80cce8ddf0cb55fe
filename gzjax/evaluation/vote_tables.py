"""Votes, answers and their predictions as tables."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from gzjax.evaluation import dirichlet, flags, label_scores
from gzjax.evaluation.baselines import central_pixel, mean_vector
from gzjax.evaluation.questions import question_accuracy
from gzjax.evaluation.votes import answers, reliability, scores
from gzjax.morphology import trees
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Predictions, Votes
from gzjax.objectives.targets import Prediction


def votes_table(votes: Votes) -> pd.DataFrame:
  """Columns of votes.parquet: `<answer>`, and `<answer>_votes` if known."""
  columns = _named(votes.tree, votes.shares)
  if votes.counts is not None:
    columns |= _named(votes.tree, votes.counts, "_votes")
  return pd.DataFrame(columns)


def votes_of(tree: Tree, table: pd.DataFrame) -> Votes:
  """The votes in the columns of `votes_table`."""
  counts = _values_if_any(tree, table, "_votes")
  return Votes(tree, _values(tree, table), counts)


def predictions_table(
  predictions: Predictions, level: float = 0.9
) -> pd.DataFrame:
  """Columns of evaluate/<method>.parquet that speak of votes.

  `<answer>` (share), `p_asked_<question>`, and for Dirichlet laws
  `<answer>_concentration` and the ends of the credible intervals of a level,
  `<answer>_lo` and `<answer>_hi`.
  """
  tree, shares, alpha = predictions
  columns = _named(tree, shares)
  for question, reach in zip(
    tree.questions, trees.asked(tree, shares).T, strict=True
  ):
    columns[f"p_asked_{question.name}"] = reach
  if alpha is not None:
    low, high = dirichlet.credible_interval(tree, alpha, level)
    columns |= _named(tree, alpha, "_concentration")
    columns |= _named(tree, low, "_lo") | _named(tree, high, "_hi")
  return pd.DataFrame(columns)


def predictions_of(tree: Tree, table: pd.DataFrame) -> Predictions:
  """The predictions in the columns of `predictions_table`."""
  concentration = _values_if_any(tree, table, "_concentration")
  return Predictions(tree, _values(tree, table), concentration)


def vote_tables(
  votes: Votes,
  predictions: Iterable[tuple[str, Predictions]],
  colour: np.ndarray,
  *,
  train: np.ndarray,
  test: np.ndarray,
  seed: int = 0,
) -> dict[str, pd.DataFrame]:
  """All tables about the votes on the test galaxies, by their names.

  Args:
    votes: on all N galaxies.
    predictions: methods, and what each says of all N galaxies; they are taken
      one by one.
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
  seen = votes.select(test)
  truth, counts = fractions[test], votes.counts
  baselines = [
    scores(truth, {"mean vector": mean, "central pixel": centre}, seed)
  ]
  found, likelihoods = {}, []
  for name, everywhere in predictions:
    said = everywhere.select(test)
    found[name] = _of_method(seen, said, mean, seed)
    baselines.append(scores(truth, {name: said.cumulative}, seed))
    if counts is not None and said.concentration is not None:
      law = {name: said.concentration}
      likelihoods.append(dirichlet.likelihood(tree, counts[test], law, seed))
  tables = _by_method(found)
  tables["baselines"] = pd.concat(baselines, ignore_index=True)
  if counts is not None and likelihoods:
    constant = dirichlet.fit_concentration(tree, counts[train])
    law = {dirichlet.CONSTANT: constant}
    first = dirichlet.likelihood(tree, counts[test], law, seed)
    tables["likelihood"] = pd.concat([first, *likelihoods], ignore_index=True)
  return tables


def _of_method(votes, said, mean, seed) -> dict[str, pd.DataFrame]:
  """The tables about the predictions of one method."""
  tree, truth, found = votes.tree, votes.cumulative, said.cumulative
  counts, alpha = votes.counts, said.concentration
  asked = votes.asked if counts is None else trees.sums(tree, counts)
  tables = {
    "answers": answers(tree, truth, found, mean),
    "reliability": reliability(tree, votes.shares, said.shares, asked),
  }
  if flags.merger(tree):
    curve = flags.flag(tree, truth, found, thresholds=flags.THRESHOLDS)
    marked = curve["threshold"] == flags.FLAGGED_FROM
    tables |= {"flag": curve[marked], "precision_recall": curve}
  if counts is not None and alpha is not None:
    tables["coverage"] = dirichlet.coverage(tree, counts, alpha, seed=seed)
  return tables


def question_tables(
  votes: Votes,
  predictions: Mapping[str, Prediction],
  *,
  validation: np.ndarray,
  test: np.ndarray,
) -> dict[str, pd.DataFrame]:
  """All tables about the answers on the test galaxies, by their names.

  Args:
    votes: on all N galaxies, on the tree of the networks.
    predictions: method -> of all N galaxies.
    validation: i[n], rows on which thresholds are chosen.
    test: i[m], rows to judge on.

  Returns:
    `questions`, see `questions.question_accuracy`; where the tree has them,
    of the slides' ten labels `scores` (see `label_scores.label_scores`; by
    `thresholds`, "0.5" or "tuned") and `per_label` (by the tuned ones). The
    first column of all is `method`.
  """
  tree, seen = votes.tree, votes.select(test)

  def of_method(found):
    said = found.votes.shares[test]
    tables = {"questions": question_accuracy(tree, seen, said)}
    if not label_scores.has_ten_labels(tree):
      return tables
    scores = []
    for name, chosen_on in (("0.5", None), ("tuned", validation)):
      given = label_scores.label(votes, found, chosen_on)
      rows = test[given.known[test]]
      pair = given.truth[rows], given.said[rows]
      scores.append({"thresholds": name, **label_scores.label_scores(*pair)})
    table = label_scores.per_label(given.names, *pair)
    table["threshold"] = given.thresholds
    return {**tables, "scores": pd.DataFrame(scores), "per_label": table}

  return _by_method({name: of_method(x) for name, x in predictions.items()})


def _by_method(
  found: Mapping[str, Mapping[str, pd.DataFrame]],
) -> dict[str, pd.DataFrame]:
  """Method -> tables, as tables with the methods one below the other."""
  parts = {}
  for method, tables in found.items():
    for name, table in tables.items():
      parts.setdefault(name, {})[method] = table
  return {
    name: pd.concat(x, names=["method"]).reset_index(0).reset_index(drop=True)
    for name, x in parts.items()
  }


def _named(tree, values, suffix=""):
  names = [f"{answer}{suffix}" for answer in tree.answers]
  return dict(zip(names, values.T, strict=True))


def _values(tree, table, suffix=""):
  return table[[f"{name}{suffix}" for name in tree.answers]].to_numpy(float)


def _values_if_any(tree, table, suffix):
  present = f"{tree.answers[0]}{suffix}" in table
  return _values(tree, table, suffix) if present else None
