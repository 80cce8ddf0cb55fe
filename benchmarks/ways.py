"""What is timed of ours: ways that are ready to run, from the same weights.

Each waits for the device, and has a result by which it is compared with others
before it is timed. Nothing here needs PyTorch, TFDS or a config.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from gzjax import models, sharding
from gzjax.fisher import diagonal
from gzjax.objectives import losses
from gzjax.training import optim
from gzjax.training.loop import compiled
from gzjax.training.step import init_state, make_train_step
from gzjax.types import ApplyFn, PyTree

CLASSES = 3
LEARNING_RATE = 1e-4
NETWORKS = ("resnet_tiny", "resnet18", "resnet34", "resnet50", "convnext_pico",
            "convnext_nano")  # fmt: skip
GATE_STEPS = 3


class Setting(NamedTuple):
  """A network and its images; random ones, which stay on the device."""

  model: str = "resnet34"
  size: int = 64  # pixels
  batch: int = 32
  bf16: bool = False
  width: int = 64  # channels of a ResNet's first stage

  @property
  def dtype(self) -> Any:
    """Of the computation; variables and statistics are float32."""
    return jnp.bfloat16 if self.bf16 else jnp.float32

  @property
  def name(self) -> str:
    """In words."""
    return (
      f"{self.model}, {self.size} pixels, {jnp.dtype(self.dtype).name}, "
      f"batch {self.batch}"
    )

  def apply_fn(self, conv_form: str = "auto", dtype: Any = None) -> ApplyFn:
    """The network as a pure function."""
    return models.make_apply_fn(self.network(conv_form, dtype or self.dtype))

  def network(self, conv_form: str = "auto", dtype: Any = jnp.float32) -> Any:
    """The flax module."""
    own = {} if self.width == 64 else {"width": self.width}
    return models.MODELS[self.model](
      num_classes=CLASSES, conv_form=conv_form, dtype=dtype, **own
    )


class Way(NamedTuple):
  """A contestant, ready to run; it waits for the device.

  Attributes:
    run: what is timed; a stream of batches would call it for each.
    images: that one run works on.
    result: what the gate compares; None if it gives something else.
    at_once: examples that it takes at once.
    planned_bytes: XLA's own count of temporaries.
    compile_seconds: before it could run.
  """

  run: Callable[[], Any]
  images: int
  result: Callable[[], Any] | None = None
  at_once: int = 0
  planned_bytes: int | None = None
  compile_seconds: float | None = None


class Problem(NamedTuple):
  """Random images and weights, on the devices of a mesh."""

  setting: Setting
  params: PyTree
  batch_stats: PyTree
  batch: dict[str, Any]
  network: Any  # the same in PyTorch; None without


def add_options(parser: argparse.ArgumentParser, *, rounds: int) -> None:
  """Those of a network and of its alternations with others."""
  add = parser.add_argument
  add("--model", default="resnet34", choices=NETWORKS,
      help="ConvNeXts need timm")  # fmt: skip
  add("--size", type=int, default=64, help="pixels")
  add("--batch_size", type=int, default=32, help="images")
  add("--rounds", type=int, default=rounds, help="alternations of all")


def make_problem(setting: Setting, mesh: Any, network: Any = None) -> Problem:
  """The weights are those of a network of PyTorch, if there is one."""
  rng = np.random.default_rng(0)
  size, count = setting.size, setting.batch
  params, batch_stats = models.init_variables(
    setting.network(), jax.random.key(0), size
  )
  variables = {"params": params, "batch_stats": batch_stats}
  if network is not None:
    from benchmarks import torch_resnet

    variables = torch_resnet.to_flax(network.state_dict(), variables)
  batch = {
    "image": rng.normal(size=(count, size, size, 3)).astype(np.float32),
    "label": rng.integers(0, CLASSES, count).astype(np.int32),
    "valid": np.ones(count, np.float32),
    "id": np.arange(count, dtype=np.int32),
  }
  return Problem(
    setting,
    **sharding.replicate(mesh, variables),
    batch=sharding.shard_batch(mesh, batch),
    network=network,
  )


def sgd() -> optax.GradientTransformation:
  """With momentum, at a constant rate: the schedule is not what is measured."""
  return optim.OPTIMIZERS["sgd"](
    optax.constant_schedule(LEARNING_RATE), weight_decay=0.0
  )


def train_step(
  problem: Problem, conv_form: str = "auto", steps: int = 1
) -> Way:
  """So many steps on one batch; the result is the losses of the first ones."""
  setting, tx = problem.setting, sgd()
  step = make_train_step(setting.apply_fn(conv_form), losses.cross_entropy, tx)
  start = partial(init_state, problem.params, problem.batch_stats, tx)
  state = start()
  ready, seconds = compiled(step, state, problem.batch)

  def run():
    nonlocal state
    for _ in range(steps):
      state, outputs = ready(state, problem.batch)
    return jax.block_until_ready(outputs["loss"])

  def result():
    state, found = start(), []
    for _ in range(GATE_STEPS):
      state, outputs = ready(state, problem.batch)
      found.append(float(outputs["loss"]))
    return found

  return Way(
    run, steps * setting.batch, result, setting.batch, planned_bytes(ready),
    seconds,
  )  # fmt: skip


def plain_losses(problem: Problem) -> list[float]:
  """Of the first steps, as one writes them down, with all digits.

  What a train step is compared with where there is no PyTorch.
  """
  apply_fn = problem.setting.apply_fn("native", jnp.float32)
  rate, decay = LEARNING_RATE, 0.9

  @jax.jit
  def step(params, batch_stats, momentum, batch):
    def mean_loss(params):
      logits, moved = apply_fn(params, batch_stats, batch["image"], train=True)
      return jnp.mean(losses.cross_entropy(logits, batch)), moved

    (loss, moved), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
    momentum = jax.tree.map(lambda m, g: decay * m + g, momentum, grads)
    params = jax.tree.map(lambda p, m: p - rate * m, params, momentum)
    return loss, (params, moved, momentum)

  zeros = jax.tree.map(jnp.zeros_like, problem.params)
  carry, found = (problem.params, problem.batch_stats, zeros), []
  with jax.default_matmul_precision("highest"):
    for _ in range(GATE_STEPS):
      loss, carry = step(*carry, problem.batch)
      found.append(float(loss))
  return found


def forward_loss(problem: Problem) -> float:
  """Of the first step, without a step: quicker to compile."""
  apply_fn = problem.setting.apply_fn("native", jnp.float32)

  @jax.jit
  def mean_loss(params, batch_stats, batch):
    logits, _ = apply_fn(params, batch_stats, batch["image"], train=True)
    return jnp.mean(losses.cross_entropy(logits, batch))

  with jax.default_matmul_precision("highest"):
    return float(mean_loss(problem.params, problem.batch_stats, problem.batch))


def predict(
  problem: Problem, conv_form: str = "auto", steps: int = 1, dtype: Any = None
) -> Way:
  """Logits on stored statistics; the result is their mean loss."""
  apply_fn = problem.setting.apply_fn(conv_form, dtype)

  @jax.jit
  def mean_loss(params, batch_stats, batch):
    logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
    return jnp.mean(losses.cross_entropy(logits, batch))

  inputs = problem.params, problem.batch_stats, problem.batch
  ready, seconds = compiled(mean_loss, *inputs)

  def run():
    for _ in range(steps):
      loss = ready(*inputs)
    return jax.block_until_ready(loss)

  count = problem.setting.batch
  return Way(
    run, steps * count, lambda: [float(ready(*inputs))], count,
    planned_bytes(ready), seconds,
  )  # fmt: skip


def fisher(
  problem: Problem, mesh: Any, conv_form: str = "auto", **options: Any
) -> Way:
  """The Fisher diagonal of the batch, by a `diagonal.Spec` of the options."""
  spec, count = diagonal.Spec(**options), problem.setting.batch
  zeros, _ = diagonal.make_sums(spec, mesh)
  rest = (
    problem.params, problem.batch_stats, jax.random.key(0), problem.batch,
  )  # fmt: skip
  accumulate = diagonal.make_accumulate(
    problem.setting.apply_fn(conv_form), spec, mesh
  )
  sums = zeros(problem.params)
  ready, seconds = compiled(accumulate, sums, *rest)

  def run():
    nonlocal sums
    sums, _ = jax.block_until_ready(ready(sums, *rest))

  def result():
    sums, _ = ready(zeros(problem.params), *rest)
    return jax.tree.map(lambda s: s[0], sums.sum_sq)

  empirical = spec.estimator != "signs" and spec.kind == "empirical"
  return Way(
    run, count, result if empirical else None, spec.microbatch or count,
    planned_bytes(ready), seconds,
  )  # fmt: skip


def gradient(problem: Problem) -> Way:
  """One ordinary gradient on stored statistics, of the sum over the batch."""
  inputs = problem.params, problem.batch_stats, problem.batch
  summed = jax.jit(_gradient_of_sum(problem.setting.apply_fn()))
  ready, seconds = compiled(summed, *inputs)
  count = problem.setting.batch
  return Way(
    lambda: jax.block_until_ready(ready(*inputs)), count, None, count,
    planned_bytes(ready), seconds,
  )  # fmt: skip


def one_by_one(
  problem: Problem, dtype: Any = None, precision: str | None = None
) -> Way:
  """A loop over examples: the definition."""
  gradient = _gradient_of_sum(problem.setting.apply_fn(dtype=dtype))
  count = problem.setting.batch

  @partial(jax.jit, donate_argnums=0)
  def add(total, params, batch_stats, batch, i):
    one = {n: jax.lax.dynamic_slice_in_dim(x, i, 1) for n, x in batch.items()}
    return jax.tree.map(
      lambda t, g: t + g * g, total, gradient(params, batch_stats, one)
    )

  inputs = problem.params, problem.batch_stats, problem.batch
  total = jax.tree.map(jnp.zeros_like, problem.params)
  with jax.default_matmul_precision(precision):
    ready, seconds = compiled(add, total, *inputs, 0)

  def squares(total):
    for i in range(count):
      total = ready(total, *inputs, i)
    return jax.block_until_ready(total)

  def result():
    return squares(jax.tree.map(jnp.zeros_like, problem.params))

  def run():
    nonlocal total
    total = squares(total)

  return Way(run, count, result, 1, planned_bytes(ready), seconds)


def best(build: Callable[[int], Way], sizes: list[int]) -> tuple[Way, dict]:
  """The way with the fastest number of examples at once, and all speeds."""
  ways = {str(n): build(n) for n in sizes}
  for way in ways.values():
    way.run()
  seconds = timing.interleaved({n: way.run for n, way in ways.items()}, 2)
  speed = {n: ways[n].images / float(s.min()) for n, s in seconds.items()}
  return ways[max(speed, key=lambda n: speed[n])], speed


def planned_bytes(ready: Any) -> int | None:
  """XLA's plan of the temporaries of a compiled program."""
  plan = ready.memory_analysis()
  return None if plan is None else plan.temp_size_in_bytes


