"""The table of rows that make networks, and what a row may say of itself."""

from collections.abc import Callable, Mapping
import inspect
from typing import Any, Literal, NamedTuple

import jax

from gzjax import registry
from gzjax.objectives import losses
from gzjax.problem import Network
from gzjax.registry import Natural, Positive, Share, Table
from gzjax.types import Method, Objective, PyTree
from gzjax.unlearning import edits


class Task(NamedTuple):
  """What a method may know of the run that it is built for."""

  key: jax.Array  # of its random numbers
  steps: int  # that it will take in all
  forget: int  # examples
  train: int  # examples, those to forget among them
  layers: tuple[str, ...]  # tops of the parameter paths, input to output
  loss: Objective = losses.cross_entropy  # that the network was trained with
  mended: Objective = losses.mended_label  # the same on mended labels or votes
  # What the network says of the classes: logits f32[B,K] -> f32[B,C].
  class_logits: Callable[[jax.Array], jax.Array] = lambda logits: logits

  def of_class(self, objective: Objective) -> Objective:
    """An objective of the class, whatever else the network speaks of."""
    return losses.on_classes(self.class_logits, objective)


class Driver(NamedTuple):
  """How the driver runs a method; each field is also a config key.

  Attributes:
    epochs: passes over the retain set, or the forget set if it needs only that.
    checks: readings of the vital signs in an epoch.
    max_damage: balanced accuracy that may be lost: no reading with more is a
      result (with `rewind`, if it is more than a standard error, too), and if
      there is no other the original is; 1: no rule.
    rewind: whether to take all steps and end at the reading that is nearest to
      the target and does best, by the balanced accuracy won less the distance;
      else the first that reaches the target or loses too much is the last, and
      of the latter the one before stands.
    search: trial values of the setting that the method searches; 0: none.
    batch_stats: of BatchNorm while it learns: `live` (those of the batch, and
      the batches to keep move the stored ones), `renewed` (live where there are
      batches to keep, and estimated anew on the retain set at the end) or
      `stored` (what was forgotten on them comes back when they are estimated
      anew, see docs/unlearning.md).
    fisher: estimator; "" is unlearn.fisher.estimator.
  """

  epochs: Positive = 1
  checks: Positive = 1
  max_damage: Share = 0.02
  rewind: bool = True
  search: Natural = 0
  batch_stats: Literal["live", "renewed", "stored"] = "live"
  fisher: Literal["", "exact", "vmap", "signs", "batch_mean"] = ""


class Strength(NamedTuple):
  """A setting that makes a method of one step stronger, until it hurts."""

  setting: str
  # (task, driver) -> a value that changes (next to) nothing; it is not tried.
  weakest: Callable[[Task, Driver], float]
  # Another setting, and what it is multiplied by: each is tried, too.
  other: str = ""
  factors: tuple[float, ...] = (1.0,)


class Row(NamedTuple):
  """A method of the table.

  `build(task, **settings)` makes it; with the settings of `neutral` in place of
  its own it changes no parameter, which a test checks.
  """

  build: Callable[..., Method]
  neutral: Mapping[str, Any]
  driver: Driver = Driver()
  # (original, fresh parameters, layers, extras, **settings) -> where to start.
  start: Callable[..., PyTree] | None = None
  # What `Driver.search` looks for.
  strength: Strength | None = None
  # (retain Fisher, parameters, **settings) -> the noise that it adds.
  noise: Callable[..., edits.NoiseScale] | None = None
  # Whether it reads all logits as those of one softmax.
  softmax_only: bool = False
  # Whether what it learns is the whole training set, wrong labels and all.
  keeps_all: bool = False
  # Whether it needs a network with `model.tied`, as large as its `shared`.
  needs_ties: bool = False
  # (problem, original, name=, store=, **settings) -> Network, of rows that are
  # no steps from the original.
  make: Callable[..., Network] | None = None
  role: str = "method"  # or baseline, original, reference
  name: str = ""  # in the table

  @property
  def given(self) -> bool:
    """Whether every run has it, unasked."""
    return self.role in ("baseline", "original")


METHODS: Table[Row] = Table({}, shares_section=False)


def register(name: str, row: Row) -> None:
  """Adds a method to the table; the config then has `unlearn.<name>`.

  The keyword-only arguments of `row.build` need defaults: they become config
  keys.

  Raises:
    ValueError: for a name that is taken, or a setting without a default or with
      the name of a field of `Driver`.
  """
  for setting in inspect.signature(row.build).parameters:
    if setting in Driver._fields:
      raise ValueError(f"{name}: {setting!r} is a setting of the driver")
  METHODS.register(name, row._replace(name=name))


def default_settings(name: str) -> dict[str, Any]:
  """The config keys of a method and their defaults, the driver's among them."""
  return {**METHODS.settings(name), **METHODS[name].driver._asdict()}


def annotations(name: str) -> dict[str, Any]:
  """Which values are right of each of these keys, see `registry.check`."""
  own = {key: x.annotation for key, x in METHODS.keywords(name).items()}
  return {**own, **Driver.__annotations__}


def meanings(name: str) -> dict[str, str]:
  """The words about each of these keys."""
  return {
    "method": "the row of METHODS",
    **METHODS.meanings(name),
    **registry.arguments(Driver),
  }
