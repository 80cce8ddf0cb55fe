"""Galaxies whose right labels are known, and networks that audit them."""

from collections.abc import Callable, Iterator
import functools
from pathlib import Path
import time
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Column, Table
from sklearn import metrics

from gzjax import models
from gzjax.audit import evidence as evidences
from gzjax.audit.evidence import Evidence, Fold, Means
from gzjax.data.images import to_square
from gzjax.errors import UserError
from gzjax.evaluation import intervals
from gzjax.files import first_difference, read_json, write_json, write_whole
from gzjax.objectives.targets import Target
from gzjax.problem import Entries, Problem
from gzjax.progress import progress
from gzjax.revision import git_revision
from gzjax.sky import render, scene, volunteers
from gzjax.training import Recipe, train
from gzjax.training.dynamics import Dynamics

CLASSES = scene.CLASSES
FRACTIONS = (0.45, 0.45, 0.1)  # of the classes, on the sky
# Of the SDSS cut-outs, pixels; the galaxy is in the middle.
_CROP = 212
_VIEWS = {"rotation": 180.0, "flip": True, "zoom": 1.1, "shift": 0.05}


class How(NamedTuple):
  """How networks are trained that audit."""

  network: str = "resnet18"
  width: int = 16
  size: int = 64  # pixels
  epochs: int = 25
  folds: int = 5
  batch_size: int = 32
  learning_rate: float = 2e-3
  views: bool = False  # random ones, turned and shifted; else mirrored ones

  @property
  def recipe(self) -> Recipe:
    """Of each training."""
    views = _VIEWS if self.views else {"flip": True}
    return Recipe(
      epochs=self.epochs,
      batch_size=self.batch_size,
      learning_rate=self.learning_rate,
      **views,
    )


class Galaxies(NamedTuple):
  """N galaxies of `CLASSES`."""

  image: np.ndarray  # u8[N,S,S,3]
  label: np.ndarray  # i32[N], right ones
  shares: np.ndarray | None = None  # f64[N,3], of volunteers' votes


class Heard(NamedTuple):
  """What networks say, and what it took to train them."""

  evidence: Evidence
  seconds: float


@functools.lru_cache(maxsize=1)
def sky(count: int, seed: int, size: int) -> Galaxies:
  """A synthetic sky, with the votes of Galaxy Zoo 2's volunteers."""
  label = labels(seed, count)
  _, tally = volunteers.vote_all(seed, label)
  votes = tally.counts[:, : len(CLASSES)].astype(np.float64)
  shares = votes / votes.sum(axis=1, keepdims=True)
  return Galaxies(pictures(seed, label, size), label, shares)


def labels(seed: int, count: int) -> np.ndarray:
  """Of the galaxies of a sky, i32[count]."""
  return scene.sample_labels(seed, count, FRACTIONS).astype(np.int32)


def pictures(seed: int, label: np.ndarray, size: int) -> np.ndarray:
  """Of the sky of labels i[N], u8[N,size,size,3]."""
  drawn = render.pictures(seed, np.arange(len(label)), label, size)
  return np.stack([*progress(drawn, len(label), f"drawing sky {seed}")])


@functools.lru_cache(maxsize=1)
def real(folder: Path, size: int) -> Galaxies:
  """Galaxies of a folder with catalog.csv: columns file_loc and label.

  Raises:
    UserError: for a folder without them, or labels of other classes.
  """
  path = folder / "catalog.csv"
  if not path.is_file():
    raise UserError(
      f"{path} is missing: give the folder of a catalogue and its images with "
      "--real."
    )
  table = pd.read_csv(path, dtype=str, keep_default_na=False)
  label = pd.Index(CLASSES).get_indexer(table["label"]).astype(np.int32)
  if label.min() < 0:
    raise UserError(
      f"{path} has labels other than {', '.join(CLASSES)}: leave them out."
    )
  files = progress(table["file_loc"], len(table), "reading images")
  images = [to_square((folder / x).read_bytes(), _CROP, size) for x in files]
  return Galaxies(np.stack(images), label)


def make_problem(
  galaxies: Galaxies,
  given: np.ndarray,
  how: How,
  seed: int,
  target: Target | None = None,
) -> Problem:
  """Of labels i[N] as they are given; for classes, or another target."""
  found = Problem.from_arrays(
    models.build(how.network, len(CLASSES), width=how.width),
    galaxies.image,
    given,
    true_label=galaxies.label,
    classes=CLASSES,
    seed=seed,
    batch_size=how.batch_size,
  )
  return found if target is None else found._replace(target=target)


