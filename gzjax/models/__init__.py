"""Networks; the only modules that import flax."""

import jax
import jax.numpy as jnp

from gzjax.models.resnet import RESNETS
from gzjax.types import ApplyFn, PyTree

MODELS = dict(RESNETS)


def make_apply_fn(model) -> ApplyFn:
  """The pure function of a flax.linen module with `__call__(image, train)`."""

  def apply_fn(params, batch_stats, image, *, train):
    variables = {"params": params, "batch_stats": batch_stats}
    if not train:
      return model.apply(variables, image, train=False), batch_stats
    logits, updated = model.apply(
      variables, image, train=True, mutable=["batch_stats"]
    )
    return logits, updated["batch_stats"]

  return apply_fn


def init_variables(model, key: jax.Array, size: int) -> tuple[PyTree, PyTree]:
  """Fresh (params, batch_stats) for images of size x size pixels."""
  image = jnp.zeros((1, size, size, 3))
  variables = jax.jit(model.init, static_argnames="train")(
    key, image, train=False
  )
  return variables["params"], variables.get("batch_stats", {})
