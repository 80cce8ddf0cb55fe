"""Train, validation and test: stratified by class, or by the names."""

from collections.abc import Iterable, Sequence
import hashlib
from typing import Annotated

import numpy as np

from gzjax.errors import UserError
from gzjax.registry import Rule, check

SPLITS = ("train", "validation", "test")


def stratified_split(
  label: np.ndarray,
  fractions: Sequence[float],
  seed: int,
  class_names: Sequence[str],
) -> np.ndarray:
  """Assigns each example to a split, class by class.

  Args:
    label: i[N], indices of `class_names`.
    fractions: shares of train, validation and test; they sum to 1.
    seed: of the NumPy generator.
    class_names: K names, for the error message.

  Returns:
    i8[N], indices of `SPLITS`. In each class the sizes differ from the exact
    shares by less than one, and no split is empty.

  Raises:
    UserError: if a class has too few examples for one in each split.
  """
  check("split", tuple(fractions), Shares)
  split = np.empty(len(label), np.int8)
  _check_sizes(label, class_names, len(SPLITS))
  for k in range(len(class_names)):
    members = np.flatnonzero(label == k)
    sizes = _sizes(len(members), fractions)
    order = np.random.default_rng([seed, k]).permutation(members)
    split[order] = np.repeat(np.arange(len(SPLITS), dtype=np.int8), sizes)
  return split


def _check_sizes(
  label: np.ndarray, class_names: Sequence[str], least: int
) -> None:
  """UserError for classes with fewer galaxies, and the classes to keep."""
  sizes = np.bincount(label, minlength=len(class_names))
  few = [x for x, size in zip(class_names, sizes, strict=True) if size < least]
  if not few:
    return
  first = int(sizes[list(class_names).index(few[0])])
  also = f" ({len(few)} such classes: {', '.join(few)})" if few[1:] else ""
  enough = tuple(x for x in class_names if x not in few)
  why = "too few to put one into each of train, validation and test"
  words = (
    f"has {first} galaxies, {why}" if first else "has no galaxy in the file"
  )
  raise UserError(
    f"class {few[0]!r} {words}{also}: add galaxies, or {_keep(enough)}."
  )


def _keep(classes: tuple[str, ...]) -> str:
  """How to keep these alone."""
  if len(classes) < 2:
    return "give two classes or more that have some"
  return f'keep the other classes with --config.labels.classes="{classes}"'


def split_by_id(
  ids: Iterable[str], fractions: Sequence[float], seed: int
) -> np.ndarray:
  """Assigns each galaxy to a split by its name alone.

  It stays there whatever labels are made of the votes and whichever galaxies
  are added, so that networks of other labels can be compared on the same ones.
  Returns i8[N], indices of `SPLITS`; other seeds draw other splits.
  """
  check("split", tuple(fractions), Shares)
  words = (
    hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    for name in ids
  )
  draw = np.array([int.from_bytes(word, "big") for word in words]) / 2**64
  ends = np.cumsum(fractions)[:-1]
  return np.searchsorted(ends, draw, "right").astype(np.int8)


def _are_shares(fractions: Sequence[float]) -> bool:
  return (
    all(isinstance(share, int | float) for share in fractions)
    and len(fractions) == len(SPLITS)
    and bool(np.isclose(sum(fractions), 1))
    and min(fractions) > 0
  )


Shares = Annotated[
  tuple[float, ...],
  Rule(
    _are_shares,
    "give three positive shares (train, validation, test) that sum to 1",
  ),
]


def check_all_present(
  label: np.ndarray,
  split: np.ndarray,
  class_names: Sequence[str],
  needed: Sequence[str] = SPLITS,
  *,
  may_draw: bool = True,
) -> None:
  """Checks that a given split has every class in each of the `needed` parts.

  Labels and split, i[N], are indices of `class_names` and `SPLITS`. `may_draw`
  says whether a split of the labels is a mend.

  Raises:
    UserError: naming the first class and split without a galaxy.
  """
  _check_sizes(label, class_names, 1)
  for k, name in enumerate(class_names):
    for part in needed:
      if not np.any((label == k) & (split == SPLITS.index(part))):
        there = set(label[np.isin(split, list(map(SPLITS.index, needed)))])
        others = (x for i, x in enumerate(class_names) if i in there - {k})
        draw = (
          "let --config.data.split_by=label draw a split (without "
          "--config.data.split_column)"
          if may_draw
          else "draw another with --config.data.seed"
        )
        raise UserError(
          f"the split of the data set has no galaxy of class {name!r} in "
          f"{part}: put some there, {_keep(tuple(others))}, or {draw}."
        )


def _sizes(n: int, fractions: Sequence[float]) -> np.ndarray:
  """Largest-remainder sizes, each at least 1."""
  exact = n * np.asarray(fractions)
  sizes = np.floor(exact).astype(int)
  order = np.argsort(sizes - exact, kind="stable")
  sizes[order[: n - sizes.sum()]] += 1
  while sizes.min() < 1:
    sizes[sizes.argmax()] -= 1
    sizes[sizes.argmin()] += 1
  return sizes