def of_ranking(
  wrong: np.ndarray, score: np.ndarray
) -> Iterator[tuple[str, float]]:
  """How well scores f[N], low where a label looks wrong, tell wrong bool[N]."""
  yield "AUROC", metrics.roc_auc_score(wrong, -score)
  yield "average precision", metrics.average_precision_score(wrong, -score)
  worst = np.argsort(score, kind="stable")[: wrong.sum()]
  yield "precision at n", wrong[worst].mean()


def check_folder(folder: Path, settings: dict) -> None:
  """Raises UserError for a folder with networks of other settings."""
  path = folder / "settings.json"
  changed = first_difference(read_json(path) or settings, settings)
  if changed:
    raise UserError(
      f"{folder} has networks of other settings ({changed}): give another "
      "--folder."
    )
  write_json(path, settings)


def stamp() -> dict[str, str]:
  """What numbers were measured with."""
  return {
    "revision": git_revision() or "unknown",
    "device": jax.devices()[0].device_kind,
  }


def show(
  console: Console, title: str, table: pd.DataFrame, rows: str, columns: str
) -> None:
  """Prints means over seeds of `value` by two other columns of a table."""
  heads = table[columns].unique()
  shown = Table(Column(rows, no_wrap=True), *heads, title=title)
  for name, part in table.groupby(rows, sort=False):
    values = part.groupby(columns)["value"]
    cells = (
      _in_words(name, values.get_group(x)) if x in values.groups else ""
      for x in heads
    )
    shown.add_row(name, *cells)
  console.print(shown)


def _in_words(name: str, values: pd.Series) -> str:
  """Mean over seeds, and half of its 95% interval if there are several.

  Of what `holds` in a trial or not (1 or 0): in how many of them.
  """
  values = values.dropna()
  if not len(values):
    return ""
  if name.startswith("holds"):
    return f"{values.sum():.0f} of {len(values)}"
  mean, _, high = intervals.mean_interval(values)
  digits = 3 if values.abs().max() <= 1 else 0
  half = "" if np.isnan(high) else f" ± {high - mean:,.{digits}f}"
  return f"{mean:,.{digits}f}{half}"


def by_folds(
  problem: Problem, entries: Entries, how: How, place: Path
) -> Heard:
  """Networks that each leave a part of the labels out; kept in `place`."""
  fold = evidences.folds(entries["label"], how.folds, problem.seed)
  found, seconds = [], 0.0
  for number in range(how.folds):

    def ask(number=number):
      return evidences.ask_fold(
        problem,
        np.flatnonzero(fold == number),
        recipe=how.recipe,
        entries=entries,
        name=f"{place.name}, network {number + 1} of {how.folds}",
      )

    one, took = _kept(place / f"{number}.npz", ask)
    found.append(one)
    seconds += took
  return Heard(evidences.of_folds(found, problem.target.tree), seconds)


def by_features(
  problem: Problem, entries: Entries, how: How, name: str
) -> Heard:
  """One network, trained on 70% of the labels, with its head fitted again."""
  start = time.perf_counter()
  learned = problem.sets.train
  dynamics = Dynamics(problem, entries)
  network = train(
    problem,
    learned,
    recipe=how.recipe,
    entries=entries,
    name=name,
    dynamics=dynamics,
  )
  loss, margin, *said = dynamics.means(learned).values()
  found = evidences.of_features(
    problem,
    network,
    entries=entries,
    learned=learned,
    means=Means(loss, margin, np.stack(said, axis=1)),
    count=how.folds,
  )
  return Heard(found, time.perf_counter() - start)


def _kept(path: Path, ask: Callable[[], Fold]) -> tuple[Fold, float]:
  """What a fold has found before, or finds now, and its seconds."""
  if not path.exists():
    start = time.perf_counter()
    found = ask()
    seconds = time.perf_counter() - start
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(part):
      with part.open("wb") as file:
        np.savez(file, seconds=seconds, **found._asdict())

    write_whole(path, write)
  with np.load(path) as kept:
    numbers = dict(kept)
  seconds = float(numbers.pop("seconds"))
  return Fold(**numbers), seconds
