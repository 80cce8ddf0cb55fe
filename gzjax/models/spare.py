"""Spare channels beside the convolutions of any linen network.

Room for what single examples need and the network itself should not hold: each
example has some of the channels, the network without any of them is what stays.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gzjax.models import layers
from gzjax.types import ApplyFn, PyTree


def init(params: PyTree, key: jax.Array, share: float) -> dict[str, PyTree]:
  """Spare channels of each convolution of `params`, by its path.

  `down` f32[h,w,C,S] sees what the convolution sees, `up` f32[S,K] adds to what
  it says, 0 at first; S is `share` times K, at least 1. Depthwise convolutions
  have none.
  """
  found = {}
  for path, kernel in jax.tree.leaves_with_path(params):
    if kernel.ndim != 4 or kernel.shape[2] == 1:
      continue
    *pixels, inputs, outputs = kernel.shape
    spare = max(1, round(share * outputs))
    name = jax.tree_util.keystr(path[:-1], simple=True, separator="/")
    own_key = jax.random.fold_in(key, len(found))
    found[name] = {
      "down": nn.initializers.he_normal()(own_key, (*pixels, inputs, spare)),
      "up": jnp.zeros((spare, outputs)),
    }
  return found


def beside(
  apply_fn: ApplyFn, on: float
) -> Callable[..., tuple[jax.Array, PyTree]]:
  """The function of a network with its spare channels.

  It takes (params, spare) for params, and `example` i32[B]: each has a share
  `on` of the channels, always the same, those with one number the same ones.
  """

  def with_spare(both, batch_stats, image, *, example, **mode):
    params, spare = both
    place = {name: number for number, name in enumerate(sorted(spare))}

    def add(call, args, settings, context):
      said, name = call(*args, **settings), "/".join(context.module.path)
      if name not in spare:
        return said
      own = spare[name]
      channels = own["up"].shape[0]
      narrow = context.module.clone(
        parent=None, name=None, features=channels, use_bias=False
      )
      seen = nn.relu(narrow.apply({"params": {"kernel": own["down"]}}, args[0]))
      has = layers.own_channels(example, place[name], on, channels)
      seen *= has.astype(seen.dtype)[:, None, None]
      return said + seen @ own["up"].astype(seen.dtype)

    with nn.intercept_methods(add):
      return apply_fn(params, batch_stats, image, **mode)

  return with_spare
