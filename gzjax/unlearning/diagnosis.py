"""What a method did to a network, in numbers."""

from typing import Any

import jax
import numpy as np

from gzjax.types import PyTree
from gzjax.unlearning import edits


def noise_report(
  params: PyTree, mean_fisher: PyTree, scale: edits.NoiseScale
) -> dict[str, Any]:
  """What noise does to a network, tensor by tensor; for health.json.

  `noise_over_weight` is a ratio of root mean squares, `zero_fisher` the share
  of parameters with F == 0, `at_cap` the share whose noise was capped.
  """

  def rms(x):
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))

  tensors = {}
  for (path, weight), sigma, f, capped in zip(
    jax.tree.leaves_with_path(params),
    *map(jax.tree.leaves, (scale.sigma, mean_fisher, scale.capped)),
    strict=True,
  ):
    if not np.any(np.asarray(sigma)):
      continue
    tensors[jax.tree_util.keystr(path, simple=True, separator="/")] = {
      "noise_over_weight": rms(sigma) / max(rms(weight), 1e-12),
      "zero_fisher": float(np.mean(np.asarray(f) == 0)),
      "at_cap": float(capped),
      "size": int(np.size(weight)),
    }
  sizes = np.array([t["size"] for t in tensors.values()])

  def average(name):
    values = np.array([t[name] for t in tensors.values()])
    return float(np.average(values, weights=sizes)) if len(sizes) else 0.0

  return {
    "alpha": float(scale.alpha),
    "effective_parameters": float(scale.effective_parameters),
    "parameters": sum(np.size(p) for p in jax.tree.leaves(params)),
    "predicted_loss_change": float(scale.predicted_loss),
    "noise_over_weight": average("noise_over_weight"),
    "zero_fisher": average("zero_fisher"),
    "at_cap": average("at_cap"),
    "layers": tensors,
  }
