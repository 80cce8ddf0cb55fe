"""Wrong labels on purpose: which labels to flip, and to what."""

import contextlib
from typing import NamedTuple

import numpy as np

from gzjax.errors import UserError


class FlipModel(NamedTuple):
  """How labels go wrong.

  * uniform: any class turns into any other one with equal probability.
  * confusable: the two classes of `pair` are swapped, as by volunteers who
    cannot tell them apart.
  * ambiguity: galaxies that volunteers disagree on go wrong more often (as the
    share of votes for other classes), to the class that others voted for.
  * matrix: row i of `matrix` holds the probabilities of the labels that
    galaxies of class i get; the numbers are exact (rounded), the galaxies
    random.
  * column: the labels as they were given, right or wrong, stand in the data.
  """

  kind: str
  class_names: tuple[str, ...]  # K
  fraction: float = 0.1  # of all labels; not for matrix and column
  seed: int = 0  # of the NumPy generator
  pair: tuple[str, ...] = ()  # two of the names, for confusable
  matrix: tuple[tuple[float, ...], ...] = ()  # K x K, rows sum to 1


class Evidence(NamedTuple):
  """What else is known about N galaxies; None where it is not."""

  shares: np.ndarray | None = None  # f[N,K], of the votes, for ambiguity
  given: np.ndarray | None = None  # i[N], labels as they were given, for column

  def select(self, rows: np.ndarray) -> "Evidence":
    """What is known about some of the galaxies."""
    return Evidence(*(None if x is None else x[rows] for x in self))


class Proposals(NamedTuple):
  """The M examples that may be flipped."""

  rows: np.ndarray  # i[M]
  wrong: np.ndarray  # i[M], the label that each would get
  weight: np.ndarray | None  # f[M], how likely each is; None: equally


def check_fraction(fraction: float) -> None:
  """Raises UserError for a share of flips outside of (0, 0.5)."""
  if not 0 < fraction < 0.5:
    raise UserError(
      f"flips.fraction is {fraction:g}: give a share between 0 and 0.5, such "
      "as --config.flips.fraction=0.1."
    )


def check_discovered(share: float) -> None:
  """Raises UserError for a share of known wrong labels outside of (0, 1]."""
  if not 0 < share <= 1:
    raise UserError(
      f"the share of wrong labels that is known is {share:g}: give "
      "unlearn.discovered and discovery.shares above 0 (the forget set would "
      "be empty) and at most 1."
    )


def flip_labels(
  model: FlipModel, label: np.ndarray, evidence: Evidence
) -> np.ndarray:
  """Gives a share of the examples a wrong label.

  Call it with training labels only: validation and test stay clean.

  Args:
    model: see `FlipModel`.
    label: i[N], the true labels.
    evidence: on the same galaxies.

  Returns:
    i[N], the labels with round(fraction * N) of them wrong; for matrix and
    column as many as these say.

  Raises:
    UserError: see `wrong_labels`; for a fraction out of range, or one that asks
      for more flips than there are candidates, and for no flip at all.
  """
  rng = np.random.default_rng([model.seed, 1])
  if model.kind == "matrix":
    flipped = _by_matrix(model, label, rng)
  elif model.kind == "column":
    flipped = _given(evidence).copy()
  else:
    flipped = _share(model, label, evidence, rng)
  if np.array_equal(flipped, label):
    raise UserError(
      f"flips.kind={model.kind} makes no training label wrong: there is "
      "nothing to unlearn."
    )
  return flipped


def _share(model, label, evidence, rng):
  check_fraction(model.fraction)
  found = wrong_labels(model, label, evidence)
  count = round(model.fraction * len(label))
  if len(found.rows) < count:
    raise UserError(
      f"flips.fraction={model.fraction:g} asks for {count} flips, but only "
      f"{len(found.rows)} training galaxies may be flipped by "
      f"flips.kind={model.kind}: lower the fraction or use "
      "--config.flips.kind=uniform."
    )
  p = None if found.weight is None else found.weight / found.weight.sum()
  chosen = rng.choice(len(found.rows), count, replace=False, p=p)
  flipped = label.copy()
  flipped[found.rows[chosen]] = found.wrong[chosen]
  return flipped


def _by_matrix(model, label, rng):
  flipped = label.copy()
  for k, row in enumerate(_matrix(model)):
    members = rng.permutation(np.flatnonzero(label == k))
    ends = np.round(np.cumsum(row) * len(members)).astype(int)
    flipped[members] = np.searchsorted(ends, np.arange(len(members)), "right")
  return flipped


