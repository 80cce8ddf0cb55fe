"""The Fisher diagonal of a batch: ours, our train step, and everybody else's.

    python -m benchmarks.fisher --size=64 --batch_size=32

All start from the same weights, see the same images and run interleaved in one
process, each at its best number of examples at once. First the gate: every sum
of squares must agree with a loop over single examples, else the speeds would
mean nothing. The peers need the `bench` extra; without PyTorch (or with
--nopeers) only our own ways are measured. A GPU is used if there is one.
"""

from collections.abc import Callable
import copy
from functools import partial
import json
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from gzjax import models, sharding
from gzjax.fisher import diagonal
from gzjax.objectives import losses
from gzjax.training import optim
from gzjax.training.step import init_state, make_train_step

try:
  import torch

  from benchmarks import torch_fisher, torch_resnet
except ImportError:
  torch = None

_MODEL = flags.DEFINE_enum(
  "model",
  "resnet34",
  ["resnet18", "resnet34", "resnet50", "convnext_pico", "convnext_nano"],
  "Network; ConvNeXts need timm.",
)
_SIZE = flags.DEFINE_integer("size", 64, "Pixels.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Alternations of all.")
_AT_ONCE = flags.DEFINE_list(
  "at_once", ["1", "4", "16"], "Numbers of examples at once to choose from."
)
_BF16 = flags.DEFINE_bool("bf16", False, "Compute in bfloat16 (ours).")
_PEERS = flags.DEFINE_bool("peers", True, "Also time the PyTorch ways.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the result.")


class _Way(NamedTuple):
  """A contestant, ready to run; it waits for the device.

  Attributes:
    run: what is timed; a stream of batches would call it for each.
    result: the sum of squares of the batch; None if it gives something else.
    at_once: examples that it takes at once.
    planned_bytes: XLA's own count of temporaries.
  """

  run: Callable[[], Any]
  result: Callable[[], Any] | None
  at_once: int
  planned_bytes: int | None = None


class _Problem(NamedTuple):
  params: Any
  batch_stats: Any
  batch: dict[str, Any]
  network: Any  # the same in PyTorch


def _apply_fn(conv_form="auto", dtype=None):
  dtype = dtype or (jnp.bfloat16 if _BF16.value else jnp.float32)
  return models.make_apply_fn(
    models.MODELS[_MODEL.value](num_classes=3, conv_form=conv_form, dtype=dtype)
  )


def _problem(mesh) -> _Problem:
  """Random images and weights; PyTorch's with uneven statistics, if it is."""
  rng = np.random.default_rng(0)
  size, count = _SIZE.value, _BATCH.value
  model = models.MODELS[_MODEL.value](num_classes=3)
  variables = dict(
    zip(
      ("params", "batch_stats"),
      models.init_variables(model, jax.random.key(0), size),
      strict=True,
    )
  )
  network = None
  if torch is not None:
    network = torch_resnet.peer(_MODEL.value, num_classes=3, seed=0)
    variables = torch_resnet.to_flax(network.state_dict(), variables)
  batch = {
    "image": rng.normal(size=(count, size, size, 3)).astype(np.float32),
    "label": rng.integers(0, 3, count).astype(np.int32),
    "valid": np.ones(count, np.float32),
    "id": np.arange(count, dtype=np.int32),
  }
  return _Problem(
    **sharding.replicate(mesh, variables),
    batch=sharding.shard_batch(mesh, batch),
    network=network,
  )


def _fisher(problem, mesh, conv_form="auto", **options) -> _Way:
  spec = diagonal.Spec(**options)
  zeros, _ = diagonal.make_sums(spec, mesh)
  rest = (
    problem.params, problem.batch_stats, jax.random.key(0), problem.batch,
  )  # fmt: skip
  compiled = (
    diagonal.make_accumulate(_apply_fn(conv_form), spec, mesh)
    .lower(zeros(problem.params), *rest)
    .compile()
  )

  sums = zeros(problem.params)

  def run():
    nonlocal sums
    sums = jax.block_until_ready(compiled(sums, *rest))

  def result():
    sums = compiled(zeros(problem.params), *rest)
    return jax.tree.map(lambda s: s[0], sums.sum_sq)

  empirical = spec.estimator != "signs" and spec.kind == "empirical"
  return _Way(
    run,
    result if empirical else None,
    spec.microbatch or _BATCH.value,
    _temporaries(compiled),
  )


