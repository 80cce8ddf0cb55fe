"""Pixels to network input on the device: one affine map, then normalisation."""

from functools import partial
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp


class Augmentation(NamedTuple):
  """How far a view may differ from the image; the defaults change nothing.

  A galaxy has no up and no left, so any rotation and both flips keep its class.
  """

  rotation: float = 0.0  # degrees; uniform in +-rotation, 180 is any angle
  flip: bool = False  # mirror half of the images
  zoom: float = 1.0  # at least 1; log-uniform in [1/zoom, zoom]
  shift: float = 0.0  # of the image size; uniform in +-shift along both axes


NO_AUGMENTATION = Augmentation()


class Normalisation(NamedTuple):
  """Mean and standard deviation of each channel; pixels count from 0 to 1."""

  mean: tuple[float, float, float]
  std: tuple[float, float, float]


# As in torchvision, so that pretrained weights fit.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# By name; "unit" leaves pixels of 0 to 255 between 0 and 1.
NORMALISATIONS = {
  "imagenet": IMAGENET,
  "unit": Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def normalise(
  image: jax.Array, normalisation: Normalisation = IMAGENET
) -> jax.Array:
  """u8[B,H,W,3] or f32 in 0..255 -> f32[B,H,W,3] of mean 0 and deviation 1."""
  mean, std = jnp.asarray(normalisation, jnp.float32)[:, None, None, None]
  return (image.astype(jnp.float32) / 255 - mean) / std


def random_affines(
  key: jax.Array, count: int, augmentation: Augmentation
) -> tuple[jax.Array, jax.Array]:
  """Draws (matrix f32[count,2,2], shift f32[count,2] in image sizes)."""

  def uniform(key, *shape):
    return jax.random.uniform(key, (count, *shape), minval=-1, maxval=1)

  keys = jax.random.split(key, 4)
  angle = jnp.deg2rad(augmentation.rotation) * uniform(keys[0])
  mirror = jnp.where(
    augmentation.flip & jax.random.bernoulli(keys[1], shape=(count,)), -1.0, 1.0
  )
  zoom = augmentation.zoom ** uniform(keys[2])
  shift = augmentation.shift * uniform(keys[3], 2)
  cos, sin = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
  matrix = jnp.stack(
    [jnp.stack([cos, -sin * mirror], -1), jnp.stack([sin, cos * mirror], -1)],
    axis=-2,
  )
  return matrix, shift


def warp(image: jax.Array, matrix: jax.Array, shift: jax.Array) -> jax.Array:
  """Resamples one image under an affine map about its centre, bilinearly.

  The output pixel at y (from the centre) shows the input at `matrix @ y +
  shift`, where f32[2,2] has rows (y, x) and f32[2] is in image sizes. Outside
  of the image its border is repeated, which for a galaxy is more sky.

  f32[H,W,C] -> f32[H,W,C]; exactly the image for the identity.
  """
  size = jnp.asarray(image.shape[:2], jnp.float32)
  centre = (size - 1) / 2
  grid = jnp.moveaxis(jnp.indices(image.shape[:2]), 0, -1)
  offset = grid - centre[None, None]
  source = jnp.sum(matrix[None, None] * offset[:, :, None, :], axis=-1)
  source = jnp.clip(
    source + (centre + shift * size)[None, None], 0, (size - 1)[None, None]
  )
  low = jnp.clip(jnp.floor(source), 0, (size - 2)[None, None]).astype(jnp.int32)
  part = source - low
  y, x = low[..., 0], low[..., 1]
  wy, wx = part[..., :1], part[..., 1:]
  top = image[y, x] * (1 - wx) + image[y, x + 1] * wx
  bottom = image[y + 1, x] * (1 - wx) + image[y + 1, x + 1] * wx
  return top * (1 - wy) + bottom * wy


def symmetry(image: jax.Array, number: jax.Array) -> jax.Array:
  """One of the square's symmetries: `number` quarter turns, mirrored from 4 on.

  [B,S,S,C] -> [B,S,S,C], exactly; the number i32[] is from 0 to 7.
  """
  turns = [partial(jnp.rot90, k=k, axes=(1, 2)) for k in range(4)]
  turned = lax.switch(number % 4, turns, image)
  return jnp.where(number < 4, turned, turned[:, :, ::-1])


def augment(
  key: jax.Array, image: jax.Array, augmentation: Augmentation
) -> jax.Array:
  """u8[B,H,W,3] -> f32[B,H,W,3] in 0..255: one random view of each image."""
  image = image.astype(jnp.float32)
  if augmentation == NO_AUGMENTATION:
    return image
  matrix, shift = random_affines(key, len(image), augmentation)
  return jax.vmap(warp)(image, matrix, shift)
