"""Where methods start that make weights anew: `Row.start`.

(original, fresh parameters, layers, extras, **settings) -> parameters.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gzjax.types import PyTree


def last(layers: tuple[str, ...], k: int) -> tuple[str, ...]:
  """The k layers next to the output; all of them if there are fewer."""
  return layers[max(len(layers) - k, 0) :]


def reinitialise(
  original: PyTree,
  fresh: PyTree,
  layers: tuple[str, ...],
  extras: Mapping[str, PyTree],
  *,
  k: int,
  **_: Any,
) -> PyTree:
  """`original` with its last k layers as they were before training."""
  del extras
  return {**original, **{name: fresh[name] for name in last(layers, k)}}


def reinitialise_least_telling(
  original: PyTree,
  fresh: PyTree,
  layers: tuple[str, ...],
  extras: Mapping[str, PyTree],
  *,
  share: float,
  **_: Any,
) -> PyTree:
  """`original` with those entries as before training that `msg` forgets."""
  del layers

  @jax.jit  # one program, not some for each tensor
  def mixed(original, fresh, retain, forget):
    found = least_telling(retain, forget, share)
    return jax.tree.map(jnp.where, found, fresh, original)

  return mixed(original, fresh, extras["retain_saliency"], extras["saliency"])


def least_telling(retain: PyTree, forget: PyTree, share: float) -> PyTree:
  """Where the gradients differ least: of each convolution the `share`."""

  def least(r, f):
    size = jnp.abs(r - f)
    # Kernels of convolutions alone have four axes.
    if share == 0 or size.ndim != 4:
      return jnp.zeros(size.shape, bool)
    return size <= jnp.quantile(size, share)

  return jax.tree.map(least, retain, forget)
