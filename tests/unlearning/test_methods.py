"""The contract that every row of the table of methods keeps."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax import models, sharding
from gzjax.compilation import Compilation
from gzjax.errors import SettingError
from gzjax.objectives import losses
from gzjax.pipeline import defaults
from gzjax.training.step import init_state
from gzjax.types import Method, TrainState, UnlearnBatch
from gzjax.unlearning import starts, table, transforms
from gzjax.unlearning.methods import METHODS, Driver, Row, Task
from gzjax.unlearning.step import make_unlearn_step
from tests import networks

# Those of the table that take steps from the original network.
STEPPING = [name for name, row in METHODS.items() if row.make is None]


class _Reader(nn.Module):
  """What `etd` looks at: a kernel that reads channels that may be tied."""

  @nn.compact
  def __call__(self, x):
    return nn.Conv(6, (1, 1), name="conv1")(x)


class _Small(nn.Module):
  """What a method may look at: layers, their order, stored statistics."""

  @nn.compact
  def __call__(self, image, train=False):
    x = nn.Conv(4, (3, 3), (2, 2), name="stem_conv")(image)
    x = nn.BatchNorm(use_running_average=not train, name="stem_norm")(x)
    x = _Reader(name="stage3_block1")(nn.relu(x)).mean((1, 2))
    return nn.Dense(networks.CLASSES, name="head")(nn.relu(x))


@functools.cache
def _network():
  """(apply_fn, params, batch_stats), which compile fast."""
  model = _Small()
  params, stats = models.init_variables(model, jax.random.key(1), networks.SIZE)
  return models.make_apply_fn(model), *jax.device_get((params, stats))


def _settings(name):
  settings = table.default_settings(name)
  return {k: v for k, v in settings.items() if k not in Driver._fields}


def _task(params, steps=3):
  return Task(jax.random.key(0), steps, 13, 130, models.depth_order(params))


@functools.cache
def _method_and_step(name, **changes):
  """The same step for the same arguments, so that it compiles once."""
  apply_fn, params, _ = _network()
  method = METHODS[name].build(_task(params), **(_settings(name) | changes))
  return method, make_unlearn_step(apply_fn, method)


def _pulls(params):
  """What stands for mean gradients of both sets."""
  return {
    "saliency": jax.tree.map(np.sin, params),
    "retain_saliency": jax.tree.map(np.cos, params),
  }


def _start(name, mesh, **changes):
  """(step, state, batch, extras) of a method on the mesh."""
  _, params, stats = _network()
  row, settings = METHODS[name], _settings(name) | changes
  method, step = _method_and_step(name, **changes)
  if row.start is not None:
    fresh = jax.tree.map(lambda p: 0.5 * p, params)
    layers = models.depth_order(params)
    params = row.start(params, fresh, layers, _pulls(params), **settings)
  params = jax.device_get(params)
  state = sharding.replicate(mesh, init_state(params, stats, method.transform))
  arrays = {
    "reference_params": params,
    "reference_batch_stats": stats,
    "forget_params": jax.tree.map(lambda p: 0.9 * p, params),
    **_pulls(params),
    "retain_fisher": jax.tree.map(lambda p: 1e-3 + p**2, params),
    # Without ties, so that some entry is above any percentile.
    "forget_fisher": jax.tree.map(
      lambda p: p**2 * np.arange(1, p.size + 1, dtype="f").reshape(p.shape),
      params,
    ),
    "train_fisher": jax.tree.map(lambda p: 1e-2 + p**2, params),
  }
  asked = {"reference" if "reference" in x else x for x in method.extras}
  wanted = asked - {"reference"}
  assert wanted <= set(arrays)  # the agreed vocabulary
  if "reference" in asked:
    wanted |= {"reference_params", "reference_batch_stats"}
  extras = {key: arrays[key] for key in wanted}
  extras["an_extra_that_no_method_expects"] = np.zeros((), np.float32)
  extras = sharding.replicate(mesh, extras)
  forget = networks.batch(16, padding=3, seed=1)
  rng = np.random.default_rng(3)
  forget["mended_label"] = (forget["label"] + 1) % networks.CLASSES
  forget["random_logits"] = rng.normal(size=(16, networks.CLASSES)).astype(
    np.float32
  )
  retain = networks.batch(16)
  retain["example"] = retain["id"]  # which spare channels they have
  batch = UnlearnBatch(
    sharding.shard_batch(mesh, retain),
    sharding.shard_batch(mesh, forget),
  )
  return step, state, batch, extras


class Run(NamedTuple):
  """What three steps of a method did."""

  kind_before: Any  # shapes, dtypes and shardings of the state
  kind_after: Any
  before: TrainState  # on the host
  after: TrainState
  outputs: dict[str, np.ndarray]
  recompiled: list[str]  # after the first step


@pytest.fixture(scope="module", params=STEPPING)
def run(request, mesh):
  """Three steps of each method at its defaults."""

  def kind(state):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)

  step, state, batch, extras = _start(request.param, mesh)
  kind_before, before = kind(state), jax.device_get(state)
  state, _ = step(state, (batch, extras))
  with Compilation() as compilation:
    for _ in range(2):
      state, outputs = step(state, (batch, extras))
  return Run(
    kind_before,
    kind(state),
    before,
    *jax.device_get((state, outputs)),
    compilation.programs,
  )


def test_keeps_structure_dtype_and_sharding(run):
  assert run.kind_after == run.kind_before


def test_stays_finite(run):
  for value in jax.tree.leaves((run.after.params, run.outputs)):
    assert np.isfinite(value).all()
  assert run.after.step == 3


def test_compiles_once(run):
  assert not run.recompiled


def test_changes_something(run):
  a, b = (jax.tree.leaves(s.params) for s in (run.before, run.after))
  assert not all(map(np.array_equal, a, b))


def test_leaves_the_stored_statistics_alone(run):
  jax.tree.map(
    np.testing.assert_array_equal, run.before.batch_stats, run.after.batch_stats
  )


@pytest.mark.parametrize("name", STEPPING)
def test_changes_nothing_at_the_neutral_setting(name, one_device):
  step, state, batch, extras = _start(name, one_device, **METHODS[name].neutral)
  before = jax.device_get(state.params)
  for _ in range(2):
    state, _ = step(state, (batch, extras))
  jax.tree.map(np.testing.assert_array_equal, state.params, before)


@pytest.mark.parametrize("name", STEPPING)
def test_padding_and_the_order_of_examples_do_not_matter(name, mesh):
  step, state, batch, extras = _start(name, mesh)
  _, same_state, _, _ = _start(name, mesh)
  order = np.random.default_rng(0).permutation(16)
  shuffled = jax.tree.map(lambda x: np.asarray(x)[order], batch)
  shuffled.forget["image"][shuffled.forget["valid"] == 0] = 7.0
  shuffled = sharding.shard_batch(mesh, shuffled)
  state, _ = step(state, (batch, extras))
  other, _ = step(same_state, (shuffled, extras))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
    state.params,
    other.params,
  )


@pytest.mark.parametrize("name", STEPPING)
def test_devices_do_not_matter(name, mesh, one_device):
  results = []
  for devices in (mesh, one_device):
    step, state, batch, extras = _start(name, devices)
    state, _ = step(state, (batch, extras))
    results.append(jax.device_get(state.params))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *results
  )


@pytest.mark.parametrize("name", STEPPING)
def test_docstring_tells_cost_and_failure(name):
  text = METHODS[name].build.__doc__
  assert "Collapses" in text or ("Cost" in text and "ail" in text)


@pytest.mark.parametrize("name", STEPPING)
def test_every_setting_is_a_config_key(name):
  section = defaults.get_config().unlearn[name].to_dict()
  assert section.pop("method") == name
  assert section == table.default_settings(name)


@pytest.mark.parametrize(("name", "k"), [("cf_k", 2), ("eu_k", 1)])
def test_only_the_last_layers_move(name, k, one_device):
  step, state, batch, extras = _start(name, one_device, k=k)
  before = jax.device_get(state.params)
  state, _ = step(state, (batch, extras))
  moved = {
    layer
    for layer in before
    if not all(
      map(
        np.array_equal,
        jax.tree.leaves(before[layer]),
        jax.tree.leaves(jax.device_get(state.params[layer])),
      )
    )
  }
  assert moved == set(models.depth_order(before)[-k:])


def test_reinitialising_takes_the_last_layers_of_the_fresh_network():
  _, params, _ = networks.tiny()
  fresh = jax.tree.map(jnp.zeros_like, params)
  layers = models.depth_order(params)
  got = starts.reinitialise(params, fresh, layers, {}, k=1, learning_rate=1.0)
  assert layers[-1] == "head"
  assert not np.any(got["head"]["kernel"])
  for name in layers[:-1]:
    assert got[name] is params[name]


def test_msg_forgets_the_convolutions_on_which_both_sets_pull_alike():
  """Of each convolution the 30% with the smallest difference, nothing else."""
  rng = np.random.default_rng(0)
  params = {
    "conv": {"kernel": rng.normal(size=(3, 3, 2, 5)), "bias": np.ones(5)},
    "head": {"kernel": rng.normal(size=(5, 3))},
  }
  fresh, retain, forget = (
    jax.tree.map(lambda p: rng.normal(size=p.shape), params) for _ in range(3)
  )
  extras = {"retain_saliency": retain, "saliency": forget}
  got = starts.reinitialise_least_telling(
    params, fresh, ("conv", "head"), extras, share=0.3, learning_rate=1.0
  )
  pull = np.abs(retain["conv"]["kernel"] - forget["conv"]["kernel"]).ravel()
  least = np.argsort(pull)[:27]  # of 90
  wanted = params["conv"]["kernel"].ravel().copy()
  wanted[least] = fresh["conv"]["kernel"].ravel()[least]
  np.testing.assert_allclose(got["conv"]["kernel"].ravel(), wanted, rtol=1e-6)
  np.testing.assert_array_equal(got["conv"]["bias"], params["conv"]["bias"])
  np.testing.assert_allclose(
    got["head"]["kernel"], params["head"]["kernel"], rtol=1e-6
  )


def _closed_form(name, **settings):
  """The update of a method's chain for p = (3, 4) and given gradients."""
  params = {"head": {"kernel": jnp.array([[3.0, 4.0]])}}

  def like(*values):
    return {"head": {"kernel": jnp.array([values], jnp.float32)}}

  task = Task(jax.random.key(0), 1, 10, 110, ("head",))
  tx = METHODS[name].build(task, **(_settings(name) | settings)).transform
  updates, _ = tx.update(
    like(1.0, 0.0),
    tx.init(params),
    params,
    forget_grads=like(0.0, 2.0),
    retain_fisher=like(1.0, 3.0),
    forget_fisher=like(8.0, 1.0),
    train_fisher=like(1.0, 1.0),
    reference_params=params,
    forget_params=like(1.0, 1.0),
    saliency=like(1.0, -2.0),
    retain_saliency=like(1.0, 1.0),
  )
  return np.asarray(updates["head"]["kernel"][0])


