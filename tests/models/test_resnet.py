"""The ResNets against torchvision's published facts, and PyTorch itself."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax import models
from gzjax.models import layers, resnet
from gzjax.objectives import losses
from gzjax.training.step import init_state, make_train_step
from gzjax.unlearning import METHODS, Task
from tests import networks

# torchvision's parameter counts with 1,000 classes.
PUBLISHED = {
  "resnet18": 11_689_512,
  "resnet34": 21_797_672,
  "resnet50": 25_557_032,
}


def _shapes(model, size=64):
  return jax.eval_shape(
    partial(model.init, train=False),
    jax.random.key(0),
    jnp.zeros((1, size, size, 3)),
  )


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_torchvisions(name):
  params = _shapes(models.MODELS[name](num_classes=1000))["params"]
  count = sum(np.prod(p.shape) for p in jax.tree.leaves(params))
  assert count == PUBLISHED[name]


@pytest.mark.parametrize(
  ("size", "weights"),
  [(65, 682_021), (96, 682_021), (97, 1_212_453), (120, 1_212_453)],
)
def test_the_dense_layer_of_the_lab_report(size, weights):
  """37 answers of a flattened last map: its summary is of 65 to 96 pixels."""
  model = models.MODELS["resnet50"](num_classes=37, head="flatten")
  head = _shapes(model, size)["params"]["head"]
  assert sum(x.size for x in jax.tree.leaves(head)) == weights


def test_parameter_paths_are_public():
  params = _shapes(models.MODELS["resnet50"](num_classes=3))["params"]
  assert params["stem_conv"]["kernel"].shape == (7, 7, 3, 64)
  assert params["stage2_block1"]["shortcut_conv"]["kernel"].shape == (
    1, 1, 256, 512,
  )  # fmt: skip
  assert params["stage4_block3"]["conv3"]["kernel"].shape == (1, 1, 512, 2048)
  assert params["head"]["kernel"].shape == (2048, 3)


def _predict(model, params, stats, image):
  step = models.make_predict_step(models.make_apply_fn(model))
  return step(params, stats, {"image": image})


@pytest.mark.parametrize("zero_gamma", [False, True])
def test_zero_gamma_makes_blocks_the_identity(zero_gamma):
  model = models.MODELS["resnet_tiny"](
    num_classes=3, width=4, zero_gamma=zero_gamma
  )
  params, _ = models.init_variables(model, jax.random.key(0), 16)
  gamma = params["stage1_block1"]["norm2"]["scale"]
  np.testing.assert_array_equal(gamma, 0.0 if zero_gamma else 1.0)
  np.testing.assert_array_equal(params["stem_norm"]["scale"], 1.0)


def test_bfloat16_computes_near_float32_with_float32_parameters():
  def logits(dtype):
    model = models.MODELS["resnet_tiny"](num_classes=3, width=8, dtype=dtype)
    params, stats = models.init_variables(model, jax.random.key(0), 16)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("f")}
    image = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))
    out = _predict(model, params, stats, image)
    assert out.dtype == jnp.float32
    return out

  full, half = logits(jnp.float32), logits(jnp.bfloat16)
  assert 0 < np.abs(full - half).max() < 0.05 * np.abs(full).max() + 0.02


def test_training_moves_statistics_and_prediction_does_not():
  model = models.MODELS["resnet_tiny"](num_classes=3, width=4)
  apply_fn = models.make_apply_fn(model)
  params, stats = models.init_variables(model, jax.random.key(0), 16)
  image = 3 + jax.random.normal(jax.random.key(1), (4, 16, 16, 3))
  _, same = apply_fn(params, stats, image, train=False)
  _, moved = apply_fn(params, stats, image, train=True)
  assert same is stats
  old, new = stats["stem_norm"]["mean"], moved["stem_norm"]["mean"]
  assert np.all(old == 0)
  assert np.all(new != 0)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("size", [33, 64])
def test_logits_equal_pytorch(name, size):
  torch = pytest.importorskip("torch")
  from benchmarks import torch_resnet

  peer = torch_resnet.random_network(name, num_classes=3, seed=0)
  model = models.MODELS[name](num_classes=3)
  variables = torch_resnet.to_flax(peer.state_dict(), _shapes(model))
  params, stats = variables["params"], variables["batch_stats"]
  image = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype("f")
  with torch.no_grad():
    wanted = peer.eval()(torch.tensor(image).permute(0, 3, 1, 2)).numpy()
  got, _ = models.make_apply_fn(model)(params, stats, image, train=False)
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.oracle
def test_training_mode_equals_pytorch():
  torch = pytest.importorskip("torch")
  from benchmarks import torch_resnet

  peer = torch_resnet.random_network("resnet18", num_classes=3, seed=0)
  model = models.MODELS["resnet18"](num_classes=3)
  variables = torch_resnet.to_flax(peer.state_dict(), _shapes(model))
  params, stats = variables["params"], variables["batch_stats"]
  image = np.random.default_rng(1).normal(size=(8, 64, 64, 3)).astype("f")
  label = np.array([0, 1, 2, 0, 1, 2, 0, 1])
  # Its float32 gradients err by 3e-3 on some CPUs, where ours err by 3e-6.
  peer = peer.double()
  logits = peer.train()(torch.tensor(image).double().permute(0, 3, 1, 2))
  torch.nn.functional.cross_entropy(logits, torch.tensor(label)).backward()

  def loss_fn(params):
    logits, new_stats = models.make_apply_fn(model)(
      params, stats, image, train=True
    )
    picked = jnp.take_along_axis(
      jax.nn.log_softmax(logits), label[:, None], axis=1
    )
    return -jnp.mean(picked), new_stats

  grads, new_stats = jax.grad(loss_fn, has_aux=True)(params)
  np.testing.assert_allclose(
    new_stats["stem_norm"]["mean"],
    peer.bn1.running_mean.numpy(),
    rtol=1e-3,
    atol=1e-4,
  )
  wanted = peer.layer2[0].conv1.weight.grad.permute(2, 3, 1, 0).numpy()
  got = grads["stage2_block1"]["conv1"]["kernel"]
  np.testing.assert_allclose(
    got, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max()
  )


def test_dropout_needs_training_and_a_key():
  model = models.MODELS["resnet_tiny"](num_classes=3, width=4, dropout=0.5)
  params, stats = models.init_variables(model, jax.random.key(0), 16)
  image = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))

  def logits(model=model, **options):
    apply_fn = jax.jit(models.make_apply_fn(model), static_argnames="train")
    return apply_fn(params, stats, image, **options)[0]

  plain = models.MODELS["resnet_tiny"](num_classes=3, width=4)
  without = logits(plain, train=True)
  key = jax.random.key(3)
  np.testing.assert_array_equal(logits(plain, train=True, key=key), without)
  networks.check_randomness(logits, without)


def test_dropout_zeroes_its_share_of_the_heads_inputs():
  """With a kernel of the identity the logits are the dropped features."""
  model = models.MODELS["resnet_tiny"](num_classes=64, width=32, dropout=0.3)
  params, stats = models.init_variables(model, jax.random.key(0), 16)
  params["head"] = {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}
  image = jax.random.normal(jax.random.key(1), (64, 16, 16, 3))
  apply_fn = jax.jit(models.make_apply_fn(model), static_argnames="train")
  whole, _ = apply_fn(params, stats, image, train=True)
  some, _ = apply_fn(params, stats, image, train=True, key=jax.random.key(2))
  alive = np.asarray(whole > 0)
  kept = np.asarray(some > 0)[alive]
  assert alive.sum() > 3000
  assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.21 / kept.size)
  ratio = np.asarray(some)[alive][kept] / np.asarray(whole)[alive][kept]
  np.testing.assert_allclose(ratio, 1 / 0.7, rtol=1e-4)


def test_a_flat_head_sees_every_place():
  """The seeds' head: at 120 pixels a ResNet50 has 4x4x2048 features."""
  params = _shapes(
    models.MODELS["resnet50"](num_classes=3, head="flatten"), size=120
  )["params"]
  assert params["head"]["kernel"].shape == (4 * 4 * 2048, 3)
  model = models.MODELS["resnet_tiny"](num_classes=3, width=4, head="flatten")
  pooled = models.MODELS["resnet_tiny"](num_classes=3, width=4)
  variables = models.init_variables(model, jax.random.key(0), 32)
  image = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
  # A flat head with the same weights / 16 at all of 4x4 places is the mean.
  kernel = np.random.default_rng(0).normal(size=(8, 3)).astype("f")
  bias = np.ones(3, np.float32)

  def logits(model, kernel):
    params = variables[0] | {"head": {"kernel": kernel, "bias": bias}}
    return _predict(model, params, variables[1], image)

  np.testing.assert_allclose(
    logits(model, np.tile(kernel, (16, 1)) / 16),
    logits(pooled, kernel),
    rtol=1e-5,
  )


