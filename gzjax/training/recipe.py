"""Training from scratch: the original network, and real retraining."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax import models, sharding
from gzjax.batches import Batches, Step, join
from gzjax.data import feed
from gzjax.data.augment import Augmentation
from gzjax.errors import SettingError
from gzjax.objectives import losses
from gzjax.problem import Entries, Network, Problem, Rows
from gzjax.progress import say
from gzjax.registry import choose
from gzjax.training import optim
from gzjax.training.dynamics import Dynamics
from gzjax.training.loop import fit
from gzjax.training.step import init_state, make_train_step
from gzjax.training.store import Memory, Store
from gzjax.types import FORWARD, Batch, Cost, Objective, PyTree, TrainState

# Folded into the key for the network's own randomness; epochs count from 0.
_NETWORK = 2**31 - 1

# (a network as it is) -> its numbers on validation, `loss` among them.
Validate = Callable[[Network], Mapping[str, float]]


class Recipe(NamedTuple):
  """How a network is trained; the fields are the keys of `config.train`."""

  epochs: int = 20
  batch_size: int = 64
  steps_per_epoch: int = 0
  balanced_to: int = 0
  optimizer: str = "adamw"
  learning_rate: float = 1e-3
  warmup_epochs: float = 1.0
  schedule: str = "cosine"
  frozen_epochs: int = 0
  layer_decay: float = 1.0
  layer_rates: tuple[tuple[str, float], ...] = ()
  loss: str = "cross_entropy"
  class_weights: str = "none"
  select: str = "last"
  rotation: float = 0.0
  flip: bool = False
  zoom: float = 1.0
  shift: float = 0.0
  # Of optimizers, schedules, losses and class weights, such as weight_decay;
  # others are as in their tables.
  settings: Mapping[str, Any] = {}

  @property
  def augmentation(self) -> Augmentation:
    """The random views."""
    return Augmentation(self.rotation, self.flip, self.zoom, self.shift)


class Plan(NamedTuple):
  """A recipe on galaxies: its step and what that goes through."""

  tx: optax.GradientTransformation
  step: Step
  batches: Callable[[int], Batches]  # of an epoch
  steps: int  # in an epoch
  rates: optim.Rates

  def start(self, problem: Problem) -> TrainState:
    """The state before the first step, of the problem's fresh network."""
    state = init_state(*problem.fresh, self.tx)
    return sharding.spread(problem.feed.mesh, state)


def make_plan(
  problem: Problem, rows: Rows, recipe: Recipe, entries: Entries
) -> Plan:
  """The plan of a recipe; for its arguments see `train`.

  The entries have what the loss asks for, `remembered` too.
  """
  label = entries["label"][rows]
  rows_of = partial(_rows, recipe, rows, label, problem.seed)
  steps = len(rows_of(epoch=0))
  rates = _rates(recipe, steps)
  tx = _optimizer(recipe, rates, steps, models.depth_order(problem.fresh[0]))
  step = make_train_step(
    problem.apply_fn,
    _objective(problem, recipe, label),
    tx,
    summary=problem.target.summary,
  )
  batches = partial(_batches, problem, recipe, entries, rows_of)
  return Plan(tx, step, batches, steps, rates)


def train(
  problem: Problem,
  rows: Rows | None = None,
  *,
  recipe: Recipe | None = None,
  entries: Entries | None = None,
  name: str = "original",
  role: str = "original",
  validate: Validate | None = None,
  store: Store | None = None,
  dynamics: Dynamics | None = None,
) -> Network:
  """Trains from the problem's fresh network, or goes on where a store left it.

  Args:
    problem: galaxies, network and target.
    rows: to train on; None: the training set, wrong labels included.
    recipe: how; None: `Recipe()` with the problem's batch size.
    entries: what is learned of all galaxies; None: what is given.
    name: of the network.
    role: see `Network`.
    validate: after each epoch, for the log and the choice of the best; None:
      nothing is measured.
    store: keeps the states; None: this process only.
    dynamics: collects what is said of each galaxy on the way.

  Raises:
    SettingError: for a setting of the recipe that no row has, and after the
      first epoch whose loss or network is not finite.
  """
  rows = problem.sets.train if rows is None else rows
  recipe = recipe or Recipe(batch_size=problem.batch_size)
  _check_settings(recipe)
  entries = problem.columns.given if entries is None else entries
  store = store or Memory()
  dynamics = dynamics or Dynamics(problem, entries)
  own_memory = memory(recipe)
  if own_memory is not None:
    dynamics.remember(own_memory)
    entries = {**entries, "remembered": dynamics.arrays["remembered"]}
  plan = make_plan(problem, rows, recipe, entries)
  watch = _Watch(problem, name, recipe, plan.rates, validate, store, dynamics)
  state, cost, done = store.resume(plan.start(problem), dynamics.arrays)
  # The row before the first step; it also compiles the prediction.
  scores = watch.measure(state)
  if not done and scores:
    store.log(0, 0, "validation", **scores)
  _, cost = fit(
    state,
    plan.step,
    plan.batches,
    steps=plan.steps,
    epochs=range(done, recipe.epochs),
    title=name,
    after_epoch=watch.after_epoch,
    cost=cost,
    reading=FORWARD * len(problem.sets.validation) if validate else 0.0,
  )
  kept = store.networks(best=recipe.select == "best")
  assert kept is not None
  return Network(name, *kept, cost, role)


def memory(recipe: Recipe) -> float | None:
  """The memory of a loss that looks at what was said before; None: no such."""
  own = losses.LOSSES.settings(recipe.loss)
  return (
    {**own, **recipe.settings}["elr_memory"] if "elr_memory" in own else None
  )


