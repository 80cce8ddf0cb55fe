"""What operations are for: small texts, and a network that XLA compiled."""

import collections

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from gzjax import models
from gzjax.models import layers
from gzjax.objectives import losses
from gzjax.profiling import operations
from gzjax.training.step import init_state, make_train_step
from tests.profiling.texts import program

STEM = "jit(step)/jvp(Net)/stem_conv/conv_general_dilated"
BACK = "jit(step)/transpose(jvp(Net))/stem_conv/conv_general_dilated"


def _only(text, name):
  """The one kind of an operation."""
  ((kind, share),) = operations.operations(text)[name].kinds.items()
  assert share == 1
  return kind


@pytest.mark.parametrize(
  ("line", "kind"),
  [
    (f"f32[4,8,8,16] convolution(%image, %kernel) {STEM}", "forward"),
    (f"f32[4,8,8,3] convolution(%map, %kernel) {BACK}", "input_gradient"),
    (f"f32[3,3,3,16] convolution(%image, %map) {BACK}", "weight_gradient"),
    # XLA forgot where it was from; the kernel was turned.
    ("f32[3,3,16,3] convolution(%image, %map)", "weight_gradient"),
    ("f32[4,8,8,16] convolution(%image, %kernel)", "other"),
    ("f32[4,8,8,16] add(%map, %map) a/jvp(Net)/stem_norm/add", "normalisation"),
    ("f32[4,8,8,16] maximum(%map, %map) a/jvp(Net)/max_pool/max", "pooling"),
    ("f32[4] reduce(%map) a/jvp(Net)/pool/reduce_sum", "pooling"),
    ("f32[4,4,4,16] reduce-window(%map)", "pooling"),
    ("f32[4,8,8,16] maximum(%map, %map) a/jvp(Net)/jit(relu)", "elementwise"),
    ("f32[4] exponential(%map) a/jvp(loss)/exp", "loss"),
    ("f32[3,3,3,16] multiply(%kernel) a/optimizer/mul", "optimizer"),
    ("f32[3,3,3,16] copy(%kernel) a/optimizer/copy", "optimizer"),
    ("f32[4,8,8,16] copy(%map)", "movement"),
    (f"f32[4,8,8,3] pad(%image) {STEM}", "movement"),
    ("f32[3,3,3,16] all-reduce(%kernel) a/jvp(Net)/stem_conv", "exchange"),
    ("s32[] add(%map) jit(step)/add", "other"),
    (f"f32[4,8,8,16] custom-call(%image, %kernel) {STEM}", "forward"),
    ("f32[16] add(%map) a/jvp(Net)/stem_conv/add", "forward"),
    # The gradient of the bias, and of what it was added to.
    ("f32[16] reduce(%map) a/transpose(jvp(Net))/stem_conv", "weight_gradient"),
    ("f32[4,8] add(%map) a/transpose(jvp(Net))/stem_conv", "input_gradient"),
  ],
)
def test_the_kind_of_an_instruction(line, kind):
  assert _only(program(line), "found") == kind


def test_a_fusion_of_several_kinds_is_split_by_elements():
  text = program(
    "f32[4,8,8,16] fusion(%map), calls=%fused",
    fused=[
      "%p = f32[4,8,8,16] parameter(0)",
      "%wide = f32[4,8,8,16] broadcast(%p)",
      '%a = f32[4,8,8,16] add(%p, %p), metadata={op_name="jvp(N)/norm1/add"}',
      '%b = f32[4,8,8,16] add(%a, %p), metadata={op_name="jvp(N)/norm1/add"}',
      'ROOT %c = f32[4,8,8,16] maximum(%b, %p), metadata={op_name="jvp(N)/m"}',
    ],
  )
  found = operations.operations(text)["found"]
  assert found.origin == "jvp(N)/norm1/add"
  assert found.kinds == {"normalisation": 2 / 3, "elementwise": 1 / 3}
  assert found.mixed


def test_a_fusion_with_a_product_is_of_its_kind():
  text = program(
    f"f32[4,8,8,16] fusion(%image, %kernel), calls=%fused {STEM}",
    fused=[
      "%p = f32[4,8,8,3] parameter(0)",
      "%k = f32[3,3,3,16] parameter(1)",
      f'%y = f32[4,8,8,16] convolution(%p, %k), metadata={{op_name="{STEM}"}}',
      'ROOT %z = f32[4,8,8,16] add(%y, %y), metadata={op_name="jvp(N)/norm1"}',
    ],
  )
  found = operations.operations(text)["found"]
  assert found.kinds == {"forward": 1.0}
  assert found.mixed


def test_bytes_of_what_is_sliced_are_those_of_the_slice():
  whole = 4 * 8 * 8 * 16 * 4
  add = program("f32[4,8,8,16] add(%map, %map)")
  assert operations.operations(add)["found"].bytes == 3 * whole
  text = program(
    "f32[1,8,8,16] fusion(%map), calls=%fused",
    fused=[
      "%p = f32[4,8,8,16] parameter(0)",
      "%s = f32[1,8,8,16] slice(%p)",
      "ROOT %n = f32[1,8,8,16] negate(%s)",
    ],
  )
  assert operations.operations(text)["found"].bytes == 2 * whole / 4
  half = program("bf16[4,8,8,16] convert(%map)")
  assert operations.operations(half)["found"].bytes == 1.5 * whole


class _Net(nn.Module):
  """Two convolutions, a BatchNorm, a pooling and a head."""

  @nn.compact
  def __call__(self, image, train):
    x = image
    for number, channels in enumerate((4, 5), 1):
      x = layers.conv(
        channels, 3, form="native", dtype=jnp.float32, name=f"conv{number}"
      )(x)
    x = layers.norm(train, epsilon=1e-5, dtype=jnp.float32)(name="norm")(x)
    x = layers.mean_pool(layers.max_pool(nn.relu(x)))
    return nn.Dense(3, name="head")(x)


@pytest.fixture(scope="module")
def step():
  """The compiled text of a training step of `_Net`."""
  net = _Net()
  apply_fn = models.make_apply_fn(net)
  state = init_state(
    *models.init_variables(net, jax.random.key(0), 12), optax.adam(1e-3)
  )
  batch = {
    "image": jnp.ones((7, 12, 12, 3)),
    "label": jnp.zeros(7, jnp.int32),
    "valid": jnp.ones(7),
    "id": jnp.arange(7),
  }
  train = make_train_step(apply_fn, losses.cross_entropy, optax.adam(1e-3))
  return train.lower(state, batch).compile().as_text()


def test_the_convolutions_of_a_compiled_step(step):
  parsed = operations.parse(step)
  found = operations.operations(step)
  kinds = collections.Counter(
    kind
    for lines in parsed.computations.values()
    for line in lines
    if line.opcode in ("convolution", "dot")
    for kind in found[line.name].kinds
  )
  # Two convolutions and a dense layer; the first needs no input gradient.
  assert kinds["forward"] == kinds["weight_gradient"] == 3
  assert kinds["input_gradient"] == 2
  assert set(kinds) == {"forward", "weight_gradient", "input_gradient"}


def test_every_part_of_a_step_is_found(step):
  found = operations.operations(step)
  kinds = {kind for operation in found.values() for kind in operation.kinds}
  assert kinds <= set(operations.KINDS)
  assert {"normalisation", "pooling", "optimizer", "loss", "elementwise"} <= (
    kinds
  )
  for operation in found.values():
    assert sum(operation.kinds.values()) == pytest.approx(1)
