"""The streamed Fisher diagonal: devices, batches, padding, estimators."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax import fisher, models, sharding
from gzjax.fisher import diagonal
from gzjax.objectives import losses
from gzjax.training import optim
from gzjax.training.step import init_state, make_train_step
from tests import networks
from tests.fisher import truth


@functools.cache
def _wanted(counts, **options):
  """The loop over all batches, see `_batches`."""
  apply_fn, params, stats = networks.tiny(conv_form="dot")
  loss = truth.loss_of_one(apply_fn, truth.in_float64(stats))
  totals = [
    truth.sum_of_squares(loss, params, b) for b in _batches(counts, **options)
  ]
  return jax.tree.map(lambda *t: sum(t), *totals)


def _batches(counts, padding=0):
  """Batches of so many examples, the last one with some padding."""
  return [
    networks.batch(
      count, padding=padding if i == len(counts) - 1 else 0, seed=i
    )
    for i, count in enumerate(counts)
  ]


def _copies(batches, number):
  """Each batch with its examples so many times, of different ids."""

  def copied(batch):
    many = {key: np.concatenate([x] * number) for key, x in batch.items()}
    return {**many, "id": np.arange(len(many["id"]), dtype=np.int32)}

  return [copied(batch) for batch in batches]


def _compute(mesh, batches, form="auto", key=None, **options):
  apply_fn, params, stats = networks.tiny(conv_form=form)
  variables = {"params": params, "batch_stats": stats}
  return fisher.fisher_diagonal(
    apply_fn,
    sharding.replicate(mesh, variables),
    batches,
    spec=fisher.Spec(**options),
    mesh=mesh,
    key=key,
  )


@pytest.mark.parametrize(
  "devices, form, estimator",
  [
    (1, "auto", "exact"),
    (2, "auto", "exact"),
    (8, "native", "exact"),
    (8, "dot", "exact"),
    (1, "dot", "vmap"),
    (8, "native", "vmap"),
  ],
)
def test_equals_a_loop(devices, form, estimator):
  mesh = sharding.make_mesh(jax.devices()[:devices])
  got = _compute(
    mesh, _batches((16, 16), padding=5), form=form, estimator=estimator
  )
  assert got.count == 27
  wanted = _wanted((16, 16), padding=5)
  assert truth.relative_error(got.sum_sq, wanted) < 1e-5


@pytest.mark.parametrize("count", [1, 3, 13])
def test_a_batch_that_the_devices_cannot_share_is_padded(count, mesh):
  batch = networks.batch(count)
  del batch["valid"], batch["id"]
  got = _compute(mesh, [batch])
  assert got.count == count
  assert truth.relative_error(got.sum_sq, _wanted((count,))) < 1e-5


def test_naive_sharded_form_is_wrong_which_is_why_we_use_shard_map(mesh):
  """The trap that the module avoids; remove the module's care if it passes."""
  apply_fn, params, stats = networks.tiny(conv_form="native")
  batch = networks.batch(16)
  sharded = sharding.shard_batch(mesh, batch)
  replicated = sharding.replicate(mesh, (params, stats))

  @jax.jit
  def naive(params, stats, batch):
    loss = truth.loss_of_one(apply_fn, stats)
    grads = jax.vmap(jax.grad(loss), (None, 0))(params, batch)
    return jax.tree.map(lambda g: jnp.sum(g**2, axis=0), grads)

  got = naive(*replicated, sharded)["stage1_block1"]["conv1"]["kernel"]
  wanted = _wanted((16,))["stage1_block1"]["conv1"]["kernel"]
  assert np.abs(got - wanted).max() > 0.1 * wanted.max()


@pytest.mark.parametrize("estimator", ["exact", "vmap"])
def test_does_not_depend_on_the_microbatch(mesh, estimator):
  for microbatch in (2, 100):  # 3 examples on each device
    got = _compute(
      mesh, _batches((24,)), estimator=estimator, microbatch=microbatch
    )
    assert truth.relative_error(got.sum_sq, _wanted((24,))) < 1e-5
    assert got.count == 24


