"""The train step: sharded equals unsharded, it learns, statistics renew."""

import collections

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax import models, sharding
from gzjax.compilation import Compilation
from gzjax.models import make_predict_step, predict
from gzjax.objectives import losses
from gzjax.training import optim
from gzjax.training.loop import fit
from gzjax.training.step import (
  TrainState,
  init_state,
  make_train_step,
  mean_gradient,
  renew_batch_stats,
)
from gzjax.types import Cost
from tests import networks


def _step_on(mesh, steps=3):
  apply_fn, params, stats = networks.tiny()
  schedule = optim.cosine(optim.Span(0.05, 10, 0)).schedule
  tx = optim.OPTIMIZERS["sgd"](schedule, weight_decay=1e-3)
  state = sharding.replicate(mesh, init_state(params, stats, tx))
  step = make_train_step(apply_fn, losses.cross_entropy, tx)
  for i in range(steps):
    batch = sharding.shard_batch(mesh, networks.batch(16, seed=i))
    state, outputs = step(state, batch)
  return step, state, outputs


def test_eight_devices_equal_one(mesh, one_device):
  step, state, outputs = _step_on(mesh)
  _, other, other_outputs = _step_on(one_device)
  assert step._cache_size() == 1
  np.testing.assert_allclose(outputs["loss"], other_outputs["loss"], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    jax.device_get((state.params, state.batch_stats)),
    jax.device_get((other.params, other.batch_stats)),
  )


def test_state_stays_replicated(mesh):
  _, state, _ = _step_on(mesh)
  assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state))


def test_outputs_are_those_before_the_update(one_device):
  apply_fn, params, stats = networks.tiny()
  batch = networks.batch(16)
  wanted, _ = apply_fn(params, stats, batch["image"], train=True)
  _, _, outputs = _step_on(one_device, steps=1)
  np.testing.assert_allclose(outputs["logits"], wanted, rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(outputs["id"], batch["id"])


def test_each_function_of_a_state_is_one_program(one_device):
  apply_fn, params, stats = networks.tiny()
  tx = optax.adam(1e-3)
  params, stats = sharding.replicate(one_device, (params, stats))
  batches = [
    sharding.shard_batch(one_device, networks.batch(8, seed=seed))
    for seed in range(3)
  ]
  jax.clear_caches()  # of earlier tests
  with Compilation() as compilation:
    for _ in range(2):
      state = init_state(params, stats, tx)
    renew_batch_stats(apply_fn, state, batches)
    mean_gradient(apply_fn, state, batches)
  assert collections.Counter(compilation.programs) == {
    **{"jit(_start)": 1, "jit(_arrived)": 1, "jit(_far)": 1},
    **{"jit(_slope)": 1, "jit(_scaled)": 1},
    **{"jit(_zeros)": 2, "jit(add)": 2},  # of statistics, and of a gradient
  }


def test_padding_has_no_gradient():
  apply_fn, params, stats = networks.tiny()
  stored = lambda *args, train: apply_fn(*args, train=False)  # noqa: E731
  tx = optax.sgd(1.0)
  step = make_train_step(stored, losses.cross_entropy, tx)
  padded = networks.batch(8, padding=3)
  short = {name: value[:5] for name, value in padded.items()}
  results = []
  for batch in (padded, short):
    state = init_state(params, stats, tx)
    state, outputs = step(state, batch)
    results.append((state.params, outputs["loss"]))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    *results,
  )


def test_loss_falls_on_separable_blobs(mesh):
  apply_fn, params, stats = networks.tiny()
  tx = optim.OPTIMIZERS["adamw"](optax.cosine_decay_schedule(0.02, 25))
  state = sharding.replicate(mesh, init_state(params, stats, tx))
  step = make_train_step(apply_fn, losses.cross_entropy, tx)
  batch = networks.batch(24)
  batch["image"] += 2 * batch["label"][:, None, None, None]
  batch = sharding.shard_batch(mesh, batch)
  history = []
  for _ in range(25):
    state, outputs = step(state, batch)
    history.append(float(outputs["loss"]))
  assert history[-1] < 0.3 * history[0]


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_schedule_warms_up_and_ends_at_zero(name):
  schedule = optim.cosine(optim.Span(1.0, 10, 4)).schedule
  tx = optim.OPTIMIZERS[name](schedule)
  params = jnp.ones(())
  state = tx.init(params)
  sizes = []
  for _ in range(11):
    # A gradient that shrinks the momentum's memory to the current one.
    updates, state = tx.update(jnp.ones(()), state, params)
    sizes.append(abs(float(updates)))
  assert sizes[0] == 0
  assert sizes[-1] < 1e-6
  assert np.argmax(sizes) in (4, 5, 6)