def test_layers_in_the_order_of_their_depth():
  model = models.MODELS["resnet18"](num_classes=3, width=4)
  params = _shapes(model)["params"]
  blocks = [f"stage{s}_block{b}" for s in (1, 2, 3, 4) for b in (1, 2)]
  assert models.depth_order(params) == (
    "stem_conv",
    "stem_norm",
    *blocks,
    "head",
  )
  many = {f"stage1_block{b}": {} for b in range(1, 12)}
  assert models.depth_order(many)[-2:] == ("stage1_block10", "stage1_block11")


def test_channels_are_tied_to_examples():
  """Those that are shared are on; each other one for a tenth of them."""
  image = jnp.ones((400, 2, 2, 50))
  example = jnp.arange(400) + 7
  tied = np.asarray(layers.tie(image, 0.2, example, 2))
  assert np.all(tied == tied[:, :1, :1])
  on = tied[:, 0, 0]
  assert np.all(on[:, :10] == 1)
  assert set(np.unique(on)) == {0, 1}
  assert on[:, 10:].mean() == pytest.approx(layers.TIED, abs=0.01)
  # Examples differ, and so do channels and layers.
  assert len(np.unique(on, axis=0)) > 380
  assert len(np.unique(on[:, 10:], axis=1).T) == 40
  assert np.any(on != layers.tie(image, 0.2, example, 3)[:, 0, 0])
  # Whatever else is in the batch, and as what number.
  some = layers.tie(image[:3], 0.2, example[np.array([9, 0, 5])], 2)
  np.testing.assert_array_equal(some[:, 0, 0], on[[9, 0, 5]])
  # At test what each has of the others on average.
  mean = layers.tie(image, 0.2, None, 2)[0, 0, 0]
  np.testing.assert_allclose(mean, [1] * 10 + [layers.TIED] * 40)


