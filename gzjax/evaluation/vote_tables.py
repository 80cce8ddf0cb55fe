"""Votes and their predictions as tables."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from gzjax.evaluation import dirichlet, flags
from gzjax.evaluation.baselines import central_pixel, mean_vector
from gzjax.evaluation.votes import answers, reliability, scores
from gzjax.morphology import trees
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Predictions, Votes


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
    tree.questions, trees.asked(tree, shares).T, strict=True
  ):
    columns[f"p_asked_{question.name}"] = reach
  if alpha is not None:
    low, high = dirichlet.credible_interval(tree, alpha, level)
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


def vote_tables(
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
    asked = trees.sums(tree, seen.counts)
  tables = {
    "baselines": scores(truth, {**baselines, **given}, seed),
    "answers": _each(given, lambda p: answers(tree, truth, p, mean)),
    "reliability": _each(
      found, lambda p: reliability(tree, seen.shares, p.shares, asked)
    ),
  }
  if flags.merger(tree):
    tables["flag"] = _each(given, lambda p: flags.flag(tree, truth, p))
    tables["precision_recall"] = _each(
      given, lambda p: flags.precision_recall(tree, truth, p)
    )
  laws = {
    name: p.concentration
    for name, p in found.items()
    if p.concentration is not None
  }
  if votes.counts is None or not laws:
    return tables
  counts = votes.counts[test]
  constant = {
    dirichlet.CONSTANT: dirichlet.fit_concentration(tree, votes.counts[train])
  }
  return {
    **tables,
    "coverage": _each(
      laws, lambda alpha: dirichlet.coverage(tree, counts, alpha, seed=seed)
    ),
    "likelihood": dirichlet.likelihood(
      tree, counts, {**constant, **laws}, seed
    ),
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


def _named(tree, form, values):
  names = [form.format(name) for name in tree.answers]
  return dict(zip(names, values.T, strict=True))


def _values(tree, form, table):
  return table[[form.format(name) for name in tree.answers]].to_numpy(float)


def _values_if_any(tree, form, table):
  present = form.format(tree.answers[0]) in table
  return _values(tree, form, table) if present else None