def test_weight_decay_spares_tensors_of_one_axis():
  tx = optim.OPTIMIZERS["adamw"](optax.constant_schedule(0.1), weight_decay=0.5)
  params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(zeros, tx.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-5)
  np.testing.assert_array_equal(updates["bias"], 0)


def test_renewed_statistics_are_the_mean_over_the_batches():
  apply_fn, params, stats = networks.tiny()
  state = TrainState(0, params, stats, ())
  batches = [networks.batch(8, seed=seed) for seed in range(3)]
  renewed = renew_batch_stats(apply_fn, state, batches).batch_stats
  kernel = params["stem_conv"]["kernel"]
  layer = nn.Conv(4, (3, 3), padding=1, use_bias=False)
  maps = [
    layer.apply({"params": {"kernel": kernel}}, batch["image"])
    for batch in batches
  ]
  wanted = np.mean([np.mean(m, axis=(0, 1, 2)) for m in maps], axis=0)
  np.testing.assert_allclose(
    renewed["stem_norm"]["mean"], wanted, rtol=1e-4, atol=1e-5
  )
  wanted = np.mean([np.var(m, axis=(0, 1, 2)) for m in maps], axis=0)
  np.testing.assert_allclose(
    renewed["stem_norm"]["var"], wanted, rtol=1e-4, atol=1e-5
  )


class _Norms(nn.Module):
  """Norms side by side, each with a momentum of its own."""

  momenta: tuple[float, ...]

  @nn.compact
  def __call__(self, image, train):
    return sum(
      nn.BatchNorm(not train, momentum=m, name=f"norm{i}")(image).mean((1, 2))
      for i, m in enumerate(self.momenta)
    )


def _norms_and_images(*momenta):
  """(apply_fn, state, batches) of images around 5, with a spread of 2."""
  model = _Norms(momenta)
  rng = np.random.default_rng(0)
  batches = [
    {"image": rng.normal(5, 2, (8, 4, 4, 3)).astype(np.float32)}
    for _ in range(3)
  ]
  params, stats = models.init_variables(model, jax.random.key(0), 4)
  state = TrainState(0, params, stats, ())
  return models.make_apply_fn(model), state, batches


@pytest.mark.fault("A11")
def test_statistics_renew_under_any_momentum():
  apply_fn, state, batches = _norms_and_images(0.9, 0.99, 0.5, 0.0)
  renewed = renew_batch_stats(apply_fn, state, batches).batch_stats
  images = np.stack([batch["image"] for batch in batches]).astype(float)
  for norm in renewed.values():
    for name, value in (("mean", np.mean), ("var", np.var)):
      wanted = value(images, axis=(1, 2, 3)).mean(axis=0)
      np.testing.assert_allclose(norm[name], wanted, rtol=1e-4)
  assert len(renewed) == 4


def test_statistics_that_never_move_are_named():
  apply_fn, state, batches = _norms_and_images(0.9, 1.0)
  with pytest.raises(ValueError, match="norm1/mean"):
    renew_batch_stats(apply_fn, state, batches)


def test_a_network_without_statistics_has_none_to_renew():
  def identity(params, batch_stats, image, *, train):
    del params, train
    return image, batch_stats

  state = TrainState(0, {}, {}, ())
  batches = [networks.batch(8)]
  assert renew_batch_stats(identity, state, batches) == state


