"""What networks say of labels that they did not learn: in folds, or cheaply."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gzjax import problem as problems
from gzjax.audit import suspicion
from gzjax.errors import SettingError, UserError
from gzjax.evaluation import metrics, probe
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Predictions
from gzjax.problem import Entries, Network, Problem, Rows
from gzjax.training import Recipe, train
from gzjax.training.dynamics import Dynamics
from gzjax.training.store import Store


class Means(NamedTuple):
  """Means over the epochs of a training."""

  loss: np.ndarray  # f[N], of what is learned, nats
  margin: np.ndarray  # f[N], nats (Pleiss et al. 2020)
  probabilities: np.ndarray  # f[N,C]


class Evidence(NamedTuple):
  """What networks say of N galaxies; NaN where no network said it."""

  fold: np.ndarray  # i64[N], which networks did not learn the label; -1: none
  probabilities: np.ndarray  # f64[N,C], at the end, of those that did not
  held_out: Means  # of those that did not
  in_sample: Means  # of those that did
  neighbours: np.ndarray  # i64[N,k], rows with the same look, nearest first
  disagreement: np.ndarray  # f64[N], share of them with another label
  oddity: np.ndarray  # f64[N], how unlike them it is, 0 to 2
  influence: np.ndarray  # f64[N], see `suspicion.self_influence`
  # On the questions of the target, of those that did not; None: nobody knows.
  votes: Predictions | None
  # i[N,C], volunteers' votes for the classes, where they may judge the labels.
  counts: np.ndarray | None = None


class Fold(NamedTuple):
  """What one of the networks says; rows are those that it did not learn."""

  rows: np.ndarray  # i64[n]
  probabilities: np.ndarray  # f64[n,C], at the end
  shares: np.ndarray  # f64[n,A], of votes, likewise
  concentration: np.ndarray  # f64[n,A], likewise; f64[n,0] where it has none
  neighbours: np.ndarray  # i64[n,k], rows of galaxies that it learned
  disagreement: np.ndarray  # f64[n]
  oddity: np.ndarray  # f64[n]
  influence: np.ndarray  # f64[n]
  # Means over epochs, of all N galaxies; NaN of those that were in no batch.
  loss: np.ndarray
  margin: np.ndarray
  means: np.ndarray  # f[N,C]


def folds(
  label: np.ndarray, count: int, seed: int, names: Sequence[str] = ()
) -> np.ndarray:
  """Which of `count` networks does not learn each of the labels i[N], i64[N].

  Each class is spread evenly.

  Raises:
    SettingError: see `check_folds`.
  """
  from sklearn import model_selection  # slow to import

  check_folds(label, count, names)
  fold = np.empty(len(label), np.int64)
  draw = model_selection.StratifiedKFold(count, shuffle=True, random_state=seed)
  for number, (_, rows) in enumerate(draw.split(label, label)):
    fold[rows] = number
  return fold


def check_folds(
  label: np.ndarray, count: int, names: Sequence[str] = ()
) -> None:
  """Raises SettingError for a class with fewer labels i[N] than folds.

  The classes have `names`, or else numbers.
  """
  found, sizes = np.unique(label, return_counts=True)
  if sizes.min() < count:
    k = int(found[sizes.argmin()])
    raise SettingError(
      f"folds is {count}: class {names[k] if names else k!r} has "
      f"{sizes.min()} galaxies, fewer than folds; lower it, add galaxies of "
      "the class, or leave it out."
    )


def ask_fold(
  problem: Problem,
  held_out: Rows,
  *,
  recipe: Recipe,
  entries: Entries,
  name: str,
  store: Store | None = None,
  neighbours: int = 10,
) -> Fold:
  """Trains a network on all galaxies but those that are held out, and asks it.

  Args:
    problem: of N galaxies; its sets do not matter.
    held_out: rows i64[n].
    recipe: of the training; the last network is asked.
    entries: what is learned of all galaxies.
    name: of the network, for the progress bar.
    store: keeps the states of the training; None: this process only.
    neighbours: k.
  """
  rows = np.setdiff1d(np.arange(problem.size), held_out)
  dynamics = Dynamics(problem, entries)
  network = train(
    problem,
    rows,
    recipe=recipe._replace(select="last"),
    entries=entries,
    name=name,
    validate=dynamics.after_epochs(held_out),
    store=store,
    dynamics=dynamics,
  )
  label = entries["label"]
  said = problems.ask(problem, network, held_out)
  seen = problems.features(problem, network, held_out)
  _check_finite(name, said.probabilities, seen)
  near = suspicion.neighbours(
    seen,
    label[held_out],
    problems.features(problem, network, rows),
    label[rows],
    k=min(neighbours, len(rows)),
  )
  nothing = np.zeros((len(held_out), 0))
  concentration = said.votes.concentration
  return Fold(
    held_out,
    said.probabilities,
    said.votes.shares,
    nothing if concentration is None else concentration,
    rows[near.index],
    near.share,
    near.oddity,
    suspicion.self_influence(said.probabilities, label[held_out], seen),
    *_means(dynamics, np.arange(problem.size)),
  )


def _check_finite(name: str, *said: np.ndarray) -> None:
  if not all(np.isfinite(x).all() for x in said):
    raise UserError(
      f"{name} says no number of some galaxies: its training went astray; "
      "lower the learning rate."
    )


def _means(dynamics: Dynamics, rows: Rows) -> Means:
  loss, margin, *said = dynamics.means(rows).values()
  return Means(loss, margin, np.stack(said, axis=1))


def of_folds(found: Iterable[Fold], tree: Tree) -> Evidence:
  """All folds together: each galaxy is held out in one of them.

  The tree is that of the target.
  """
  found = list(found)
  order = np.argsort(np.concatenate([fold.rows for fold in found]))

  def joined(name):
    return np.concatenate([getattr(fold, name) for fold in found])[order]

  number = np.repeat(np.arange(len(found)), [len(fold.rows) for fold in found])
  number, rows = number[order], np.arange(len(order))
  held_out, in_sample = [], []
  for name in ("loss", "margin", "means"):
    every = np.stack([getattr(fold, name) for fold in found])
    held_out.append(every[number, rows])
    every[number, rows] = np.nan
    in_sample.append(metrics.known_mean(every))
  return Evidence(
    number,
    joined("probabilities"),
    Means(*held_out),
    Means(*in_sample),
    joined("neighbours"),
    joined("disagreement"),
    joined("oddity"),
    joined("influence"),
    Predictions(
      tree,
      joined("shares"),
      joined("concentration") if found[0].concentration.size else None,
    ),
  )


def of_features(
  problem: Problem,
  network: Network,
  *,
  entries: Entries,
  learned: Rows,
  means: Means,
  count: int = 5,
  neighbours: int = 10,
  features: np.ndarray | None = None,
) -> Evidence:
  """Cheaply, from one network: its head is fitted again in folds.

  A logistic regression on what the head sees, so that no head has learned the
  label that it is asked for. What the head sees has, of galaxies that the
  network was trained on: of these stand the means over its training instead,
  in which a wrong label is late to be memorised.

  Args:
    problem: of N galaxies.
    network: that was trained on some of them.
    entries: what is learned of all galaxies.
    learned: rows i64[n] that it was trained on.
    means: over its training, of these galaxies.
    count: of folds.
    neighbours: k.
    features: f[N,F], what the head sees, if it is known already.
  """
  label, seen = entries["label"], features
  if seen is None:
    seen = problems.features(problem, network, np.arange(problem.size))
  _check_finite(network.name, seen)
  fold = folds(label, count, problem.seed, problem.target.classes)
  p = _refit(seen, label, fold, len(problem.target.classes))
  # Of those that were in no batch there is nothing else.
  known = np.isfinite(means.probabilities).all(axis=1)
  rows, said = learned[known], means.probabilities[known].astype(np.float64)
  p[rows] = said / said.sum(axis=1, keepdims=True)
  loss, margin = metrics.cross_entropy(p, label), metrics.log_margin(p, label)
  loss[rows], margin[rows] = means.loss[known], means.margin[known]
  near = suspicion.neighbours(seen, label, k=min(neighbours, len(seen) - 1))
  return Evidence(
    fold,
    p,
    Means(loss, margin, p),
    Means(*(_spread(x, learned, problem.size) for x in means)),
    near.index,
    near.share,
    near.oddity,
    suspicion.self_influence(p, label, seen),
    None,
  )


def _spread(values: np.ndarray, rows: Rows, size: int) -> np.ndarray:
  """The values of some rows among NaN."""
  found = np.full((size, *values.shape[1:]), np.nan)
  found[rows] = values
  return found


def _refit(
  seen: np.ndarray, label: np.ndarray, fold: np.ndarray, classes: int
) -> np.ndarray:
  """Probabilities f64[N,C] of heads that did not learn the label."""
  p = np.zeros((len(label), classes))
  for number in np.unique(fold):
    head = probe.head().fit(seen[fold != number], label[fold != number])
    rows = np.flatnonzero(fold == number)
    p[np.ix_(rows, head.classes_)] = head.predict_proba(seen[rows])
  return p
