"""Networks; the only modules that import flax."""

import inspect
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gzjax.models.cnn import CNN
from gzjax.models.efficientnet import EFFICIENTNETS
from gzjax.models.resnet import RESNETS
from gzjax.types import ApplyFn, PyTree

CNNS = {"cnn": CNN}
MODELS = RESNETS | EFFICIENTNETS | CNNS


def make_apply_fn(model: Any) -> ApplyFn:
  """A linen module, `__call__(image)` or `(image, train)`, as a function.

  In training its random stream "dropout" comes from the key, if there is one.
  """
  takes_train = _takes_train(model)

  def apply_fn(params, batch_stats, image, *, train, key=None):
    variables = {"params": params, "batch_stats": batch_stats}
    mode = {"train": train} if takes_train else {}
    if not train:
      return model.apply(variables, image, **mode), batch_stats
    rngs = {} if key is None else {"dropout": key}
    logits, updated = model.apply(
      variables, image, **mode, mutable=["batch_stats"], rngs=rngs
    )
    return logits, updated.get("batch_stats", batch_stats)

  return apply_fn


def _takes_train(model: Any) -> bool:
  return "train" in inspect.signature(type(model).__call__).parameters


def as_apply_fn(model: Any) -> ApplyFn:
  """An `ApplyFn` as it is, or that of a flax.linen module."""
  return make_apply_fn(model) if isinstance(model, nn.Module) else model


def depth_order(params: PyTree) -> tuple[str, ...]:
  """The names of a network's layers, from the input to the output.

  By the names that all our models use: `stem...`, then the blocks by their
  numbers, then `head_...` and last `head`, the one with the logits. A layer is
  an entry at the top of `params`, be it of one network or of several side by
  side.
  """

  def place(name):
    numbers = tuple(int(digits) for digits in re.findall(r"\d+", name))
    return (
      name == "head",
      name.startswith("head"),
      not name.startswith("stem"),
      numbers,
      name,
    )

  return tuple(sorted(params, key=place))


def init_variables(model, key: jax.Array, size: int) -> tuple[PyTree, PyTree]:
  """Fresh (params, batch_stats) for images of size x size pixels."""
  image = jnp.zeros((1, size, size, 3))
  mode = {"train": False} if _takes_train(model) else {}
  variables = jax.jit(lambda key: model.init(key, image, **mode))(key)
  return variables["params"], variables.get("batch_stats", {})