@pytest.mark.parametrize("loop", [mean_gradient, renew_batch_stats])
def test_the_second_call_compiles_nothing(loop):
  apply_fn, params, stats = networks.tiny()
  traced = []

  def counted(*args, train):
    traced.append(train)
    return apply_fn(*args, train=train)

  state = TrainState(0, params, stats, ())
  for _ in range(2):
    loop(counted, state, [networks.batch(8), networks.batch(8, seed=1)])
  assert len(traced) == 1


@pytest.mark.fault("A11")
def test_the_first_step_leaves_the_callers_arrays(one_device):
  apply_fn, params, stats = networks.tiny()
  params, stats = jax.device_put((params, stats), one_device.devices.flat[0])
  tx = optax.sgd(0.1)
  step = make_train_step(apply_fn, losses.cross_entropy, tx)
  step(init_state(params, stats, tx), networks.batch(8))
  assert not any(x.is_deleted() for x in jax.tree.leaves((params, stats)))


def test_an_optimizer_may_keep_the_parameters():
  """Otherwise one buffer would be donated twice."""
  keeper = optax.GradientTransformation(
    lambda params: params, lambda updates, kept, params=None: (updates, kept)
  )
  apply_fn, params, stats = networks.tiny()
  step = make_train_step(apply_fn, losses.cross_entropy, keeper)
  state, _ = step(init_state(params, stats, keeper), networks.batch(8))
  jax.tree.map(np.testing.assert_array_equal, state.opt_state, params)


def test_predict_drops_padding_and_keeps_the_order(mesh):
  apply_fn, params, stats = networks.tiny()
  state = TrainState(0, params, stats, ())
  state = sharding.replicate(mesh, state)
  batches = [networks.batch(16), networks.batch(16, padding=9, seed=1)]
  got = predict(
    make_predict_step(apply_fn),
    state,
    [sharding.shard_batch(mesh, batch) for batch in batches],
  )
  image = np.concatenate([batches[0]["image"], batches[1]["image"][:7]])
  wanted, _ = apply_fn(params, stats, image, train=False)
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_fit_counts_epochs_and_stops_when_told():
  step = jax.jit(
    lambda state, batch: (state + batch, {"seen": batch, "gradients": 4.0})
  )
  seen = []

  def after_epoch(epoch, state, outputs, cost):
    assert {*outputs[0]} == {"seen"}
    seen.append((epoch, float(state), [float(o["seen"]) for o in outputs]))
    assert cost.wall_seconds > 10 and cost.compile_seconds > 0
    assert cost.gradients == 100 + 10 * epoch
    return epoch < 2

  state, cost = fit(
    jnp.zeros(()),
    step,
    lambda epoch: [jnp.float32(epoch), jnp.float32(1)],
    steps=2,
    epochs=range(1, 9),
    title="test",
    after_epoch=after_epoch,
    cost=Cost(wall_seconds=10.0, gradients=100.0),
    reading=2.0,
  )
  assert seen == [(1, 2.0, [1.0, 1.0]), (2, 5.0, [2.0, 1.0])]
  assert float(state) == 5
  assert cost.wall_seconds > 10
  assert cost.gradients == 120


def test_mean_gradient_is_that_of_all_valid_examples_together(mesh):
  apply_fn, params, stats = networks.tiny()
  batches = [networks.batch(16), networks.batch(16, padding=5, seed=1)]
  state = init_state(params, stats, optax.identity())
  got = mean_gradient(
    apply_fn, state, [sharding.shard_batch(mesh, b) for b in batches]
  )
  keep = np.concatenate([b["valid"] for b in batches]) > 0
  whole = {
    key: np.concatenate([b[key] for b in batches])[keep]
    for key in ("image", "label")
  }

  def loss_fn(params):
    logits, _ = apply_fn(params, stats, whole["image"], train=False)
    return losses.cross_entropy(logits, whole).mean()

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    got,
    jax.grad(loss_fn)(params),
  )