def _temporaries(compiled) -> int:
  return compiled.memory_analysis().temp_size_in_bytes


def _gradient_of_sum(apply_fn):
  def loss(params, batch_stats, batch):
    logits, _ = apply_fn(params, batch_stats, batch["image"], train=False)
    return jnp.sum(losses.cross_entropy(logits, batch))

  return jax.grad(loss)


def _gradient(problem) -> _Way:
  """One ordinary gradient on stored statistics, of the sum over the batch."""
  inputs = problem.params, problem.batch_stats, problem.batch
  compiled = jax.jit(_gradient_of_sum(_apply_fn())).lower(*inputs).compile()
  return _Way(
    lambda: jax.block_until_ready(compiled(*inputs)),
    None,
    _BATCH.value,
    _temporaries(compiled),
  )


def _train_step(problem, mesh) -> _Way:
  tx = optim.OPTIMIZERS["sgd"](optax.constant_schedule(1e-4), weight_decay=0.0)
  state = init_state(
    *sharding.replicate(mesh, (problem.params, problem.batch_stats)), tx
  )
  step = make_train_step(_apply_fn(), losses.cross_entropy, tx)
  compiled = step.lower(state, problem.batch).compile()

  def run():
    nonlocal state
    state, outputs = compiled(state, problem.batch)
    return jax.block_until_ready(outputs["loss"])

  return _Way(run, None, _BATCH.value, _temporaries(compiled))


def _one_by_one(problem, dtype=None) -> _Way:
  """A loop over examples: the definition."""
  gradient = _gradient_of_sum(_apply_fn(dtype=dtype))

  @partial(jax.jit, donate_argnums=0)
  def add(total, params, batch_stats, batch, i):
    one = {n: jax.lax.dynamic_slice_in_dim(x, i, 1) for n, x in batch.items()}
    return jax.tree.map(
      lambda t, g: t + g * g, total, gradient(params, batch_stats, one)
    )

  inputs = problem.params, problem.batch_stats, problem.batch
  total = jax.tree.map(jnp.zeros_like, problem.params)
  compiled = add.lower(total, *inputs, 0).compile()

  def squares(total):
    for i in range(_BATCH.value):
      total = compiled(total, *inputs, i)
    return jax.block_until_ready(total)

  def result():
    return squares(jax.tree.map(jnp.zeros_like, problem.params))

  def run():
    nonlocal total
    total = squares(total)

  return _Way(run, result, 1, _temporaries(compiled))


def _best(build: Callable[[int], _Way], name: str) -> _Way:
  """The fastest number of examples at once."""
  sizes = sorted({min(int(n), _BATCH.value) for n in _AT_ONCE.value})
  ways = {str(n): build(n) for n in sizes}
  for way in ways.values():
    way.run()
  seconds = timing.interleaved({n: way.run for n, way in ways.items()}, 2)
  speed = {n: _BATCH.value / s.min() for n, s in seconds.items()}
  print(
    f"{name}: "
    + ", ".join(f"{n} at once {v:.1f} images/s" for n, v in speed.items()),
    flush=True,
  )
  return ways[max(speed, key=lambda n: speed[n])]


def _peer(way, problem, at_once, device) -> _Way:
  """A way of PyTorch's, from the same weights; its result is like ours."""
  network = copy.deepcopy(problem.network).eval()
  network = network.to(device, memory_format=torch.channels_last)
  image = torch.tensor(np.asarray(problem.batch["image"])).permute(0, 3, 1, 2)
  image = image.to(device).contiguous(memory_format=torch.channels_last)
  label = torch.tensor(np.asarray(problem.batch["label"]), dtype=torch.long)
  label = label.to(device)
  squares = way(network)

  def run():
    total = {}
    for i in range(0, len(image), at_once):
      part = squares(image[i : i + at_once], label[i : i + at_once])
      total = {n: total[n] + s if total else s for n, s in part.items()}
    if device == "cuda":
      torch.cuda.synchronize()
    return total

  def result():
    return torch_resnet.to_flax(run(), {"params": problem.params})["params"]

  return _Way(run, result, at_once)


# In float32 all ways agree to about 1e-6, except where another rounding
# switches a ReLU whose input is zero to the last digit: one such switch in
# millions moves a tensor by 1e-3, while every wrong formula is wrong by tens of
# percent. (In float64 Opacus and the loop, that differ by 9e-4 at 64 pixels,
# agree to 2e-15; the tests compare ours with float64 to 1e-5.)
_TOLERANCE = 0.01


