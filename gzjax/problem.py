"""A problem: everything that a method, a score or a study may know, as arrays.

Nothing here knows of configs or disks. Where the forget set comes from (planted
flips, a reviewed table, suspects, a list of rows) is decided above.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gzjax import models, sharding
from gzjax.data import feed as feeds
from gzjax.data.augment import NO_AUGMENTATION, Augmentation
from gzjax.objectives import losses, targets
from gzjax.objectives.targets import Prediction, Target
from gzjax.types import ApplyFn, Cost, Objective, PyTree, TrainState

Rows = np.ndarray  # i64[n], rows of the N galaxies
# What is known of N galaxies, by the entries of a batch: label i32[N] and, for
# networks of votes, votes f32[N,A].
Entries = Mapping[str, np.ndarray]

# Rows of each prediction batch.
_PREDICT_BATCH = 256


class Columns(NamedTuple):
  """What is learned, what is right, and what to learn instead."""

  given: Entries  # as trained on, partly wrong
  true: Entries  # as far as it is known
  mended: Entries  # what the forget set should have been
  # Cumulative vote fractions f64[N,A] on the questions of the target: right
  # ones, and as trained on. Of labels alone: 1 for the label.
  fractions: np.ndarray
  given_fractions: np.ndarray


class Sets(NamedTuple):
  """Rows of the galaxies, by what they are for."""

  train: Rows
  validation: Rows
  test: Rows
  retain: Rows  # of train: what to keep
  forget: Rows  # of train: what to forget


class Unseen(NamedTuple):
  """Test galaxies with wrong labels that no network saw, for the attack."""

  rows: Rows
  label: np.ndarray  # i[n]


class Review(NamedTuple):
  """What is known where the right labels are not: a person's own catalogue.

  The label of `columns.true` is then the given one, but for what a person
  corrected.
  """

  # Share of the labels to forget that networks give which never saw them; None:
  # by their accuracy, see `health.expected_forget_accuracy`.
  target: float | None = None
  corrected: Rows = np.arange(0)  # of the forget set
  confirmed: Rows = np.arange(0)  # of validation and test, corrected or right


class Problem(NamedTuple):
  """A network, its task, its galaxies and how to go through them."""

  apply_fn: ApplyFn
  target: Target
  feed: feeds.Feed  # of all N galaxies
  columns: Columns
  sets: Sets
  fresh: tuple[PyTree, PyTree]  # params and batch_stats before training
  unseen: Unseen
  seed: int = 0
  batch_size: int = 64
  forget_batch_size: int = 0  # of methods with both batches; 0: batch_size
  augmentation: Augmentation = NO_AUGMENTATION  # of unlearning
  review: Review | None = None  # None: the right labels are known

  @property
  def size(self) -> int:
    """N, galaxies."""
    return len(self.columns.given["label"])

  @property
  def given(self) -> np.ndarray:
    """Labels as trained on, i32[N]."""
    return self.columns.given["label"]

  @property
  def true(self) -> np.ndarray:
    """Right labels, i32[N]."""
    return self.columns.true["label"]

  @property
  def wrong(self) -> Rows:
    """Training galaxies with wrong labels, as far as somebody knows them."""
    if self.review:
      return self.sets.forget
    train = self.sets.train
    return train[self.given[train] != self.true[train]]

  @property
  def right(self) -> Rows:
    """The other training galaxies."""
    return np.setdiff1d(self.sets.train, self.wrong)

  @property
  def key(self) -> jax.Array:
    """From which all random numbers are drawn."""
    return jax.random.key(self.seed)

  @property
  def mended_objective(self) -> Objective:
    """The loss of what the forget set should have been.

    Where labels alone are mended, of a network of votes its answer to the
    question of the classes.
    """
    learns = self.target.learns
    if learns in self.columns.mended:
      return losses.with_entry(
        self.target.objective, learns, f"mended_{learns}"
      )
    return losses.on_classes(self.target.class_logits, losses.mended_label)

  @classmethod
  def from_arrays(
    cls,
    network: Any,
    image: np.ndarray,
    label: np.ndarray,
    *,
    true_label: np.ndarray | None = None,
    forget: Rows | None = None,
    classes: int | Sequence[str] = 0,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    batch_size: int = 32,
  ) -> "Problem":
    """A problem of classes from arrays and any flax.linen network.

    Args:
      network: a module, `__call__(image)` or `(image, train)`, that ends in as
        many numbers as there are classes.
      image: u8[N,S,S,3].
      label: i[N], as given, partly wrong.
      true_label: i[N]; None: nobody knows them, and all is judged by the given
        ones.
      forget: rows of training galaxies to forget; None: the training galaxies
        whose given and true labels differ.
      classes: names, or how many; 0: as many as the labels have.
      split: shares of train, validation and test, drawn.
      seed: of the split, the fresh network and all that follows.
      batch_size: of training and unlearning.

    Raises:
      ValueError: for arrays of other shapes, rows outside of the training set,
        or nothing to forget.
    """
    image = np.asarray(image)
    if image.ndim != 4 or image.shape[-1] != 3 or image.dtype != np.uint8:
      raise ValueError(f"image is {image.dtype}{image.shape}: give u8[N,S,S,3]")
    count = classes if isinstance(classes, int) else len(classes)
    label = _labels("label", label, len(image), count)
    true = label
    if true_label is not None:
      true = _labels("true_label", true_label, len(image), count)
    rng = np.random.default_rng(seed)
    sets = _draw_sets(rng, split, label != true, forget)
    target = targets.classes(classes or int(max(label.max(), true.max())) + 1)
    columns = _columns(label, true, sets.train, target.outputs)
    shift = rng.integers(1, target.outputs, len(sets.test))
    mesh = sharding.make_mesh()
    fresh = models.init_variables(network, jax.random.key(seed), image.shape[1])
    return cls(
      apply_fn=models.make_apply_fn(network),
      target=target,
      feed=feeds.Feed(image, columns.given, mesh),
      columns=columns,
      sets=sets,
      fresh=sharding.replicate(mesh, fresh),
      unseen=Unseen(sets.test, (true[sets.test] + shift) % target.outputs),
      seed=seed,
      batch_size=batch_size,
      review=Review() if true_label is None else None,
    )


def _labels(name: str, label: Any, images: int, classes: int) -> np.ndarray:
  """Labels i32[N]; ValueError for what are none (`classes` 0: any number)."""
  label = np.asarray(label)
  if label.shape != (images,) or label.dtype.kind not in "iu":
    raise ValueError(
      f"{name} is {label.dtype}{label.shape}: give whole numbers, one an image"
    )
  if label.min() < 0 or (classes and label.max() >= classes):
    raise ValueError(
      f"{name} goes from {label.min()} to {label.max()}: classes count from 0"
      + (f" to {classes - 1}" if classes else "")
    )
  return label.astype(np.int32)


def _draw_sets(
  rng: np.random.Generator,
  split: Sequence[float],
  wrong: np.ndarray,
  forget: Rows | None,
) -> Sets:
  """Sets of N galaxies; ValueError where there is nothing to forget."""
  ends = np.round(np.cumsum(split)[:2] * len(wrong)).astype(int)
  train, validation, test = map(
    np.sort, np.split(rng.permutation(len(wrong)), ends)
  )
  found = train[wrong[train]] if forget is None else np.unique(forget)
  are_rows = found.dtype.kind in "iu" and len(found)
  if not are_rows or not np.isin(found, train).all():
    raise ValueError(
      "forget names no training galaxy, or others than those: give rows of "
      "wrong labels, or true_label"
    )
  return Sets(train, validation, test, np.setdiff1d(train, found), found)


def _columns(
  label: np.ndarray, true: np.ndarray, train: Rows, classes: int
) -> Columns:
  learned = true.copy()  # validation and test are judged by what is right
  learned[train] = label[train]
  given, right = {"label": learned}, {"label": true}
  one_hot = np.eye(classes)
  return Columns(given, right, right, one_hot[true], one_hot[learned])


class Network(NamedTuple):
  """A row of the scoreboard: a network and what making it took."""

  name: str
  params: PyTree
  batch_stats: PyTree
  cost: Cost = Cost()
  role: str = "method"  # or baseline, original, reference
  report: Mapping[str, Any] | None = None  # what its method says of it
  # Of a network of another kind than the problem's; None: the problem's.
  apply_fn: ApplyFn | None = None
  target: Target | None = None

  @property
  def state(self) -> TrainState:
    """Without optimizer state."""
    return TrainState(
      jnp.zeros((), jnp.int32), self.params, self.batch_stats, ()
    )


def predict(
  problem: Problem, network: Network, rows: Rows, views: int = 1
) -> np.ndarray:
  """Logits f32[n,K] of the galaxies `rows`, in order: the mean over `views`."""
  return logits_of(
    network.apply_fn or problem.apply_fn, network, problem.feed, rows, views
  )


def logits_of(
  apply_fn: ApplyFn,
  network: Network,
  feed: feeds.Feed,
  rows: Rows,
  views: int = 1,
) -> np.ndarray:
  """The same for any galaxies that a feed has."""
  step = models.make_predict_step(apply_fn)
  return np.mean(
    [_go_through(step, network, feed, rows, turn) for turn in range(views)],
    axis=0,
  )


def _go_through(step, network, feed, rows, turn=0) -> np.ndarray:
  size = -(-_PREDICT_BATCH // feed.mesh.size) * feed.mesh.size
  batches = feed.batches(feeds.ordered_rows(rows, size), turn=turn)
  return models.predict(step, network.state, batches)


def features(problem: Problem, network: Network, rows: Rows) -> np.ndarray:
  """What the head sees of the galaxies `rows`, f32[n,F].

  ValueError for a network that ends in no dense layer.
  """
  apply_fn = network.apply_fn or problem.apply_fn
  return features_of(apply_fn, network, problem.feed, rows)


def features_of(
  apply_fn: ApplyFn, network: Network, feed: feeds.Feed, rows: Rows
) -> np.ndarray:
  """The same for any galaxies that a feed has."""
  step = models.make_feature_step(apply_fn)
  return _go_through(step, network, feed, rows)


def ask(
  problem: Problem, network: Network, rows: Rows, views: int = 1
) -> Prediction:
  """What a network says of the galaxies `rows`, see `predict`."""
  logits = predict(problem, network, rows, views)
  return targets.interpret(network.target or problem.target, logits)


def probabilities(problem: Problem, network: Network, rows: Rows) -> np.ndarray:
  """Of the classes, f64[n,C]; NaN where a logit is not finite."""
  logits = predict(problem, network, rows)
  return targets.probabilities(network.target or problem.target, logits)


def example_losses(
  problem: Problem, logits: np.ndarray, rows: Rows, entries: Entries
) -> np.ndarray:
  """The target's objective, f64[n], nats; infinite where it is not finite.

  Of logits f32[n,K] of the galaxies `rows`; the `entries` are of all galaxies.
  """
  batch = {name: x[rows] for name, x in entries.items()}
  return targets.example_losses(problem.target, logits, batch)
