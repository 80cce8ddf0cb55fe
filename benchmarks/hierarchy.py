"""Five CNNs, one for each question, against one with a shared backbone.

    python -m benchmarks.hierarchy

Interleaved seconds of a training step and of a prediction of the slides'
hierarchy (configs/decals_hierarchical.py and its :shared) on random images;
only the ratios mean something.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from benchmarks import report, timing
from gzjax import models
from gzjax.errors import UserError
from gzjax.morphology import campaigns
from gzjax.objectives import targets
from gzjax.training.step import init_state, make_train_step

_STEPS = 5  # at once, so that the clock's own time does not count


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Seconds of each round, after the gate."""
  tree = campaigns.hierarchy(campaigns.GZD_5)
  sizes = tuple(len(question.answers) for question in tree.questions)
  batch = _batch(options.batch_size, options.size, sum(sizes))
  runs = {}
  for name, networks in (("five", sizes), ("shared", ())):
    model = models.MODELS["cnn"](
      num_classes=sum(sizes), width=options.width, networks=networks
    )
    if networks:
      _gate(model, batch, options)
    runs |= _runs(name, model, tree, batch, options.size)
  for run in runs.values():
    run()  # compiles
  seconds = timing.interleaved(runs, options.rounds)
  ratios = {
    what: seconds[f"{what}, five"] / seconds[f"{what}, shared"]
    for what in ("training step", "prediction")
  }
  settings = {k: getattr(options, k) for k in ("size", "batch_size", "width")}
  return {**settings, "five_over_shared": ratios, "seconds": seconds}


def _gate(model, batch, options) -> None:
  """Each of the five says what it says without the others.

  Raises:
    UserError: if one does not.
  """
  variables = models.init_variables(model, jax.random.key(0), options.size)
  said = models.make_apply_fn(model)(*variables, batch["image"], train=False)[0]
  start = 0
  for i, count in enumerate(model.networks):
    alone = models.MODELS["cnn"](num_classes=count, width=options.width)
    own = {name: layer[f"net{i}"] for name, layer in variables[0].items()}
    logits, _ = models.make_apply_fn(alone)(
      own, {}, batch["image"], train=False
    )
    part = said[:, start : start + count]
    start += count
    if not np.allclose(part, logits, atol=1e-4):
      raise UserError(f"network {i} differs among the five: no speed.")
  print("each of the five answers as it does alone: yes")


def show(found: dict[str, Any]) -> None:
  """Prints the ratios."""
  for what, ratio in found["five_over_shared"].items():
    print(
      f"{what}: five networks take {np.median(ratio):.2f} x the time of the "
      f"shared one (rounds: {ratio.min():.2f} to {ratio.max():.2f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
  """Gates, times, prints and writes."""
  parser = report.parser(__doc__, "the result, .json")
  parser.add_argument("--size", type=int, default=64, help="pixels")
  parser.add_argument("--batch_size", type=int, default=32)
  parser.add_argument("--width", type=float, default=0.5)
  parser.add_argument("--rounds", type=int, default=15)
  options = parser.parse_args(arguments)
  report.end(partial(measure, options), show, options.out)


def _batch(count, size, answers):
  rng = np.random.default_rng(0)
  return {
    "image": rng.normal(size=(count, size, size, 3)).astype(np.float32),
    "votes": rng.integers(0, 2, (count, answers)).astype(np.float32),
    "valid": np.ones(count, np.float32),
    "id": np.arange(count, dtype=np.int32),
    "key": jax.random.key(1),
  }


def _runs(name, model, tree, batch, size):
  apply_fn = models.make_apply_fn(model)
  params, batch_stats = models.init_variables(model, jax.random.key(0), size)
  tx = optax.adam(1e-4)
  target = targets.answers(tree, (0, 1, 2), expects_fractions=False)
  step = make_train_step(apply_fn, target.objective, tx)
  predict = models.make_predict_step(apply_fn)
  # Steps donate their state; predictions keep parameters of their own.
  kept = jax.tree.map(jax.numpy.copy, params)
  state = init_state(params, batch_stats, tx)

  def train():
    nonlocal state
    for _ in range(_STEPS):
      state, _ = step(state, batch)
    jax.block_until_ready(state)

  def ask():
    for _ in range(_STEPS):
      logits = predict(kept, batch_stats, batch)
    jax.block_until_ready(logits)

  return {f"training step, {name}": train, f"prediction, {name}": ask}


if __name__ == "__main__":
  main()
