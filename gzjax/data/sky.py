"""A synthetic sky: galaxies and artifacts as SDSS would picture them.

Parameters are drawn first (`sample_scenes`), pictures second (`render`), both
as pure functions of a key, so that the truth behind each picture is known.
Fluxes are in units of the sky noise of one pixel.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CLASSES = ("smooth", "featured", "artifact")
_SMOOTH, _FEATURED, _ARTIFACT = range(3)

# Brightness in (i, r, g), shown as (red, green, blue).
_OLD_STARS = (1.25, 1.0, 0.6)
_DISK_STARS = (1.0, 1.0, 0.85)
_YOUNG_STARS = (0.75, 1.0, 1.3)


class Scene(NamedTuple):
  """What one picture shows. Lengths are shares of the image edge."""

  flux: jax.Array  # f32[], in sky noise of a pixel
  centre: jax.Array  # f32[2], from the middle
  angle: jax.Array  # f32[], position angle, radians
  radius: jax.Array  # f32[], half-light radius
  bulge_fraction: jax.Array  # f32[], of the flux; 1 is a spheroid
  bulge_radius: jax.Array  # f32[], half-light radius
  sersic_index: jax.Array  # f32[], of the bulge
  bulge_axis_ratio: jax.Array  # f32[]
  disk_axis_ratio: jax.Array  # f32[], cos(inclination), thickened
  arm_count: jax.Array  # f32[]
  arm_strength: jax.Array  # f32[], 0 to 1, contrast
  arm_pitch: jax.Array  # f32[], radians
  arm_phase: jax.Array  # f32[], radians
  bar_strength: jax.Array  # f32[], flux relative to the disk
  star_flux: jax.Array  # f32[], of a saturated star in the middle
  trail_flux: jax.Array  # f32[], of a satellite trail, per pixel
  neighbour: jax.Array  # f32[3], y, x, flux of a star in the field
  redness: jax.Array  # f32[], scatter of the colour, blue below 0
  psf: jax.Array  # f32[], standard deviation


def sample_labels(
  seed: int, count: int, class_fractions: Sequence[float]
) -> np.ndarray:
  """i64[count] with exact class shares (rounded), in random order."""
  shares = np.cumsum(class_fractions) / np.sum(class_fractions)
  label = np.searchsorted(shares, (np.arange(count) + 0.5) / count)
  return np.random.default_rng(seed).permutation(label)


def sample_scene(key: jax.Array, label: jax.Array) -> Scene:
  """Draws a scene of class `label` (i32[], an index of `CLASSES`)."""
  names = Scene._fields
  keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))

  def uniform(name, low, high, shape=()):
    return jax.random.uniform(keys[name], shape, minval=low, maxval=high)

  featured = label == _FEATURED
  artifact = label == _ARTIFACT
  edge_on = jax.random.bernoulli(keys["disk_axis_ratio"], 0.2)
  star = jax.random.bernoulli(keys["star_flux"], 0.6)
  flux = jnp.exp(uniform("flux", 5.8, 8.3))
  radius = uniform("radius", 0.09, 0.17) * jnp.where(featured, 1.3, 1.0)
  return Scene(
    flux=jnp.where(artifact & star, 0.1, 1.0) * flux,
    centre=uniform("centre", -0.02, 0.02, (2,)),
    angle=uniform("angle", 0.0, 2 * jnp.pi),
    radius=radius,
    bulge_fraction=jnp.where(
      featured, uniform("bulge_fraction", 0.05, 0.4), 1.0
    ),
    bulge_radius=radius
    * jnp.where(featured, uniform("bulge_radius", 0.15, 0.35), 1.0),
    sersic_index=uniform("sersic_index", 1.5, 4.5),
    bulge_axis_ratio=jnp.where(
      featured, 0.85, uniform("bulge_axis_ratio", 0.4, 1.0)
    ),
    disk_axis_ratio=jnp.where(
      edge_on,
      uniform("neighbour", 0.1, 0.2),
      uniform("radius", 0.45, 1.0),
    ),
    arm_count=jax.random.choice(
      keys["arm_count"],
      jnp.array([2.0, 3.0, 4.0]),
      p=jnp.array([0.6, 0.3, 0.1]),
    ),
    arm_strength=jnp.where(edge_on, 0.0, uniform("arm_strength", 0.3, 1.0)),
    arm_pitch=uniform("arm_pitch", 0.2, 0.55),
    arm_phase=uniform("arm_phase", 0.0, 2 * jnp.pi),
    bar_strength=jnp.where(
      jax.random.bernoulli(keys["bar_strength"], 0.35) & ~edge_on,
      uniform("bar_strength", 0.1, 0.3),
      0.0,
    ),
    star_flux=jnp.where(
      artifact & star, jnp.exp(uniform("star_flux", 8.5, 10.5)), 0.0
    ),
    trail_flux=jnp.where(
      artifact & ~star, uniform("trail_flux", 10.0, 80.0), 0.0
    ),
    neighbour=jnp.concatenate(
      [
        uniform("neighbour", -0.45, 0.45, (2,)),
        jnp.exp(uniform("psf", 2.0, 6.0, (1,))),
      ]
    ),
    redness=uniform("redness", -0.2, 0.2),
    psf=uniform("psf", 0.012, 0.02),
  )


def render(key: jax.Array, scene: Scene, size: int) -> jax.Array:
  """One picture of size x size pixels, u8[size,size,3]; `key` is the noise."""
  light = _blur(_light(scene, size), scene.psf)
  light = light + _point_sources(scene, size)
  # Photon noise of the sources beside that of the sky (1 by definition); at
  # hundreds of photons a pixel the Poisson law is a normal one.
  gain = 4.0
  noise = jnp.sqrt(1 + jnp.maximum(light, 0) / gain)
  light = light + noise * jax.random.normal(key, light.shape)
  return _stretch(light)


@partial(jax.jit, static_argnames="size")
def render_batch(
  seed: jax.Array, index: jax.Array, label: jax.Array, size: int
) -> jax.Array:
  """Pictures i of a sky: u8[B,size,size,3], a function of (seed, i, label).

  Args:
    seed: i32[], names the sky.
    index: i32[B], number of each picture in the sky.
    label: i32[B], indices of `CLASSES`.
    size: edge in pixels.
  """

  def one(i, k):
    key = jax.random.fold_in(jax.random.key(seed), i)
    scene_key, noise_key = jax.random.split(key)
    return render(noise_key, sample_scene(scene_key, k), size)

  return jax.vmap(one)(index, label)


def _grid(size):
  """(y, x) of the pixel centres from the middle, in image edges."""
  axis = (jnp.arange(size) + 0.5) / size - 0.5
  return jnp.meshgrid(axis, axis, indexing="ij")


def _profile(light, flux):
  return flux * light / jnp.sum(light)


def _light(scene, size):
  """Bulge, disk, arms and bar before the atmosphere, f32[size,size,3]."""
  y, x = _grid(size)
  y, x = y - scene.centre[0], x - scene.centre[1]
  cos, sin = jnp.cos(scene.angle), jnp.sin(scene.angle)
  along, across = x * cos + y * sin, y * cos - x * sin

  bulge_r = jnp.hypot(along, across / scene.bulge_axis_ratio)
  bulge = _profile(
    _sersic(bulge_r, scene.bulge_radius, scene.sersic_index, 0.5 / size),
    scene.flux * scene.bulge_fraction,
  )

  deprojected = across / scene.disk_axis_ratio
  r = jnp.hypot(along, deprojected) + 1e-6
  azimuth = jnp.arctan2(deprojected, along)
  scale = scene.radius / 1.678  # half-light radius of an exponential
  winding = jnp.log(r / scale) / jnp.tan(scene.arm_pitch)
  wave = jnp.cos(scene.arm_count * (azimuth - winding) + scene.arm_phase)
  arms = scene.arm_strength * (0.5 + 0.5 * wave) ** 2
  # Arms begin outside of the bulge, or of the bar.
  arms = arms * jax.nn.sigmoid((r / scale - 0.9) * 6)
  disk = jnp.exp(-r / scale)
  bar = jnp.exp(
    -((along / (1.3 * scale)) ** 4) - (deprojected / (0.35 * scale)) ** 2
  )
  disk_flux = scene.flux * (1 - scene.bulge_fraction)
  dim = 1 - 0.6 * scene.arm_strength
  total = jnp.sum(disk * (dim + 3 * arms))

  def component(light, colour):
    return light[:, :, None] * jnp.asarray(colour)[None, None]

  tint = jnp.asarray((1.0, 0.0, -1.0)) * scene.redness + 1
  galaxy = (
    component(bulge, _OLD_STARS)
    + component(disk_flux * disk * dim / total, _DISK_STARS)
    + component(disk_flux * disk * 3 * arms / total, _YOUNG_STARS)
    + component(_profile(bar, disk_flux * scene.bar_strength), _OLD_STARS)
  )
  return galaxy * tint[None, None]


def _sersic(r, half_light_radius, index, softening):
  """Sersic (1963) profile; b_n by Ciotti and Bertin (1999), two terms."""
  b = 2 * index - 1 / 3 + 4 / (405 * index)
  r = jnp.hypot(r, softening)  # the mean over the central pixel is finite
  return jnp.exp(-b * ((r / half_light_radius) ** (1 / index) - 1))


def _point_sources(scene, size):
  """A field star, a saturated star with spikes, a satellite trail."""
  y, x = _grid(size)
  field = scene.neighbour[2] * _spot(
    y - scene.neighbour[0], x - scene.neighbour[1], scene.psf
  )
  y, x = y - scene.centre[0], x - scene.centre[1]
  r = jnp.hypot(y, x)
  width = 0.012
  spikes = jnp.exp(-jnp.abs(x) / 0.12) * jnp.exp(-((y / width) ** 2))
  spikes += jnp.exp(-jnp.abs(y) / 0.12) * jnp.exp(-((x / width) ** 2))
  halo = 1 / (1 + (r / 0.03) ** 2) ** 1.5
  star = scene.star_flux * (
    _spot(y, x, 2 * scene.psf) + 0.002 * (halo + spikes)
  )
  across = y * jnp.cos(scene.angle) - x * jnp.sin(scene.angle)
  trail = scene.trail_flux * jnp.exp(-((across / 0.012) ** 2) / 2)
  white = field + star + trail
  return white[:, :, None] * jnp.ones((1, 1, 3))


def _spot(y, x, sigma):
  return _profile(jnp.exp(-(y**2 + x**2) / (2 * sigma**2)) + 1e-12, 1.0)


def _blur(light, sigma):
  """Convolves with a Gaussian of `sigma` image edges, by the Fourier law."""
  size = light.shape[0]
  fy = jnp.fft.fftfreq(size)[:, None] * size
  fx = jnp.fft.rfftfreq(size)[None, :] * size
  transfer = jnp.exp(-2 * (jnp.pi * sigma) ** 2 * (fy**2 + fx**2))
  spectrum = jnp.fft.rfft2(light, axes=(0, 1)) * transfer[:, :, None]
  return jnp.fft.irfft2(spectrum, s=light.shape[:2], axes=(0, 1))


def _stretch(light):
  """Lupton et al. (2004): asinh of the mean, colours kept; u8."""
  mean = jnp.mean(light, axis=-1, keepdims=True)
  softening, white = 2.5, 50.0
  bright = jnp.arcsinh(jnp.maximum(mean, 0) / softening) / jnp.arcsinh(
    white / softening
  )
  rgb = light * bright / jnp.maximum(mean, 1e-3)
  rgb = rgb / jnp.maximum(jnp.max(rgb, axis=-1, keepdims=True), 1)
  return (255 * jnp.clip(rgb, 0, 1)).astype(jnp.uint8)
