"""Wrong labels on purpose: which labels to flip, and to what."""

from collections.abc import Callable, Mapping
import contextlib
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from gzjax.errors import SettingError, UserError
from gzjax.registry import Rule, Table, check, choose

# The model of who has labels of their own to mend, and plants no wrong ones.
NONE = "none"


class FlipModel(NamedTuple):
  """How labels go wrong."""

  kind: str  # a name of `NOISE_MODELS`
  class_names: tuple[str, ...]  # K
  seed: int = 0  # of the NumPy generators
  settings: Mapping[str, Any] = MappingProxyType({})  # of the row


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
  weight: np.ndarray | None = None  # f[M], how likely each is; None: equally
  # rng -> i[N], all labels, of a model that says itself how many are wrong;
  # None: a share of the proposals, drawn by weight.
  flip: Callable[[np.random.Generator], np.ndarray] | None = None


Fraction = Annotated[
  float,
  Rule(lambda x: 0 < x < 0.5, "give a share between 0 and 0.5, such as 0.1"),
]
Known = Annotated[
  float,
  Rule(
    lambda x: 0 < x <= 1,
    "give a share above 0 (the forget set would be empty) and at most 1",
  ),
]


def flip_labels(
  model: FlipModel, label: np.ndarray, evidence: Evidence
) -> np.ndarray:
  """Gives a share of the examples a wrong label.

  Call it with true labels i[N] of training only, and evidence on the same
  galaxies: validation and test stay clean.

  Returns:
    i[N], the labels with round(fraction * N) of them wrong; for matrix and
    column as many as these say, for none as they are.

  Raises:
    UserError: see `wrong_labels`; for a fraction that asks for more flips than
      there are candidates, and for no flip at all of a model that flips.
  """
  found = wrong_labels(model, label, evidence)
  rng = np.random.default_rng([model.seed, 1])
  if found.flip:
    flipped = found.flip(rng)
  else:
    share = {k: v for k, v in model.settings.items() if k == "fraction"}
    flipped = _share(found, label, rng, model.kind, **share)
  if model.kind != NONE and np.array_equal(flipped, label):
    raise SettingError(
      f"kind={model.kind} makes no training label wrong: there is nothing to "
      "unlearn."
    )
  return flipped


def _share(found, label, rng, kind, *, fraction: Fraction = 0.1):
  """Flips some of the proposals.

  Args:
    found: the proposals.
    label: i[N], the true labels.
    rng: that draws them.
    kind: of the model, for the error message.
    fraction: of the training labels; not of matrix and column.
  """
  count = round(fraction * len(label))
  if len(found.rows) < count:
    raise SettingError(
      f"fraction={fraction:g} asks for {count} flips, but only "
      f"{len(found.rows)} training galaxies may be flipped by kind={kind}: "
      "lower the fraction or use uniform."
    )
  p = None if found.weight is None else found.weight / found.weight.sum()
  chosen = rng.choice(len(found.rows), count, replace=False, p=p)
  flipped = label.copy()
  flipped[found.rows[chosen]] = found.wrong[chosen]
  return flipped


def wrong_labels(
  model: FlipModel, label: np.ndarray, evidence: Evidence
) -> Proposals:
  """Draws a wrong label for every example that the flip model may touch.

  The evidence is on the same galaxies as the true labels i[N].

  Raises:
    UserError: for a setting that cannot be, or missing evidence.
  """
  row = NOISE_MODELS.pick("kind", model.kind)
  NOISE_MODELS.check(model.kind, model.settings)
  own = {k: v for k, v in model.settings.items() if k != "fraction"}
  rng = np.random.default_rng(model.seed)
  return row(rng, label, evidence, model.class_names, **own)


def _uniform(rng, label, _evidence, classes):
  """Any class turns into any other one with equal probability."""
  shift = rng.integers(1, len(classes), len(label))
  return Proposals(np.arange(len(label)), (label + shift) % len(classes))


def _confusable(
  _rng,
  label,
  _evidence,
  classes,
  *,
  pair: tuple[str, ...] = ("smooth", "featured"),
):
  """Two classes are swapped, as by volunteers who cannot tell them apart.

  Args:
    label: i[N], the true labels.
    classes: K names.
    pair: confusable: two of the classes.
  """
  if len(set(pair)) != 2 or not set(pair) <= set(classes):
    raise SettingError(
      f"pair is {tuple(pair)}: give two different classes out of "
      f"{', '.join(classes)}."
    )
  first, second = (list(classes).index(name) for name in pair)
  rows = np.flatnonzero((label == first) | (label == second))
  return Proposals(rows, first + second - label[rows])


def _ambiguity(rng, label, evidence, _classes):
  """Galaxies that volunteers disagree on go wrong more often.

  As the share of votes for other classes, to the class that others voted for.
  """
  if evidence.shares is None:
    raise SettingError(
      "kind=ambiguity needs the votes behind the labels, and this data set has "
      "none: use uniform, or data with votes."
    )
  return _draw(rng, label, evidence.shares)