@pytest.mark.parametrize(
  ("name", "signs"),
  [
    ("gradient_ascent", (0, 1)),  # up the forget loss
    ("neggrad_plus", (-1, 1)),
    ("bounded_neggrad", (-1, 1)),
    ("negative_learning", (-1, -1)),  # down both
    ("random_label", (-1, -1)),
    ("salun", (0, -1)),  # half of the weights
    ("relabel", (-1, -1)),
    ("bad_teacher", (-1, -1)),
  ],
)
def test_directions(name, signs):
  np.testing.assert_array_equal(np.sign(_closed_form(name)), signs)


@pytest.mark.parametrize(
  ("name", "gradients"),
  [
    ("finetune", 16),
    ("gradient_ascent", 13),
    ("bounded_neggrad", 16 + 13),
    ("scrub", (16 + 13) * 4 / 3),
    ("npo", 16 + 13 * 4 / 3),
    ("bad_teacher", 16 * 4 / 3 + 13),
    ("rem", 16 * 1.25 + 13 * 4 / 3),
    ("ssd", 0),
  ],
)
def test_a_step_counts_its_gradients(name, gradients, one_device):
  """Of 16 galaxies to keep and 13 to forget; a teacher's pass is a third."""
  step, state, batch, extras = _start(name, one_device)
  _, outputs = step(state, (batch, extras))
  np.testing.assert_allclose(outputs["gradients"], gradients, rtol=1e-6)