def test_merge_of_parts_is_the_fisher_of_the_whole(mesh):
  one, two = _batches((8, 8))
  merged = fisher.merge(_compute(mesh, [one]), _compute(mesh, [two]))
  assert merged.count == 16
  wanted = _wanted((8, 8))
  assert truth.relative_error(merged.sum_sq, wanted) < 1e-5
  wanted = jax.tree.map(lambda s: s / 16, wanted)
  assert truth.relative_error(fisher.mean(merged), wanted) < 1e-5


@pytest.mark.parametrize("estimator", ["exact", "vmap", "signs"])
def test_no_valid_example_is_zero_not_nan(mesh, estimator):
  got = _compute(mesh, _batches((8,), padding=8), estimator=estimator)
  assert got.count == 0
  for value in jax.tree.leaves(fisher.mean(got)):
    np.testing.assert_array_equal(value, 0)


def test_result_is_replicated(mesh):
  got = _compute(mesh, _batches((8,)))
  assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(got))


class _Plain(nn.Module):
  """Neither `train` nor statistics."""

  @nn.compact
  def __call__(self, image):
    # Flax's fast variance, E[x^2] - E[x]^2, cancels in float32 by more than
    # the tolerance: an error of the network, not of its Fisher.
    norm = functools.partial(nn.GroupNorm, 2, use_fast_variance=False)
    x = nn.relu(norm()(nn.Conv(4, (3, 3), (2, 2))(image)))
    last = nn.LayerNorm(use_fast_variance=False)
    return nn.Dense(3)(last(x.mean((1, 2))))


def test_a_researchers_own_module_works_unchanged(mesh):
  model = _Plain()
  batch = networks.batch(11, padding=2)
  variables = model.init(jax.random.key(0), batch["image"])
  got = fisher.fisher_diagonal(model, variables, [batch], mesh=mesh)
  loss = truth.loss_of_one(models.make_apply_fn(model), {})
  wanted = truth.sum_of_squares(loss, variables["params"], batch)
  assert truth.relative_error(got.sum_sq, wanted) < 1e-5


def test_the_part_of_a_spec_that_is_not_meant_for_it_is_ignored(one_device):
  batches = _batches((8,))
  got = _compute(one_device, batches, with_error=True)
  jax.tree.map(
    np.testing.assert_array_equal, got, _compute(one_device, batches)
  )
  spec = fisher.Spec(estimator="exact", microbatch=1)
  apply_fn, params, stats = networks.tiny()
  signs, error = fisher.signs_with_error(
    apply_fn,
    {"params": params, "batch_stats": stats},
    batches,
    spec=spec,
    mesh=one_device,
  )
  assert truth.relative_error(signs.sum_sq, got.sum_sq) < 1e-5
  assert all((e > 0).any() for e in jax.tree.leaves(error))


def test_takes_any_objective(mesh):
  objective = losses.focal(focal_gamma=2.0)
  apply_fn, params, stats = networks.tiny(conv_form="dot")
  got = _compute(mesh, _batches((8,)), objective=objective)
  loss = truth.loss_of_one(apply_fn, truth.in_float64(stats), objective)
  wanted = truth.sum_of_squares(loss, params, networks.batch(8))
  assert truth.relative_error(got.sum_sq, wanted) < 1e-5