def _error(got, wanted) -> float:
  """The largest distance of a tensor, relative to the norm of the tensor."""
  return max(
    float(np.linalg.norm(g - w) / np.linalg.norm(w))
    for g, w in zip(
      *map(jax.tree.leaves, jax.device_get((got, wanted))), strict=True
    )
  )


def _ways(problem, mesh) -> dict[str, _Way]:
  fisher = partial(_fisher, problem, mesh)
  ways = {
    "train step": _train_step(problem, mesh),
    "gradient pass": _gradient(problem),
    "exact": fisher(),
    'exact, kind="true"': fisher(kind="true"),
    "signs": fisher(estimator="signs"),
    "signs with error": fisher(estimator="signs", with_error=True),
    "one by one": _one_by_one(problem),
  }
  for name, estimator, form in (
    ("exact, dots only", "exact", "dot"),
    ("vmap", "vmap", "auto"),
    ("vmap, dots only", "vmap", "dot"),
    ("vmap, plain nn.Conv", "vmap", "native"),
  ):
    build = partial(fisher, form, estimator=estimator)
    ways[name] = _best(lambda n, build=build: build(microbatch=n), name)
  if torch is not None and _PEERS.value:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, way in torch_fisher.WAYS.items():
      if way is torch_fisher.loop:
        ways[name] = _peer(way, problem, _BATCH.value, device)._replace(
          at_once=1
        )
      else:
        ways[name] = _best(
          lambda n, way=way: _peer(way, problem, n, device), name
        )
  return ways


def _megabytes(way: _Way) -> float | None:
  """Of temporaries: XLA's plan, which is exact; PyTorch is watched."""
  found = way.planned_bytes
  if found is None and torch.cuda.is_available():
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    way.run()
    found = torch.cuda.max_memory_allocated() - before
  elif found is None:
    found = timing.peak_bytes(way.run)
  return None if found is None else found / 1e6


def main(arguments):
  """Gates, times and prints."""
  del arguments
  mesh = sharding.make_mesh(jax.devices()[:1])
  problem = _problem(mesh)
  wanted = _one_by_one(problem, jnp.float32).result()
  ways = _ways(problem, mesh)

  tolerance = 0.05 if _BF16.value else _TOLERANCE
  rows = {}
  for name, way in ways.items():
    rows[name] = {"at_once": way.at_once, "temporary_mb": _megabytes(way)}
    if way.result:
      error = _error(way.result(), wanted)
      rows[name]["error"] = error
      print(f"{name}: differs from the loop by {error:.1e}", flush=True)
      assert error < tolerance, f"{name} is not the Fisher: {error}"
  print(f"equal within {tolerance:g}: yes", flush=True)

  seconds = timing.interleaved(
    {n: w.run for n, w in ways.items()}, _ROUNDS.value
  )
  print(
    f"| {_MODEL.value}, {_SIZE.value} pixels, batch {_BATCH.value} | at once | "
    "images/s | time / train step | speed of exact / this | temporary MB |\n"
    "|---|---|---|---|---|---|"
  )
  for name, row in rows.items():
    cost = seconds[name] / seconds["train step"]
    gain = seconds[name] / seconds["exact"]
    row |= {
      "images_per_second": _BATCH.value / float(np.median(seconds[name])),
      "over_train_step": list(np.percentile(cost, [50, 10, 90])),
      "exact_is_faster_by": list(np.percentile(gain, [50, 10, 90])),
    }
    memory = row["temporary_mb"]
    print(
      f"| {name} | {row['at_once']} | {row['images_per_second']:.1f} | "
      f"{np.median(cost):.2f} ({min(cost):.2f} to {max(cost):.2f}) | "
      f"{np.median(gain):.2f} | "
      f"{'' if memory is None else round(memory)} |"
    )
  if _OUTPUT.value:
    result = {
      "model": _MODEL.value,
      "size": _SIZE.value,
      "batch_size": _BATCH.value,
      "dtype": "bfloat16" if _BF16.value else "float32",
      "device": jax.devices()[0].device_kind,
      "jax": jax.__version__,
      "ways": rows,
    }
    Path(_OUTPUT.value).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
  app.run(main)