def _tied(**options):
  """(apply_fn, params, batch_stats) of a small network with four stages."""
  model = resnet.ResNet(
    (1, 1, 1, 1), False, networks.CLASSES, 5, small_stem=True, **options
  )
  made = models.init_variables(model, jax.random.key(1), networks.SIZE)
  return models.make_apply_fn(model), *made


@pytest.mark.parametrize("tied", [0.0, 0.2])
def test_training_tells_which_examples_these_are(tied):
  apply_fn, *fresh = _tied(tied=tied)
  tx = optax.sgd(0.0)
  step = make_train_step(apply_fn, losses.cross_entropy, tx)
  batch = networks.batch(8)
  others = batch | {"id": batch["id"] + 100}
  said = [
    step(init_state(*fresh, tx), given)[1]["logits"]
    for given in (batch, others, batch)
  ]
  np.testing.assert_array_equal(said[0], said[2])
  assert np.any(said[0] != said[1]) == (tied > 0)


def test_etd_takes_tied_channels_out(monkeypatch):
  """As a network whose others are silent, and whose shared ones are louder."""
  apply_fn, params, stats = _tied(tied=0.4)
  image = networks.batch(6)["image"]
  task = Task(jax.random.key(0), 1, 13, 130, models.depth_order(params))
  method = METHODS["etd"].build(task, shared=0.4)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = method.transform.update(
    zeros, method.transform.init(params), params
  )
  dropped = optax.apply_updates(params, updates)
  changed = {
    "/".join(part.key for part in path)
    for path, update in jax.tree.leaves_with_path(updates)
    if np.any(update)
  }
  assert changed == {
    f"stage{stage}_block1/{name}/kernel"
    for stage in (3, 4)
    for name in ("conv1", "shortcut_conv")
  }
  got = apply_fn(dropped, stats, image, train=False)[0]

  def silent(image, shared, example, place):
    del example, place
    channels = image.shape[-1]
    louder = (shared + layers.TIED) / shared
    return image * jnp.array(
      [louder if i < round(shared * channels) else 0 for i in range(channels)]
    ).reshape(1, 1, 1, -1)

  monkeypatch.setattr(layers, "tie", silent)
  wanted = apply_fn(params, stats, image, train=False)[0]
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