def wrong_labels(
  model: FlipModel, label: np.ndarray, evidence: Evidence
) -> Proposals:
  """Draws a wrong label for every example that the flip model may touch.

  Args:
    model: see `FlipModel`.
    label: i[N], the true labels.
    evidence: on the same galaxies.

  Raises:
    UserError: for an unknown kind, a pair that is not two classes, a matrix of
      another shape, or missing evidence.
  """
  rng = np.random.default_rng(model.seed)
  k = len(model.class_names)
  if model.kind == "uniform":
    shift = rng.integers(1, k, len(label))
    return Proposals(np.arange(len(label)), (label + shift) % k, None)
  if model.kind == "confusable":
    first, second = _pair_indices(model.pair, model.class_names)
    rows = np.flatnonzero((label == first) | (label == second))
    return Proposals(rows, first + second - label[rows], None)
  if model.kind == "ambiguity":
    return _draw(rng, label, _shares(evidence))
  if model.kind == "matrix":
    return _draw(rng, label, _matrix(model)[label])
  if model.kind == "column":
    given = _given(evidence)
    rows = np.flatnonzero(given != label)
    return Proposals(rows, given[rows], None)
  raise UserError(
    f"flips.kind is {model.kind!r}: choose one of {', '.join(FLIP_MODELS)}."
  )


FLIP_MODELS = ("uniform", "confusable", "ambiguity", "matrix", "column")


def _draw(rng, label, probability):
  """Wrong labels by the probabilities f[N,K] of the other classes."""
  everyone = np.arange(len(label))
  others = np.nan_to_num(probability)
  others[everyone, label] = 0
  total = others.sum(axis=1)
  rows = np.flatnonzero(total > 0)
  steps = np.cumsum(others[rows], axis=1)
  # Of the steps that are all at most the draw, the last lies under the total.
  draw = rng.random(len(rows)) * steps[:, -1]
  wrong = np.sum(steps <= draw[:, None], axis=1)
  return Proposals(rows, wrong, total[rows])


def _shares(evidence):
  if evidence.shares is None:
    raise UserError(
      "flips.kind=ambiguity needs the votes behind the labels, and this data "
      "set has none: use --config.flips.kind=uniform or data with votes."
    )
  return evidence.shares


def _given(evidence):
  if evidence.given is None:
    raise UserError(
      "flips.kind=column needs the labels as they were given: name their "
      "column with --config.flips.column=NAME (votes: what most volunteers "
      "said)."
    )
  return evidence.given


def _matrix(model):
  k = len(model.class_names)
  with contextlib.suppress(TypeError, ValueError):  # no numbers, or ragged
    matrix = np.asarray(model.matrix, np.float64)
    sums = matrix.sum(axis=-1)
    if matrix.shape == (k, k) and matrix.min() >= 0 and np.allclose(sums, 1):
      return matrix
  raise UserError(
    f"flips.matrix is {model.matrix}: give {k} rows of {k} probabilities "
    f"that sum to 1, in the order {', '.join(model.class_names)}."
  )


def donors(label: np.ndarray, train_label: np.ndarray, seed: int) -> np.ndarray:
  """Whose votes each galaxy gets, when votes and not only labels go wrong.

  A galaxy with a wrong label gets the whole votes of a galaxy that has this
  label rightly, as where two records are mixed up: they obey the decision tree
  and are wrong in every question.

  Args:
    label: i[N], true labels.
    train_label: i[N], wrong where flipped.
    seed: of the NumPy generator.

  Returns:
    i[N], rows: its own where the label is right.

  Raises:
    UserError: if no galaxy has one of the wrong labels rightly.
  """
  rng = np.random.default_rng([seed, 3])
  rows = np.arange(len(label))
  for k in np.unique(train_label[train_label != label]):
    wrong = np.flatnonzero((train_label == k) & (label != k))
    right = np.flatnonzero((train_label == k) & (label == k))
    if not len(right):
      raise UserError(
        f"no training galaxy of class number {k} keeps its label, so no votes "
        "can be given to those that are made wrong: lower flips.fraction."
      )
    rows[wrong] = rng.choice(right, len(wrong))
  return rows


def discovered(flipped: np.ndarray, share: float, seed: int) -> np.ndarray:
  """The wrong labels that somebody has found: a random part, sorted.

  Larger shares of the same seed contain the smaller ones.

  Args:
    flipped: i[n], rows of the flipped examples.
    share: the part that is known, in (0, 1].
    seed: of the NumPy generator.

  Raises:
    UserError: for a share out of range, or one that finds nothing.
  """
  check_discovered(share)
  count = round(share * len(flipped))
  if not count:
    raise UserError(
      f"unlearn.discovered is {share:g} of {len(flipped)} wrong labels: the "
      "forget set would be empty; give a larger share."
    )
  order = np.random.default_rng([seed, 2]).permutation(flipped)
  return np.sort(order[:count])


def _pair_indices(pair, class_names):
  if len(set(pair)) != 2 or not set(pair) <= set(class_names):
    raise UserError(
      f"flips.pair is {tuple(pair)}: give two different classes out of "
      f"{', '.join(class_names)}."
    )
  return [list(class_names).index(name) for name in pair]