_ODD_SIZES = [
  ("resnet18", 45, {}),
  ("resnet34", 33, {}),
  ("resnet50", 39, {}),
  ("efficientnetv2_tiny", 37, {}),
  ("convnext_nano", 35, {"layer_scale": 0.5}),
  ("cnn", 29, {}),
  ("cnn", 29, {"networks": (1, 2)}),
]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(("name", "size", "options"), _ODD_SIZES)
def test_real_networks_equal_a_float64_loop(name, size, options, devices):
  mesh = sharding.make_mesh(jax.devices()[:devices])
  rng = np.random.default_rng(0)
  batch = {
    "image": rng.normal(size=(5, size, size, 3)).astype(np.float32),
    "label": rng.integers(0, 3, 5).astype(np.int32),
    "valid": np.float32([1, 1, 1, 1, 0]),
  }
  make = functools.partial(models.MODELS[name], num_classes=3, **options)
  model = make()
  params, stats = models.init_variables(model, jax.random.key(0), size)
  variables = {"params": params, "batch_stats": stats}
  got = fisher.fisher_diagonal(model, variables, [batch], mesh=mesh)
  # Dots, because XLA:CPU has no fast convolution in float64.
  exact = make(conv_form="dot", dtype=jnp.float64)
  loss = truth.loss_of_one(models.make_apply_fn(exact), truth.in_float64(stats))
  wanted = truth.sum_of_squares(loss, params, batch)
  assert truth.relative_error(got.sum_sq, wanted) < 1e-5


def _compiled(mesh, count):
  """The programs of the exact Fisher and of a train step."""
  model = models.MODELS["resnet_tiny"](num_classes=3, width=16)
  params, stats = models.init_variables(model, jax.random.key(0), 32)
  apply_fn = models.make_apply_fn(model)
  spec = diagonal.Spec()
  zeros, _ = diagonal.make_sums(spec, mesh)
  batch = networks.batch(count)
  batch["image"] = np.zeros((count, 32, 32, 3), np.float32)
  accumulate = diagonal.make_accumulate(apply_fn, spec, mesh)
  tx = optim.OPTIMIZERS["sgd"](optax.constant_schedule(0.1), weight_decay=0.0)
  state = init_state(params, stats, tx)
  step = make_train_step(apply_fn, losses.cross_entropy, tx)
  return (
    accumulate.lower(
      zeros(params), params, stats, jax.random.key(0), batch
    ).compile(),
    step.lower(state, batch).compile(),
  )


@pytest.mark.slow
def test_memory_grows_as_that_of_a_train_step(one_device):
  """Deterministic: what XLA has planned, not what a process happened to use."""
  temporaries = np.array(
    [
      [c.memory_analysis().temp_size_in_bytes for c in pair]
      for pair in (_compiled(one_device, n) for n in (32, 96))
    ]
  )
  exact, train = temporaries[1] - temporaries[0]
  assert exact <= 1.2 * train


def test_no_gradient_for_each_example_and_no_talk_between_devices(mesh):
  compiled, _ = _compiled(mesh, 64)
  text = compiled.as_text()
  assert "feature_group_count" not in text
  assert not re.search("all-reduce|all-gather|all-to-all|permute", text)


class _Dense(nn.Module):
  """A network that costs nothing, for thousands of draws."""

  @nn.compact
  def __call__(self, image):
    x = image.reshape(len(image), -1)[:, ::36]
    x = nn.tanh(nn.Dense(8, name="hidden")(x))
    return nn.Dense(networks.CLASSES, name="head")(x)


@functools.cache
def _dense():
  """(apply_fn, variables)."""
  model = _Dense()
  variables = model.init(jax.random.key(0), networks.batch(1)["image"])
  return models.make_apply_fn(model), variables