def _gradient_of_sum(apply_fn):
  def loss(params, batch_stats, batch):
    logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
    return jnp.sum(losses.cross_entropy(logits, batch))

  return jax.grad(loss)


# In float32 all ways agree to about 1e-6, except where another rounding
# switches a ReLU whose input is zero to the last digit: one such switch in
# millions moves a tensor by 1e-3, while every wrong formula is wrong by tens of
# percent. (In float64 Opacus and the loop, that differ by 9e-4 at 64 pixels,
# agree to 2e-15; the tests compare ours with float64 to 1e-5.)
FISHER_TOLERANCE = 0.01
# No wrong formula passes, however many digits are left.
_MOST_TOLERANCE = 0.1


def fisher_gate(
  problem: Problem, wanted: PyTree
) -> tuple[Callable[[PyTree], float], float]:
  """(sums of squares -> their error, the largest that may be).

  `wanted` is of the loop with all digits. TF32 and bfloat16 switch many a ReLU,
  whoever computes: sums may be twice as far from it as those of a loop with the
  digits that are timed. In bfloat16 the sums over whole tensors are compared,
  since single ones say nothing.
  """
  error = means_error if problem.setting.bf16 else tree_error
  own = error(one_by_one(problem).result(), wanted)
  tolerance = min(max(FISHER_TOLERANCE, 2 * own), _MOST_TOLERANCE)
  return lambda got: error(got, wanted), tolerance


def means_error(got: PyTree, wanted: PyTree) -> float:
  """The largest distance of the sum of a tensor, relative to the wanted one."""
  return max(
    abs(float(np.sum(g, dtype=np.float64) / np.sum(w, dtype=np.float64)) - 1)
    for g, w in zip(
      *map(jax.tree.leaves, jax.device_get((got, wanted))), strict=True
    )
  )


def tree_error(got: PyTree, wanted: PyTree) -> float:
  """The largest distance of a tensor, relative to the norm of the tensor."""
  return max(
    float(np.linalg.norm(g - w) / np.linalg.norm(w))
    for g, w in zip(
      *map(jax.tree.leaves, jax.device_get((got, wanted))), strict=True
    )
  )


def losses_error(got: list[float], wanted: list[float]) -> float:
  """The largest distance of two losses, relative to the wanted one."""
  return float(np.max(np.abs(np.divide(got, wanted) - 1)))


def losses_tolerance(setting: Setting) -> float:
  """How far the losses of the first steps may be apart.

  On GPUs float32 convolutions and products are TF32, here and in PyTorch.
  """
  if setting.bf16:
    return 3e-2
  return 1e-3 if jax.default_backend() == "cpu" else 1e-2
