"""Updates that are added as they are: dampening and noise."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gzjax.models import resnet
from gzjax.models.layers import TIED, shared_channels
from gzjax.types import PyTree
from gzjax.unlearning import transforms
from gzjax.unlearning.transforms import TINY, Transformation


def dampen_by_fisher(threshold: float, strength: float) -> Transformation:
  """Shrinks the weights that matter more to the forget set than to all.

  Selective Synaptic Dampening (Foster et al. 2024): where
  F_forget > threshold F_train, p becomes p min(strength F_train/F_forget, 1).
  With per-example Fishers the ratio never exceeds n_train / n_forget, so a
  threshold above that cannot act. An infinite threshold changes nothing.
  """
  return _dampen(lambda forget, train: threshold, strength)


def dampen_by_percentile(
  forget_share: float, scale: float = 1.0
) -> Transformation:
  """SSD that finds its own threshold (ASSD, Schoepf et al. 2024).

  strength is 1 and the threshold is the percentile
  100 - `scale` ln(1 + 100 s) of F_forget / F_train over all parameters, where s
  is `forget_share`, the part of the training set that is to be forgotten: 97.6
  for 10%. Parameters that no example depends on (0 / 0) have no ratio. (The
  authors rank by F_forget / F_retain, which orders the parameters in the same
  way, and have no `scale`; 0 dampens nothing.)
  """

  def threshold(forget_fisher, train_fisher):
    ratios = jax.tree.map(
      lambda forget, train: jnp.where(
        train > 0, forget / jnp.maximum(train, TINY), jnp.nan
      ).ravel(),
      forget_fisher,
      train_fisher,
    )
    rank = 1 - scale * jnp.log1p(100 * forget_share) / 100
    return jnp.nanquantile(jnp.concatenate(jax.tree.leaves(ratios)), rank)

  return _dampen(threshold, 1.0)


def _dampen(
  threshold_of: Callable[[PyTree, PyTree], Any], strength: float
) -> Transformation:
  def edit(updates, *, params, forget_fisher, train_fisher, **_):
    threshold = threshold_of(forget_fisher, train_fisher)

    def shrunk(u, p, forget, train):
      factor = jnp.minimum(strength * train / jnp.maximum(forget, TINY), 1)
      return u + p * jnp.where(forget > threshold * train, factor - 1, 0)

    return jax.tree.map(shrunk, updates, params, forget_fisher, train_fisher)

  return transforms.stateless(edit)


def drop_tied(
  layers: Sequence[str], shared: float, scale: float
) -> Transformation:
  """Takes out the channels that are tied to examples: p + s (p' - p).

  Those of `models.layers.tie`, for networks that were trained with them (Maini
  et al. 2023, `scale` s = 1): in p' the kernels that read these channels are 0
  there, and for the others (a + t) / a times as large, a = `shared` and t the
  share that each example had besides, so that as much is said as before. Of a
  network without such channels nothing changes.
  """
  reading = {
    f"{block}/{module}/kernel"
    for block in resnet.after_ties(layers)
    for module in ("conv1", "shortcut_conv")
  }

  def edit(updates, *, params, **_):
    def one(path, u, p):
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      if name not in reading:
        return u
      common = shared_channels(p.shape[2], shared)
      change = jnp.where(common, TIED / shared, -1)
      return u + scale * p * change[None, None, :, None]

    return jax.tree.map_with_path(one, updates, params)

  return transforms.stateless(edit)


class NoiseScale(NamedTuple):
  """The noise of Fisher Forgetting and what it is expected to do."""

  sigma: PyTree  # like params, f32: standard deviation of each parameter
  alpha: jax.Array  # f32[]: sigma^2 = alpha / (F + delta) before the cap
  effective_parameters: jax.Array  # f32[]: sum of F / (F + delta)
  capped: PyTree  # f32[] of each tensor: share of parameters at the cap
  predicted_loss: jax.Array  # f32[], nats: sum of F sigma^2 / 2, after the cap


def fisher_noise_scale(
  mean_fisher: PyTree,
  params: PyTree,
  *,
  budget: float,
  stabiliser: float,
  cap: float,
) -> NoiseScale:
  """How much noise each parameter gets for a loss budget.

  To second order, noise of variance sigma_i^2 raises the loss by
  sum_i F_i sigma_i^2 / 2. With sigma_i^2 = alpha / (F_i + delta) this is
  alpha P_eff / 2, where P_eff = sum_i F_i / (F_i + delta); so a budget of B
  nats means alpha = 2 B / P_eff (Golatkar et al. 2020 give alpha by hand: for
  a ResNet34 their 1e-6 is a budget of 10 nats).

  Where F is about 0 the quadratic law is void and alpha / F is huge; two
  guards keep the noise local. delta is relative, `stabiliser` times the mean
  of F in each tensor, and sigma is capped at `cap` times the tensor's root
  mean square. Tensors of one axis (BatchNorm, biases) get no noise. F is per
  example, f32 like params (see `gzjax.fisher.mean`).
  """

  def of_matrices(value):
    def one(f, p):
      found = value(f, p)
      return found if p.ndim > 1 else jnp.zeros_like(found)

    return jax.tree.map(one, mean_fisher, params)

  def delta(f):
    return jnp.maximum(stabiliser * jnp.mean(f), TINY)

  shares = of_matrices(lambda f, p: jnp.sum(f / (f + delta(f))))
  effective = jnp.asarray(optax.tree.sum(shares))
  alpha = 2 * budget / jnp.maximum(effective, 1)

  def free_sigma(f):
    return jnp.sqrt(alpha / (f + delta(f)))

  def limit(p):
    return cap * jnp.sqrt(jnp.mean(jnp.square(p)))

  sigma = of_matrices(lambda f, p: jnp.minimum(free_sigma(f), limit(p)))
  capped = of_matrices(lambda f, p: jnp.mean(free_sigma(f) > limit(p)))
  return NoiseScale(
    sigma, alpha, effective, capped, _predicted_loss(mean_fisher, sigma)
  )


def inject_noise(
  key: jax.Array, scale: Callable[[PyTree, PyTree], NoiseScale]
) -> Transformation:
  """Adds Gaussian noise of `scale(retain_fisher, params).sigma`.

  Fisher Forgetting (Golatkar, Achille and Soatto 2020): noise where the retain
  set does not feel it. Each draw folds the number of draws before in the key.
  """

  def edit(updates, *, count, params, retain_fisher, **_):
    sigma = scale(retain_fisher, params).sigma
    noise = optax.tree.random_like(jax.random.fold_in(key, count), params)
    return jax.tree.map(
      lambda u, s, n: u + (s * n).astype(u.dtype), updates, sigma, noise
    )

  return transforms.counting(edit)


def published_noise_scale(
  mean_fisher: PyTree, params: PyTree, *, noise_scale: float, stabiliser: float
) -> NoiseScale:
  """The noise of the preprint: sigma = noise_scale / sqrt(F + stabiliser).

  An absolute stabiliser, no budget, no cap, every tensor. Where F is far below
  the stabiliser (1e-8 there, and F so small nearly everywhere) sigma is
  noise_scale / sqrt(stabiliser) = 0.01 / 1e-4 = 100 for weights of 0.01 to
  0.06: isotropic noise in which the Fisher plays no part, and the network is
  destroyed.
  """
  sigma = jax.tree.map(
    lambda f: noise_scale * jax.lax.rsqrt(f + stabiliser), mean_fisher
  )
  effective = optax.tree.sum(
    jax.tree.map(lambda f: jnp.sum(f / (f + stabiliser)), mean_fisher)
  )
  return NoiseScale(
    sigma,
    jnp.square(jnp.asarray(noise_scale, jnp.float32)),
    jnp.asarray(effective),
    jax.tree.map(lambda p: jnp.zeros(()), params),
    _predicted_loss(mean_fisher, sigma),
  )


def _predicted_loss(mean_fisher, sigma):
  rises = jax.tree.map(lambda f, s: jnp.sum(f * s**2) / 2, mean_fisher, sigma)
  return jnp.asarray(optax.tree.sum(rises))
