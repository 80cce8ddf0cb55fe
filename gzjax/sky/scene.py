"""What there is on the synthetic sky: galaxies, their light and their place."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
import numpy as np

CLASSES = ("smooth", "featured", "artifact")
_, _FEATURED, _ARTIFACT = range(3)
# Fields of a scene, in the order of Galaxy Zoo 2's answers.
ODD_FEATURES = (
  "ring",
  "lens",
  "disturbance",
  "clumps",
  "polar_ring",
  "companion",
  "dust_lane",
)
_CHUNK = 64  # galaxies that are drawn at once
_SKY_NOISE = 24.5  # mag/arcsec^2, in a pixel of the camera
_HUBBLE_LENGTH = 4283.0  # Mpc, for 70 km/s/Mpc
_EDGE = 5.8  # of a picture of a sharp galaxy, half-light radii


class Scene(NamedTuple):
  """What a picture shows; each field is f32[].

  Features have strengths: 0 is none, 1 is one that is hard to miss.
  """

  redshift: jax.Array
  radius: jax.Array  # half-light, along the major axis, kpc
  surface_brightness: jax.Array  # r, inside of the radius, mag/arcsec^2
  redness: jax.Array  # scatter of the colour, blue below 0
  seeing: jax.Array  # standard deviation of the blur by the air, arcsec
  axis_ratio: jax.Array  # as seen, of the disk or the spheroid
  bulge_fraction: jax.Array  # of the light seen face-on; 1: a spheroid
  sersic_index: jax.Array  # of the bulge
  boxiness: jax.Array  # of the bulge
  bar: jax.Array
  arms: jax.Array
  arm_count: jax.Array
  arm_pitch: jax.Array  # radians
  flocculence: jax.Array  # 1: arms that nobody can count
  # Odd features.
  ring: jax.Array
  lens: jax.Array
  disturbance: jax.Array
  clumps: jax.Array
  polar_ring: jax.Array
  companion: jax.Array  # flux relative to the galaxy
  dust_lane: jax.Array
  # Artifacts.
  star: jax.Array
  trail: jax.Array
  fault: jax.Array  # of the camera

  def odd_features(self) -> jax.Array:
    """Strengths in the order of Galaxy Zoo 2's answers, f32[7]."""
    return jnp.stack([getattr(self, name) for name in ODD_FEATURES])


class View(NamedTuple):
  """A scene as the telescope meets it; each field is f32[]."""

  radius: jax.Array  # arcsec
  brightness: jax.Array  # mean inside of the half-light ellipse, sky noise
  blur: jax.Array  # standard deviation, half-light radii
  edge: jax.Array  # of the picture, half-light radii


def sample_labels(
  seed: int, count: int, class_fractions: Sequence[float]
) -> np.ndarray:
  """i64[count] with exact class shares (rounded), in random order."""
  shares = np.cumsum(class_fractions) / np.sum(class_fractions)
  label = np.searchsorted(shares, (np.arange(count) + 0.5) / count)
  return np.random.default_rng(seed).permutation(label)


def sample_scene(key: jax.Array, label: ArrayLike) -> Scene:
  """Draws a scene of class `label` (i32[], an index of `CLASSES`)."""
  draw = Draws(key, 48)
  featured = (label == _FEATURED) | ((label == _ARTIFACT) & draw.bernoulli(0.3))
  redshift = 0.02 + 0.18 * draw.uniform() ** 1.3
  edge_on = featured & draw.bernoulli(0.2)
  odd = _sample_odd(draw, featured, edge_on)
  regular = odd["clumps"] == 0
  disk = featured & ~edge_on & regular
  spiral = disk & draw.bernoulli(0.85)
  barred = disk & (~spiral | draw.bernoulli(0.35))
  smooth_ratio = draw.uniform(0.25, 1.0)
  disk_ratio = jnp.where(
    edge_on, draw.uniform(0.1, 0.2), draw.uniform(0.4, 1.0)
  )
  return Scene(
    redshift=redshift,
    # Only bright galaxies, which are large ones, are seen from afar.
    radius=5.0 * (redshift / 0.08) ** 0.5 * jnp.exp(0.3 * draw.normal()),
    surface_brightness=jnp.where(featured, 20.5, 20.2)
    - jnp.where(edge_on, 0.6, 0.0)
    + 0.4 * draw.normal(),
    redness=0.08 * draw.normal() + jnp.where(featured, 0.0, 0.05),
    seeing=draw.uniform(0.45, 0.65),
    axis_ratio=jnp.where(featured, disk_ratio, smooth_ratio),
    bulge_fraction=jnp.where(featured, _sample_bulge(draw) * regular, 1.0),
    sersic_index=jnp.where(
      featured, draw.uniform(1.0, 3.0), draw.uniform(1.5, 4.5)
    ),
    boxiness=edge_on * draw.bernoulli(0.25) * draw.uniform(0.6, 1.0),
    bar=barred * draw.uniform(0.35, 1.0),
    arms=spiral * draw.uniform(0.35, 1.0),
    arm_count=draw.choice(
      (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), (0.08, 0.52, 0.16, 0.1, 0.08, 0.06)
    ),
    arm_pitch=draw.uniform(0.13, 0.6),
    flocculence=jnp.where(
      draw.bernoulli(0.25), draw.uniform(0.6, 1.0), draw.uniform(0.0, 0.3)
    ),
    **odd,
    **_sample_artifact(draw, label == _ARTIFACT),
  )


