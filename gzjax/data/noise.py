"""Wrong labels on purpose: which labels to flip, and to what."""

from collections.abc import Sequence

import numpy as np

from gzjax.errors import UserError

FLIP_MODELS = ("uniform", "confusable")


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
  label: np.ndarray,
  *,
  kind: str,
  fraction: float,
  seed: int,
  class_names: Sequence[str],
  pair: Sequence[str] = (),
) -> np.ndarray:
  """Gives a fixed share of the examples a wrong label.

  Call it with training labels only: validation and test stay clean.

  Args:
    label: i[N], the true labels.
    kind: see `wrong_labels`.
    fraction: the share of all N labels that is flipped, in (0, 0.5).
    seed: of the NumPy generator.
    class_names: K names.
    pair: see `wrong_labels`.

  Returns:
    i[N], the labels with round(fraction * N) of them wrong.

  Raises:
    UserError: for an unknown kind, a fraction out of range, a pair that is not
      two classes, or a pair with fewer examples than flips.
  """
  check_fraction(fraction)
  eligible, wrong = wrong_labels(
    label, kind=kind, seed=seed, class_names=class_names, pair=pair
  )
  count = round(fraction * len(label))
  if len(eligible) < count:
    raise UserError(
      f"flips.fraction={fraction:g} asks for {count} flips, but only "
      f"{len(eligible)} training galaxies are {' or '.join(pair)}: lower the "
      "fraction or use --config.flips.kind=uniform."
    )
  rng = np.random.default_rng([seed, 1])
  chosen = rng.choice(len(eligible), count, replace=False)
  flipped = label.copy()
  flipped[eligible[chosen]] = wrong[chosen]
  return flipped


def wrong_labels(
  label: np.ndarray,
  *,
  kind: str,
  seed: int,
  class_names: Sequence[str],
  pair: Sequence[str] = (),
) -> tuple[np.ndarray, np.ndarray]:
  """Draws a wrong label for every example that the flip model may touch.

  Args:
    label: i[N], the true labels.
    kind: "uniform" turns any class into any other one with equal probability.
      "confusable" swaps the two classes of `pair` only, as volunteers do who
      cannot tell them apart.
    seed: of the NumPy generator.
    class_names: K names.
    pair: two of the names, for "confusable".

  Returns:
    (rows i[M], wrong labels i[M]) of the M examples that may be flipped.

  Raises:
    UserError: for an unknown kind or a pair that is not two classes.
  """
  if kind == "uniform":
    shift = np.random.default_rng(seed).integers(
      1, len(class_names), len(label)
    )
    return np.arange(len(label)), (label + shift) % len(class_names)
  if kind == "confusable":
    first, second = _pair_indices(pair, class_names)
    rows = np.flatnonzero((label == first) | (label == second))
    return rows, first + second - label[rows]
  raise UserError(
    f"flips.kind is {kind!r}: choose one of {', '.join(FLIP_MODELS)}."
  )


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