def test_signs_are_right_on_average_and_know_their_error(one_device):
  """Over many keys: unbiased, and of the spread that each one states.

  A batch holds its examples several times, which all have their own signs: 1000
  draws in 200 sums of five.
  """
  apply_fn, variables = _dense()
  batches = _batches((16, 16), padding=3)
  loss = truth.loss_of_one(apply_fn, {})
  wanted = 5 * sum(
    truth.sum_of_squares(loss, variables["params"], b)["hidden"]["kernel"]
    for b in batches
  )
  batches = _copies(batches, 5)
  draws, errors = [], []
  for key in jax.random.split(jax.random.key(0), 200):
    found, error = fisher.signs_with_error(
      apply_fn,
      variables,
      batches,
      spec=fisher.Spec(microbatch=2),
      mesh=one_device,
      key=key,
    )
    assert found.count == 5 * 29
    draws.append(found.sum_sq["hidden"]["kernel"])
    errors.append(error["hidden"]["kernel"])
  draws, errors = np.stack(draws), np.stack(errors)
  spread = draws.std(axis=0)
  off = (draws.mean(axis=0) - wanted) / (spread / np.sqrt(len(draws)))
  assert np.abs(off).max() < 5
  assert np.sqrt(np.mean(off**2)) < 1.5
  # The stated error is at least the spread, and not much more: sixteen groups
  # of two examples have the largest excess, 2/3 sum g^4.
  stated = np.sqrt(np.mean(errors**2, axis=0))
  ratio = np.median(stated / spread)
  assert 0.95 < ratio < 2


def test_signs_of_one_example_are_exact(one_device):
  """A group of one: (e g)^2 = g^2."""
  got = _compute(one_device, _batches((6,)), estimator="signs", microbatch=1)
  assert truth.relative_error(got.sum_sq, _wanted((6,))) < 1e-5


def test_signs_of_the_true_kind_need_one_pass_and_average_to_it(one_device):
  """Over 400 draws in 80 sums of five, each of sixteen examples at once."""
  batches = _copies(_batches((16,)), 5)

  def of_head(key=None, **options):
    spec = fisher.Spec(kind="true", **options)
    found = fisher.fisher_diagonal(
      *_dense(), batches, spec=spec, mesh=one_device, key=key
    )
    return np.asarray(found.sum_sq["head"]["bias"])

  true = of_head()
  draws = np.stack(
    [
      of_head(estimator="signs", microbatch=16, key=key)
      for key in jax.random.split(jax.random.key(0), 80)
    ]
  )
  off = (draws.mean(axis=0) - true) / (draws.std(axis=0) / np.sqrt(80))
  assert np.abs(off).max() < 4


@pytest.mark.parametrize(
  ("kind", "estimator", "wanted"),
  [
    ("empirical", "exact", 1.15),
    ("sampled", "batch_mean", 1.0),
    ("true", "exact", 1.15 * (1 + 2 * 2) / 3),  # two passes for three classes
    ("true", "signs", 1.0),
  ],
)
def test_what_an_example_is_worth(kind, estimator, wanted):
  spec = fisher.Spec(kind=kind, estimator=estimator)
  example = {"label": np.int32(1)}
  got = fisher.gradients_each(spec, networks.CLASSES, example)
  np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_an_unknown_estimator_is_named(mesh):
  with pytest.raises(ValueError, match="'quick'"):
    _compute(mesh, _batches((8,)), estimator="quick")


@pytest.mark.parametrize("devices", [1, 8])
def test_squares_of_batch_means_are_what_their_name_says(devices):
  """And so they do depend on the size of the batches, unlike a Fisher."""
  mesh = sharding.make_mesh(jax.devices()[:devices])
  apply_fn, params, stats = networks.tiny()

  @jax.jit
  @jax.grad
  def gradient(params, batch):
    logits, _ = apply_fn(params, stats, batch["image"], train=False)
    loss = losses.cross_entropy(logits, batch)
    return jnp.sum(loss * batch["valid"]) / jnp.sum(batch["valid"])

  batches = _batches((16, 16), padding=5)
  got = _compute(mesh, batches, estimator="batch_mean")
  wanted = jax.tree.map(
    lambda *g: sum(np.asarray(x) ** 2 for x in g),
    *(gradient(params, batch) for batch in batches),
  )
  assert got.count == 27
  assert truth.relative_error(got.sum_sq, wanted) < 1e-4
