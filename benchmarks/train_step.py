"""Images per second of one training step: ours beside PyTorch eager.

    python -m benchmarks.train_step --size=64 --batch_size=32
    python -m benchmarks.train_step --model=convnext_nano --predict

Both start from the same weights, see the same batch and run interleaved in one
process. First the gate: the losses of the first steps must agree, else the
speeds would mean nothing. Needs the `bench` extra. A GPU is used if there is
one (PyTorch then in channels_last, as on the CPU).
"""

from functools import partial
import json
from pathlib import Path

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks import timing, torch_resnet
from gzjax import models
from gzjax.objectives import losses
from gzjax.training import optim
from gzjax.training.step import init_state, make_train_step

_MODEL = flags.DEFINE_enum(
  "model",
  "resnet34",
  ["resnet18", "resnet34", "resnet50", "convnext_pico", "convnext_nano"],
  "Network; ConvNeXts need timm.",
)
_SIZE = flags.DEFINE_integer("size", 64, "Pixels.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images in a step.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Alternations of the two.")
_STEPS = flags.DEFINE_integer("steps", 3, "Steps in a round.")
_BF16 = flags.DEFINE_bool("bf16", False, "Compute in bfloat16.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the result.")
_PREDICT = flags.DEFINE_bool("predict", False, "Predict, not train.")
_NATIVE = flags.DEFINE_bool("native", False, "Also time plain nn.Conv.")

_LEARNING_RATE = 1e-4
_GATE_STEPS = 3


def _peer(image, label, device):
  """(network, step) in PyTorch; the step returns the loss."""
  network = torch_resnet.peer(_MODEL.value, num_classes=3, seed=0)
  start = {k: v.clone() for k, v in network.state_dict().items()}
  network = network.to(device, memory_format=torch.channels_last).train()
  optimizer = torch.optim.SGD(
    network.parameters(), lr=_LEARNING_RATE, momentum=0.9
  )
  image = torch.tensor(image).permute(0, 3, 1, 2).to(device)
  image = image.contiguous(memory_format=torch.channels_last)
  label = torch.tensor(label, dtype=torch.long).to(device)

  @torch.inference_mode()
  def predict():
    with torch.autocast(device, torch.bfloat16, enabled=_BF16.value):
      logits = network(image)
    return torch.nn.functional.cross_entropy(logits.float(), label)

  def step():
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16, enabled=_BF16.value):
      logits = network(image)
    loss = torch.nn.functional.cross_entropy(logits.float(), label)
    loss.backward()
    optimizer.step()
    return loss.detach()

  if _PREDICT.value:
    network.eval()
  return start, predict if _PREDICT.value else step


def _ours(start, batch, conv_form):
  """The step in JAX from the same weights; it returns the loss."""
  model = models.MODELS[_MODEL.value](
    num_classes=3,
    conv_form=conv_form,
    dtype=jnp.bfloat16 if _BF16.value else jnp.float32,
  )
  params, batch_stats = models.init_variables(
    model, jax.random.key(0), _SIZE.value
  )
  shapes = {"params": params, "batch_stats": batch_stats}
  variables = jax.tree.map(jnp.array, torch_resnet.to_flax(start, shapes))
  # A constant rate, as the peer's: the schedule is not what is measured.
  tx = optim.OPTIMIZERS["sgd"](
    optax.constant_schedule(_LEARNING_RATE), weight_decay=0.0
  )
  if _PREDICT.value:
    return _our_prediction(models.make_apply_fn(model), variables, batch)
  state = init_state(variables["params"], variables["batch_stats"], tx)
  step = make_train_step(models.make_apply_fn(model), losses.cross_entropy, tx)

  def run():
    nonlocal state
    state, outputs = step(state, batch)
    return outputs["loss"]

  return run


def _our_prediction(apply_fn, variables, batch):
  """The loss of what the network says, as the peer's; nothing is learned."""

  @jax.jit
  def predict(variables, batch):
    logits, _ = apply_fn(
      variables["params"], variables["batch_stats"], batch["image"], train=False
    )
    return jnp.mean(losses.cross_entropy(logits, batch))

  return lambda: predict(variables, batch)


def _round(step):
  for _ in range(_STEPS.value):
    loss = step()
  float(loss)  # waits for the device


def main(arguments):
  """Gates, times and prints."""
  del arguments
  rng = np.random.default_rng(0)
  size, count = _SIZE.value, _BATCH.value
  image = rng.normal(size=(count, size, size, 3)).astype(np.float32)
  label = rng.integers(0, 3, count).astype(np.int32)
  batch = {
    "image": jnp.asarray(image),
    "label": jnp.asarray(label),
    "valid": jnp.ones(count),
    "id": jnp.arange(count),
  }
  device = "cuda" if torch.cuda.is_available() else "cpu"
  start, peer = _peer(image, label, device)
  steps = {"pytorch": peer, "gzjax": _ours(start, batch, "auto")}
  if _NATIVE.value:
    steps["nn.Conv"] = _ours(start, batch, "native")

  losses_of = {
    name: [float(step()) for _ in range(_GATE_STEPS)]
    for name, step in steps.items()
  }
  tolerance = 3e-2 if _BF16.value else 1e-3
  for name, values in losses_of.items():
    print(f"loss of {name}: {' '.join(f'{v:.6f}' for v in values)}")
    np.testing.assert_allclose(values, losses_of["pytorch"], rtol=tolerance)
  print(f"equal within {tolerance:g}: yes")

  rounds = timing.interleaved(
    {name: partial(_round, step) for name, step in steps.items()},
    _ROUNDS.value,
  )
  seconds = {name: values / _STEPS.value for name, values in rounds.items()}
  result = {
    "model": _MODEL.value,
    "what": "predict" if _PREDICT.value else "train step",
    "size": size,
    "batch_size": count,
    "device": jax.devices()[0].device_kind,
    "losses": losses_of,
  }
  for name, values in seconds.items():
    ratios = seconds["pytorch"] / values
    low, middle, high = np.percentile(ratios, [10, 50, 90])
    speed = count / np.median(values)
    result[name] = {"images_per_second": speed, "ratio": middle}
    print(
      f"{name:8} {speed:8.1f} images/s   {middle:.2f} x PyTorch "
      f"(rounds 10 to 90%: {low:.2f} to {high:.2f})"
    )
  if _OUTPUT.value:
    Path(_OUTPUT.value).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
  app.run(main)