def test_plateaus_halve_the_rate_down_to_the_least():
  """As a loop over epochs: two in a row without a new lowest mean loss."""
  rate, steps = 0.4, 3
  found = optim.plateau(
    optim.Span(rate, 99, 0, steps), plateau_factor=0.5, min_learning_rate=0.05
  )
  schedule = found.schedule
  tx = found.wrap(optim.OPTIMIZERS["sgd"](schedule))
  epochs = [5.0, 4.0, 4.5, 4.5, 3.0, 3.5, 3.0, 3.1, 3.2, 4, 5, 6, 7, 8, 9]
  wanted, lowest, bad, now = [], np.inf, 0, rate
  for loss in epochs:
    bad = 0 if loss < (1 - 1e-4) * lowest else bad + 1
    lowest = min(loss, lowest)
    if bad == 2:
      now, bad = max(now / 2, 0.05), 0
    wanted.append(now)
  state = tx.init(jnp.ones(()))
  found = []
  for epoch, loss in enumerate(epochs):
    for part in (-1, 0, 1):  # its mean counts, not the last value
      _, state = tx.update(
        jnp.ones(()), state, jnp.ones(()), value=jnp.float32(loss + part)
      )
    step = (epoch + 1) * steps
    found.append(optim.learning_rate(schedule, state, step))
  np.testing.assert_allclose(found, wanted, rtol=1e-6)
  assert min(wanted) == 0.05 < max(wanted)


def test_the_summary_is_what_is_descended(one_device):
  """The gradient of a root mean square, against finite differences."""
  apply_fn, params, stats = networks.tiny()
  batch = networks.batch(8)
  square = lambda logits, batch: jnp.sum(logits**2, axis=1)  # noqa: E731
  tx = optax.sgd(1.0)
  step = make_train_step(apply_fn, square, tx, summary=jnp.sqrt)
  state = sharding.replicate(one_device, init_state(params, stats, tx))
  moved, outputs = step(state, batch)

  def loss(bias):
    changed = {**params, "head": {**params["head"], "bias": bias}}
    logits, _ = apply_fn(changed, stats, batch["image"], train=True)
    return np.sqrt(np.mean(np.sum(np.square(logits), axis=1)))

  start = params["head"]["bias"]
  np.testing.assert_allclose(outputs["loss"], loss(start), rtol=1e-5)
  for k in range(len(start)):
    step_k = np.zeros_like(start)
    step_k[k] = 1e-2
    slope = (loss(start + step_k) - loss(start - step_k)) / 2e-2
    np.testing.assert_allclose(
      start[k] - moved.params["head"]["bias"][k], slope, rtol=1e-2, atol=1e-4
    )


def test_the_key_changes_with_the_step(one_device):
  apply_fn, params, stats = networks.tiny()
  drawn = []

  def noisy(params, stats, image, *, train, key):
    drawn.append(key)
    logits, stats = apply_fn(params, stats, image, train=train)
    return logits + jax.random.normal(key, logits.shape), stats

  tx = optax.sgd(0.0)
  step = make_train_step(noisy, losses.cross_entropy, tx)
  state = sharding.replicate(one_device, init_state(params, stats, tx))
  batch = {**networks.batch(8), "key": jax.random.key(3)}
  state, first = step(state, batch)
  _, second = step(state, batch)
  assert len(drawn) == 1  # traced once
  assert np.abs(first["logits"] - second["logits"]).min() > 1e-4


@pytest.mark.parametrize(
  "loop",
  [
    lambda apply_fn, state, batches: predict(
      make_predict_step(apply_fn), state, batches
    ),
    mean_gradient,
    renew_batch_stats,
  ],
  ids=["predict", "mean_gradient", "renew_batch_stats"],
)
def test_no_loop_runs_ahead_of_the_devices(monkeypatch, loop):
  """Eight devices hang where more than 32 programs wait for a collective."""
  apply_fn, params, stats = networks.tiny()
  state = TrainState(0, params, stats, ())
  waited = []
  wait = jax.block_until_ready
  monkeypatch.setattr(
    jax, "block_until_ready", lambda x: waited.append(1) or wait(x)
  )
  started = []

  def batches():
    for seed in range(6):
      started.append(len(waited))
      yield networks.batch(8, seed=seed)

  loop(apply_fn, state, batches())
  assert all(np.diff(started) >= 1)