def test_the_step_teaches_only_where_the_original_is_known(one_device):
  """`reference_logits` are those of the reference, not of the student."""
  step, state, batch, extras = _start(
    "scrub", one_device, kl_weight=1.0, ce_weight=0.0
  )
  _, outputs = step(state, (batch, extras))
  # At the start student and teacher are one: no divergence.
  np.testing.assert_allclose(outputs["retain_loss"], 0, atol=1e-6)
  np.testing.assert_allclose(outputs["forget_loss"], 0, atol=1e-6)


def test_the_teacher_keeps_its_own_statistics(one_device):
  """Those of the student move while it learns."""
  step, state, batch, extras = _start(
    "scrub", one_device, kl_weight=1.0, ce_weight=0.0
  )
  moved = jax.tree.map(lambda x: x + 1, state.batch_stats)
  state = state._replace(batch_stats=moved)
  _, outputs = step(state, (batch, extras))
  assert outputs["retain_loss"] > 1e-3
  assert outputs["forget_loss"] > 1e-3


def test_training_mode_moves_the_stored_statistics(mesh):
  apply_fn, params, stats = networks.tiny()
  method = METHODS["published_gradient_ascent"].build(_task(params))
  state = sharding.replicate(mesh, init_state(params, stats, method.transform))
  batch = sharding.shard_batch(mesh, networks.batch(16))
  step = make_unlearn_step(apply_fn, method, live=True)
  state, _ = step(state, (UnlearnBatch(batch, batch), {}))
  a, b = jax.tree.leaves(stats), jax.tree.leaves(state.batch_stats)
  assert not any(map(np.array_equal, a, b))


