"""Train, validation and test, as the names of files and folders say."""

from collections.abc import Sequence
import math
from pathlib import Path
import re

import numpy as np

from gzjax.data.galaxy_catalog.extras import SPLIT_NAMES
from gzjax.morphology.splits import SPLITS

# As galaxy-datasets draws it, by train_test_split of Hugging Face's datasets.
_VALIDATION, _SEED = 0.2, 42


def part_of(path: Path) -> str:
  """The part that a name says, one of `SPLITS`; "" if it says none.

  Such as train-00000-of-00007.parquet, val, test_dataset.hdf5 or, by its
  folder, test/0000.parquet.
  """
  word = re.split(r"[-_.]", path.name)[0]
  return part_of_name(word) or part_of_name(path.parent.name)


def part_of_name(name: str) -> str:
  """The part that is called so, in any case; "" if none is."""
  return SPLIT_NAMES.get(name.lower(), "")


def numbered(parts: Sequence[str]) -> list[str]:
  """Names of N galaxies that have none: part and place in it, from 0 on."""
  seen: dict[str, int] = {}
  names = []
  for part in parts:
    number = seen[part] = seen.get(part, -1) + 1
    names.append(f"{part}_{number}" if part else str(number))
  return names


def split_of(parts: Sequence[str]) -> tuple[np.ndarray | None, list[str]]:
  """The split of N galaxies by the parts that they belong to, and notes.

  Without a validation part a fifth of train is drawn, seed 42. None where train
  or test is not there: the split is then drawn as that of any other galaxies.
  """
  split, there = np.asarray(parts, object), set(parts)
  if there == set(SPLITS):
    return split, []
  if there != {"train", "test"}:
    named = " and ".join(sorted(there - {""}))
    words = f"there is only {named}, and so the run draws its own split"
    return None, [words] if named else []
  train = np.flatnonzero(split == "train")
  order = np.random.default_rng(_SEED).permutation(len(train))
  drawn = order[: math.ceil(_VALIDATION * len(train))]
  split[train[drawn]] = "validation"
  return split, [
    f"validation is {_VALIDATION:.0%} of train, drawn with seed {_SEED} as "
    "galaxy-datasets does; test is as it was published"
  ]