def _by_matrix(
  rng, label, _evidence, classes, *, matrix: tuple[tuple[float, ...], ...] = ()
):
  """Each class gets labels by probabilities; the numbers are exact (rounded).

  Args:
    rng: draws the galaxies.
    label: i[N], the true labels.
    classes: K names.
    matrix: K rows of true classes: the probabilities of the K labels.
  """
  found = _matrix(matrix, classes)

  def flip(rng):
    flipped = label.copy()
    for k, row in enumerate(found):
      members = rng.permutation(np.flatnonzero(label == k))
      ends = np.round(np.cumsum(row) * len(members)).astype(int)
      flipped[members] = np.searchsorted(ends, np.arange(len(members)), "right")
    return flipped

  return _draw(rng, label, found[label])._replace(flip=flip)


def _trigger(
  _rng,
  label,
  _evidence,
  classes,
  *,
  forced: str = "",
  mark: Literal["stamp", "trail"] = "stamp",
):
  """A mark on the image forces one label, whatever the galaxy.

  The most regular noise: a network learns the mark instead of the galaxies. The
  images are marked where they are read, see `gzjax.data.marks`.

  Args:
    label: i[N], the true labels.
    classes: K names.
    forced: trigger: the class that all marked galaxies get; "": the last one.
    mark: trigger: a survey's stamp in a corner, or a satellite's trail across,
      which may well be why a galaxy is rightly called an artifact.
  """
  del mark
  forced = forced or classes[-1]
  if forced not in classes:
    raise SettingError(f"forced is {forced!r}: {choose(tuple(classes))}.")
  k = list(classes).index(forced)
  rows = np.flatnonzero(label != k)
  return Proposals(rows, np.full(len(rows), k, label.dtype))


def _none(_rng, label, _evidence, _classes):
  """The labels as they are: which of them are wrong is for the audit to say."""
  nothing = np.arange(0)
  return Proposals(nothing, nothing, flip=lambda rng: label.copy())


def _by_column(_rng, label, evidence, _classes, *, column: str = ""):
  """The labels as they were given, right or wrong, stand in the data.

  Args:
    label: i[N], the true labels.
    evidence: whose `given` they are.
    column: a second label column; votes: most volunteers.
  """
  given = evidence.given
  if given is None:
    raise SettingError(
      f"column is {column!r}: name the one with the labels as they were given "
      "(votes: what most volunteers said)."
    )
  rows = np.flatnonzero(given != label)
  return Proposals(rows, given[rows], flip=lambda rng: given.copy())


# (rng, label i[N], evidence, classes, **settings) -> Proposals
NOISE_MODELS: Table[Callable[..., Proposals]] = Table(
  {
    "uniform": _uniform,
    "confusable": _confusable,
    "ambiguity": _ambiguity,
    "matrix": _by_matrix,
    "trigger": _trigger,
    "column": _by_column,
    NONE: _none,
  },
  common=_share,
)


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


def _matrix(given, classes):
  k = len(classes)
  with contextlib.suppress(TypeError, ValueError):  # no numbers, or ragged
    matrix = np.asarray(given, np.float64)
    sums = matrix.sum(axis=-1)
    if matrix.shape == (k, k) and matrix.min() >= 0 and np.allclose(sums, 1):
      return matrix
  raise SettingError(
    f"matrix is {given}: give {k} rows of {k} probabilities that sum to 1, in "
    f"the order {', '.join(classes)}."
  )


def donors(label: np.ndarray, train_label: np.ndarray, seed: int) -> np.ndarray:
  """Whose votes each galaxy gets, when votes and not only labels go wrong.

  A galaxy with a wrong label gets the whole votes of a galaxy that has this
  label rightly, as where two records are mixed up: they obey the decision tree
  and are wrong in every question. i[N] true and training labels make rows i[N],
  its own where the label is right.

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
        "can be given to those that are made wrong: make fewer labels wrong."
      )
    rows[wrong] = rng.choice(right, len(wrong))
  return rows


def discovered(flipped: np.ndarray, share: float, seed: int) -> np.ndarray:
  """The wrong labels that somebody has found: a random part, sorted.

  Of rows i[n] the share in (0, 1]; larger ones of the same seed contain the
  smaller ones.

  Raises:
    UserError: for a share out of range, or one that finds nothing.
  """
  check("discovered", share, Known)
  count = round(share * len(flipped))
  if not count:
    raise UserError(
      f"discovered is {share:g} of {len(flipped)} wrong labels: the forget set "
      "would be empty; give a larger share."
    )
  order = np.random.default_rng([seed, 2]).permutation(flipped)
  return np.sort(order[:count])