def test_live_statistics_are_moved_by_what_is_to_be_kept(mesh):
  apply_fn, params, stats = networks.tiny()
  method = METHODS["bounded_neggrad"].build(_task(params))
  state = sharding.replicate(mesh, init_state(params, stats, method.transform))
  retain, forget = (
    sharding.shard_batch(mesh, networks.batch(16, seed=seed)) for seed in (0, 1)
  )
  step = make_unlearn_step(apply_fn, method, live=True)
  wanted = apply_fn(params, stats, retain["image"], train=True)[1]
  state, _ = step(state, (UnlearnBatch(retain, forget), {}))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    state.batch_stats,
    wanted,
  )


def test_some_channels_are_shared_by_all_examples():
  for share in (0.01, 1.0):
    METHODS.check("etd", {"shared": share})
  for share in (0.0, 1.5):
    with pytest.raises(SettingError, match=r"from 0\.01 to 1"):
      METHODS.check("etd", {"shared": share})


def _mine(task, *, rate: float = 0.1):
  del task
  return Method(
    optax.chain(transforms.add_forget_gradients(1.0), optax.sgd(rate)),
    losses.cross_entropy,
    losses.complement,
    (),
  )


def test_a_registered_method_has_its_config_keys(monkeypatch):
  monkeypatch.setattr(METHODS, "_rows", dict(METHODS))
  table.register("mine", Row(_mine, {"rate": 0.0}, Driver(epochs=7)))
  settings = table.default_settings("mine")
  assert settings["rate"] == 0.1
  assert settings["epochs"] == 7


@pytest.mark.parametrize(
  ("name", "build", "words"),
  [
    ("finetune", _mine, "already"),
    ("retrain", _mine, "already"),
    ("mine", lambda task, *, rate: None, "'rate' needs a default"),
    ("mine", lambda task, *, epochs=3: None, "'epochs' is a setting of the"),
  ],
)
def test_a_bad_registration_is_refused(name, build, words):
  with pytest.raises(ValueError, match=words):
    table.register(name, Row(build, {}))
  assert "mine" not in METHODS