def observe(scene: Scene) -> View:
  """How large, bright and sharp the galaxy is from here.

  The distance is the second-order one of a flat universe with a matter density
  of 0.3; surfaces dim with (1 + z)^4 and, as their light is red, a little more.
  Pictures are cut out in proportion to the size that the blurred galaxy has,
  as those of Galaxy Zoo 2 are (Willett et al. 2013).
  """
  z = scene.redshift
  distance = _HUBBLE_LENGTH * z * (1 - 0.225 * z) / (1 + z)
  radius = jnp.rad2deg(scene.radius / (1000 * distance)) * 3600
  magnitude = scene.surface_brightness + 10 * jnp.log10(1 + z) + z
  blur = scene.seeing / radius
  return View(
    radius=radius,
    brightness=draw_flux(magnitude),
    blur=blur,
    edge=_EDGE * jnp.hypot(1.0, 1.5 * blur),
  )


@jax.jit
def sample_scenes(seed: int, index: ArrayLike, label: ArrayLike) -> Scene:
  """What the pictures of `render_batch` show, fields f32[B]."""
  return jax.vmap(sample_scene)(galaxy_keys(seed, index)[0], label)


def chunks(
  index: np.ndarray, label: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """Cuts i[N] arrays into (count, i32[64], i32[64]) for compiled programs.

  Every chunk has the full size, so that these compile once; of the last one
  only `count` galaxies are meant.
  """
  for start in range(0, len(index), _CHUNK):
    rows = np.arange(start, start + _CHUNK)
    yield (
      min(_CHUNK, len(index) - start),
      np.take(index, rows, mode="clip").astype(np.int32),
      np.take(label, rows, mode="clip").astype(np.int32),
    )


@partial(jax.vmap, in_axes=(None, 0), out_axes=1)
def galaxy_keys(seed: ArrayLike, index: ArrayLike) -> jax.Array:
  """Keys of the scenes, the pictures and the votes of B galaxies, [3,B]."""
  return jax.random.split(jax.random.fold_in(jax.random.key(seed), index), 3)


class Draws:
  """Draws from one key after another."""

  def __init__(self, key: jax.Array, count: int):
    self._keys = iter(jax.random.split(key, count))

  def uniform(self, low=0.0, high=1.0, shape=()):
    return jax.random.uniform(next(self._keys), shape, minval=low, maxval=high)

  def normal(self, shape=()):
    return jax.random.normal(next(self._keys), shape)

  def bernoulli(self, p):
    return jax.random.bernoulli(next(self._keys), p)

  def direction(self):
    angle = self.uniform(0.0, 2 * jnp.pi)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])

  def choice(self, values, shares):
    return jax.random.choice(
      next(self._keys), jnp.array(values), p=jnp.array(shares)
    )


def _sample_bulge(draw):
  """Share of the light: none, just noticeable, obvious or dominant."""
  low = draw.choice((0.0, 0.06, 0.2, 0.45), (0.2, 0.35, 0.35, 0.1))
  return low + draw.uniform(0.0, 0.5) * jnp.maximum(low, 0.04)


def _sample_odd(draw, featured, edge_on):
  """At most one odd feature: common in disks, rare in smooth galaxies."""
  shares = jnp.where(
    featured,
    jnp.array((0.06, 0.01, 0.06, 0.06, 0.015, 0.06, 0.0)),
    jnp.array((0.0, 0.015, 0.01, 0.0, 0.01, 0.04, 0.015)),
  )
  # Rings and clumps do not show from the edge; dust does.
  shares = jnp.where(
    edge_on, jnp.array((0.0, 0.01, 0.03, 0.0, 0.02, 0.04, 0.25)), shares
  )
  kind = jnp.sum(draw.uniform() > jnp.cumsum(shares))
  strength = draw.uniform(0.5, 1.0)
  return {name: strength * (kind == k) for k, name in enumerate(ODD_FEATURES)}


def _sample_artifact(draw, artifact):
  kind = draw.choice((0, 1, 2), (0.5, 0.25, 0.25))
  strength = draw.uniform(0.4, 1.0)
  return {
    name: strength * (artifact & (kind == k))
    for k, name in enumerate(("star", "trail", "fault"))
  }


def draw_flux(magnitude):
  """Magnitudes (per arcsec^2) to units of the noise of the sky."""
  return 10 ** (0.4 * (_SKY_NOISE - magnitude))