def _check_settings(recipe: Recipe) -> None:
  """Raises SettingError for a setting that would do nothing."""
  known = {
    **optim.OPTIMIZERS.all_settings(),
    **optim.SCHEDULES.all_settings(),
    **losses.LOSSES.all_settings(),
    **losses.CLASS_WEIGHTS.all_settings(),
  }
  for name in recipe.settings:
    if name not in known:
      raise SettingError(
        f"{name} is no setting of a training: {choose(tuple(sorted(known)))}."
      )


class _Watch(NamedTuple):
  """Measures, tells and keeps what an epoch has made of the network."""

  problem: Problem
  name: str
  recipe: Recipe
  rates: optim.Rates
  validate: Validate | None
  store: Store
  dynamics: Dynamics

  def measure(self, state: TrainState) -> Mapping[str, float]:
    if self.validate is None:
      return {}
    return self.validate(Network(self.name, state.params, state.batch_stats))

  def after_epoch(
    self, epoch: int, state: TrainState, outputs: list, cost: Cost
  ) -> bool:
    self.dynamics.add(outputs)
    step, number = int(state.step), epoch + 1
    loss = float(np.mean([output["loss"] for output in outputs]))
    self._check_finite(number, loss, state)
    rate = optim.learning_rate(self.rates.schedule, state.opt_state, step - 1)
    self.store.log(step, number, "train", loss=loss, learning_rate=rate)
    scores = self.measure(state)
    if scores:
      self.store.log(step, number, "validation", **scores)
      words = ", ".join(f"{k} {value:.3f}" for k, value in scores.items())
      say(
        f"{self.name} epoch {number}/{self.recipe.epochs}: validation {words}"
      )
    merit = self.problem.target.merit(scores) if scores else -loss
    self.store.save(number, state, cost, merit, self.dynamics.arrays)
    return True

  def _check_finite(self, number: int, loss: float, state: TrainState) -> None:
    """Raises SettingError before a network is kept that says nothing."""
    if math.isfinite(loss) and _is_finite((state.params, state.batch_stats)):
      return
    raise SettingError(
      f"learning_rate is {self.recipe.learning_rate:g}: in epoch {number} of "
      f"{self.recipe.epochs} {self.name} has become NaN or infinite (loss "
      f"{loss:g}); give a lower rate and start the training anew."
    )


@jax.jit
def _is_finite(tree: PyTree) -> jax.Array:
  return jnp.all(
    jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)])
  )


def _rows(
  recipe: Recipe, rows: Rows, label: np.ndarray, seed: int, epoch: int
) -> list[feed.BatchRows]:
  """The batches of an epoch of a recipe, of galaxies labelled i[n]."""
  how = recipe.batch_size, seed, epoch
  if recipe.balanced_to:
    found = feed.balanced_rows(rows, label, recipe.balanced_to, *how)
  else:
    found = feed.training_rows(rows, *how)
  return found[: recipe.steps_per_epoch or None]


def _batches(
  problem: Problem,
  recipe: Recipe,
  entries: Entries,
  rows_of: Callable[[int], list[feed.BatchRows]],
  epoch: int,
) -> Batches:
  """The batches of an epoch, with the key of the network's own randomness."""
  key = sharding.spread(
    problem.feed.mesh, jax.random.fold_in(problem.key, _NETWORK)
  )
  batches = problem.feed.batches(
    rows_of(epoch),
    key=jax.random.fold_in(problem.key, epoch),
    augmentation=recipe.augmentation,
    extra=entries,
  )
  return join(
    _with_key,
    batches,
    mesh=batches.mesh,
    count=len(batches),
    shared=key,
  )


def _with_key(key: jax.Array, batch: Batch) -> Batch:
  return {**batch, "key": key}


def _rates(recipe: Recipe, steps: int) -> optim.Rates:
  """The learning rate for epochs of so many steps."""
  every = recipe.epochs * steps
  warmup = min(math.ceil(recipe.warmup_epochs * steps), every - 1)
  schedule = optim.SCHEDULES.with_settings(recipe.schedule, recipe.settings)
  return schedule(optim.Span(recipe.learning_rate, every, warmup, steps))


def _optimizer(
  recipe: Recipe, rates: optim.Rates, steps: int, layers: Sequence[str]
) -> optax.GradientTransformation:
  """The optimizer for epochs of so many steps; layers from input to output."""
  build = optim.OPTIMIZERS.with_settings(recipe.optimizer, recipe.settings)
  by_name = optim.match_prefixes(layers, dict(recipe.layer_rates))
  by_depth = optim.decay_by_depth(layers, recipe.layer_decay)

  def make(start: int) -> optax.GradientTransformation:
    return build(lambda step: rates.schedule(step + start))

  return rates.wrap(
    optim.scale_rates(
      optim.freeze_backbone(make, recipe.frozen_epochs * steps),
      {layer: by_name[layer] * by_depth[layer] for layer in layers},
    )
  )


def _objective(
  problem: Problem, recipe: Recipe, label: np.ndarray
) -> Objective:
  """The loss; class weights are those of the labels i64[n]."""
  focus = losses.LOSSES.with_settings(recipe.loss, recipe.settings)
  weigh = losses.CLASS_WEIGHTS.with_settings(
    recipe.class_weights, recipe.settings
  )
  objective = focus(problem.target.objective)
  weights = weigh(np.bincount(label, minlength=len(problem.target.classes)))
  return objective if weights is None else losses.weighted(objective, weights)
