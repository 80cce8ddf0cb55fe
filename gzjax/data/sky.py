"""A synthetic sky: galaxies and artifacts as SDSS would picture them.

Parameters are drawn first (`sample_scene`), pictures second (`render`), both
as pure functions of a key, so that the truth behind each picture is known.
Every answer of Galaxy Zoo 2's tree is a parameter of the scene.

Lengths in a picture are in half-light radii of its galaxy, and surface
brightness is in units of the noise of the sky in one pixel of the camera.
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
_OLD_STARS = (1.2, 1.0, 0.69)
_DISK_STARS = (1.08, 1.0, 0.84)
_YOUNG_STARS = (0.95, 0.94, 1.15)
_LENSED = (0.5, 0.8, 1.5)
# Of dust: it lets red light pass more easily.
_OPACITY = (0.6, 1.0, 1.4)

_CAMERA_PIXEL = 0.396  # arcsec
_SKY_NOISE = 24.5  # mag/arcsec^2, in a pixel of the camera
_HUBBLE_LENGTH = 4283.0  # Mpc, for 70 km/s/Mpc
_EDGE = 6.5  # of a picture of a sharp galaxy, half-light radii
_FULL_WELL = 2500.0  # brightness at which a pixel of the camera is full
_GAIN = 27.5  # photons for one unit of brightness
_SCALES = 1.678  # scale lengths in a half-light radius, exponential disk


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
  bulge_fraction: jax.Array  # of the light; 1 is a spheroid
  sersic_index: jax.Array  # of the bulge
  boxiness: jax.Array  # of the bulge
  bar: jax.Array
  arms: jax.Array
  arm_count: jax.Array
  arm_pitch: jax.Array  # radians
  flocculence: jax.Array  # 1: arms that nobody can count
  # The odd features, in the order of Galaxy Zoo 2's answers.
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
    first = self._fields.index("ring")
    return jnp.stack(self[first : first + 7])


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


def sample_scene(key: jax.Array, label: jax.Array) -> Scene:
  """Draws a scene of class `label` (i32[], an index of `CLASSES`)."""
  draw = _Draws(key, 48)
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
  as those of Galaxy Zoo 2 are (Willett et al. 2013, section 2.2).
  """
  z = scene.redshift
  distance = _HUBBLE_LENGTH * z * (1 - 0.225 * z) / (1 + z)
  radius = jnp.rad2deg(scene.radius / (1000 * distance)) * 3600
  magnitude = scene.surface_brightness + 10 * jnp.log10(1 + z) + z
  blur = scene.seeing / radius
  return View(
    radius=radius,
    brightness=_flux(magnitude),
    blur=blur,
    edge=_EDGE * jnp.hypot(1.0, 1.5 * blur),
  )


def render(
  key: jax.Array, scene: Scene, size: int, field: float = 1.0
) -> jax.Array:
  """One picture, u8[size,size,3].

  Args:
    key: of all that nobody is asked about: noise, angles, other sources.
    scene: what to show.
    size: edge in pixels.
    field: edge in units of the usual one, up to 2; the cut-outs of the Kaggle
      challenge have 2, their middles 1.
  """
  view = observe(scene)
  pixel = field * view.edge / size
  galaxy_key, field_key, fault_key, noise_key = jax.random.split(key, 4)
  axis = (jnp.arange(size) + 0.5 - size / 2) * pixel
  light = _galaxy(galaxy_key, scene, view, axis)
  light = _blur(light, view.blur / pixel)
  light += _field_sources(field_key, view, axis)
  light += _artifacts(fault_key, scene, view, axis)
  light += _noise(noise_key, light, view, pixel)
  light = jnp.minimum(light, _FULL_WELL)
  return _stretch(light + 0.5)  # the sky is never quite subtracted


@partial(jax.jit, static_argnames=("size", "field"))
def render_batch(
  seed: jax.Array,
  index: jax.Array,
  label: jax.Array,
  size: int,
  field: float = 1.0,
) -> jax.Array:
  """Pictures i of a sky: u8[B,size,size,3], a function of (seed, i, label).

  Args:
    seed: i32[], names the sky.
    index: i32[B], number of each picture in the sky.
    label: i32[B], indices of `CLASSES`.
    size: edge in pixels.
    field: see `render`.
  """

  def one(i, k):
    scene_key, picture_key, _ = galaxy_keys(seed, i)
    return render(picture_key, sample_scene(scene_key, k), size, field)

  return jax.vmap(one)(index, label)


def galaxy_keys(seed: jax.Array, index: jax.Array) -> jax.Array:
  """Keys of the scene, the picture and the votes of galaxy `index`, [3]."""
  return jax.random.split(jax.random.fold_in(jax.random.key(seed), index), 3)


class _Draws:
  """Draws from one key after another."""

  def __init__(self, key: jax.Array, count: int):
    self._keys = iter(jax.random.split(key, count))

  def uniform(self, low=0.0, high=1.0, shape=()):
    return jax.random.uniform(next(self._keys), shape, minval=low, maxval=high)

  def normal(self, shape=()):
    return jax.random.normal(next(self._keys), shape)

  def bernoulli(self, p):
    return jax.random.bernoulli(next(self._keys), p)

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
  first = Scene._fields.index("ring")
  return {
    name: strength * (kind == k)
    for k, name in enumerate(Scene._fields[first : first + 7])
  }


def _sample_artifact(draw, artifact):
  kind = draw.choice((0, 1, 2), (0.5, 0.25, 0.25))
  strength = draw.uniform(0.4, 1.0)
  return {
    name: strength * (artifact & (kind == k))
    for k, name in enumerate(("star", "trail", "fault"))
  }


def _flux(magnitude):
  """Magnitudes (per arcsec^2) to units of the noise of the sky."""
  return 10 ** (0.4 * (_SKY_NOISE - magnitude))


def _galaxy(key, scene, view, axis):
  """The galaxy above the atmosphere, f32[3,size,size]."""
  draw = _Draws(key, 16)
  y = axis[:, None] - 0.1 * draw.normal()
  x = axis[None, :] - 0.1 * draw.normal()
  along, across = _rotate(y, x, draw.uniform(0.0, 2 * jnp.pi))
  # The light in an ellipse of unit mean brightness inside of its half-light.
  flux = 2 * jnp.pi * scene.axis_ratio
  soft = 0.4 * (axis[1] - axis[0])  # the mean over a central pixel is finite
  bulge = flux * scene.bulge_fraction * _bulge(scene, along, across, soft)
  u, v = _rotate(
    across / scene.axis_ratio, along, draw.uniform(0.0, 2 * jnp.pi)
  )
  disk, arms, old = _disk(draw, scene, u, v)
  other = _companion(draw, scene, y, x, soft) * flux
  lensed = _arc(draw, y, x) * scene.lens
  polar = (
    0.8 * scene.polar_ring * _ridge(jnp.hypot(across, along / 0.25) - 1.8, 0.25)
  )
  populations = jnp.stack(
    [bulge + old + 0.6 * other, disk + 0.4 * other + polar, arms, lensed]
  )
  colours = jnp.array((_OLD_STARS, _DISK_STARS, _YOUNG_STARS, _LENSED))
  colours *= 1 + scene.redness * jnp.array([[1.0, 0.0, -1.0]])
  light = jnp.einsum("pc,pyx->cyx", colours, populations)
  depth = 2.2 * scene.dust_lane * _ridge(across - 0.05, 0.1)
  depth *= jnp.exp(-((along / 1.8) ** 2))
  opacity = jnp.array(_OPACITY)[:, None, None]
  return view.brightness * light * jnp.exp(-opacity * depth[None])


def _rotate(y, x, angle):
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return x * cos + y * sin, y * cos - x * sin


def _ridge(distance, width):
  return jnp.exp(-((distance / width) ** 2))


def _bulge(scene, along, across, soft):
  """A spheroid of unit flux: an ellipse, or the box of a bar seen edge-on."""
  # Bulges of disks are rounder than the disks, and small.
  whole = scene.bulge_fraction**2
  ratio = scene.axis_ratio * whole + (1 - whole) * jnp.maximum(
    scene.axis_ratio, 0.75
  )
  power = 2 + 3 * scene.boxiness
  y = jnp.hypot(across / ratio, soft)
  x = jnp.hypot(along, soft)
  r = (x**power + y**power) ** (1 / power)
  return _sersic(r, 0.12 + 0.88 * whole, scene.sersic_index) / ratio


def _sersic(r, radius, index):
  """Sersic (1963) profile of unit flux; `r` in the units of `radius`.

  b_n by Ciotti and Bertin (1999), two terms.
  """
  b = 2 * index - 1 / 3 + 4 / (405 * index)
  log_flux = (
    jnp.log(2 * jnp.pi * index)
    + jax.scipy.special.gammaln(2 * index)
    - 2 * index * jnp.log(b)
  )
  peak = jnp.exp(-log_flux) / radius**2
  return peak * jnp.exp(-b * (r / radius) ** (1 / index))


def _disk(draw, scene, u, v):
  """Disk, arms and bar in the plane (u, v): three maps.

  A disk without features has mean brightness 1 inside of its half-light
  radius.
  """
  azimuth = jnp.arctan2(v, u)
  wild = jnp.maximum(scene.disturbance, 0.7 * scene.clumps)
  side = draw.uniform(0.0, 2 * jnp.pi)
  lopsided = 1 + 0.35 * wild * jnp.cos(azimuth - side)
  r = jnp.hypot(u, v) * lopsided + 1e-3
  centre = _SCALES**2 * (1 - scene.bulge_fraction)
  disk = centre * jnp.exp(-_SCALES * r)
  wave = scene.arms * _arm_wave(draw, scene, r, azimuth)
  clumps = scene.clumps * _clumps(draw, u, v)
  tail = scene.disturbance + 0.5 * jnp.minimum(2 * scene.companion, 1)
  young = (
    2.4 * disk * wave
    + centre * (clumps + 0.12 * tail * _tail(r, azimuth - side))
    + centre * 0.3 * scene.ring * _ridge(r - 1.4, 0.2)
  )
  calm = disk * (1 - 0.6 * scene.arms) * (1 - 0.7 * scene.clumps)
  bar = 0.7 * scene.bar * centre * jnp.exp(-((u / 0.75) ** 4) - (v / 0.2) ** 2)
  return calm, young, bar


def _arm_wave(draw, scene, r, azimuth):
  """Logarithmic spirals, with waves of all kinds where they are flocculent."""
  winding = jnp.log(r / 0.75) / jnp.tan(scene.arm_pitch)
  phase = azimuth - winding
  regular = jnp.exp(2.2 * (jnp.cos(scene.arm_count * phase) - 1))
  counts = jnp.arange(3.0, 9.0)
  shifts = draw.uniform(0.0, 2 * jnp.pi, (6,))
  speeds = draw.uniform(2.0, 6.0, (6,))
  log_r = jnp.log(r)
  waves = sum(
    jnp.cos(m * azimuth - speed * m**0.5 * log_r + shift)
    for m, speed, shift in zip(counts, speeds, shifts)
  )
  patchy = jax.nn.sigmoid(1.4 * waves - 1)
  mixed = (1 - scene.flocculence) * regular * (0.5 + patchy)
  mixed += scene.flocculence * patchy
  # Arms begin outside of the bulge, or of the bar.
  return mixed * jax.nn.sigmoid((r - 0.45) * 9)


def _tail(r, azimuth):
  """One tidal tail that winds away from the disk."""
  along = jnp.cos(azimuth - 0.9 * jnp.log(r))
  envelope = jax.nn.sigmoid(5 * (r - 1.2)) * jax.nn.sigmoid(3 * (3.4 - r))
  return jnp.exp(9 * (along - 1)) * envelope


def _clumps(draw, u, v):
  """Seven knots of young stars."""
  places = 0.7 * draw.normal((7, 2))
  sizes = draw.uniform(0.12, 0.35, (7,))
  return 0.6 * sum(
    _ridge(jnp.hypot(u - place[0], v - place[1]), size)
    for place, size in zip(places, sizes)
  )


def _arc(draw, y, x):
  """The image of a galaxy far behind, around the middle."""
  side = draw.uniform(0.0, 2 * jnp.pi)
  azimuth = jnp.arctan2(y, x)
  r = jnp.hypot(y, x)
  return _ridge(r - draw.uniform(1.7, 2.3), 0.14) * jnp.exp(
    5 * (jnp.cos(azimuth - side) - 1)
  )


def _companion(draw, scene, y, x, soft):
  """A second galaxy, and a bridge of stars to it; flux `companion`."""
  away, aside = _rotate(y, x, draw.uniform(0.0, 2 * jnp.pi))
  distance = draw.uniform(1.3, 2.6)
  along, across = _rotate(aside, away - distance, draw.uniform(0.0, 2 * jnp.pi))
  r = jnp.hypot(jnp.hypot(along, across / 0.6), soft)
  galaxy = _sersic(r, 0.6, 1.5) / 0.6
  bridge = _ridge(aside, 0.3) * _ridge((away - distance / 2) / distance, 0.5)
  return scene.companion * (galaxy + 0.03 * bridge)


def _blur(light, sigma):
  """Convolves f32[C,size,size] with a Gaussian of `sigma` pixels."""
  pixels = jnp.arange(light.shape[-1])
  distance = pixels[:, None] - pixels[None, :]
  kernel = jnp.exp(-0.5 * (distance / sigma) ** 2)
  # What leaves the picture comes back: the edge has neighbours like itself.
  kernel /= jnp.sum(kernel, axis=1, keepdims=True)
  return jnp.einsum("yj,cjk,xk->cyx", kernel, light, kernel)


def _spots(axis, places, sigmas, colours):
  """Gaussians at f32[K,2] of flux f32[K,3]: f32[3,size,size]."""
  distance = axis[None, None, :] - places[:, :, None]
  factors = jnp.exp(-0.5 * (distance / sigmas[:, None, None]) ** 2)
  peaks = colours / (2 * jnp.pi * sigmas[:, None] ** 2)
  return jnp.einsum("kc,ky,kx->cyx", peaks, factors[:, 0], factors[:, 1])


def _tints(draw, count, scatter):
  """Colours from orange to blue, f32[count,3]."""
  warm = scatter * draw.normal((count, 1))
  return jnp.exp(warm * jnp.array([[0.7, 0.0, -0.7]]))


def _field_sources(key, view, axis):
  """Stars and far galaxies, wherever the widest field may look."""
  draw, count = _Draws(key, 8), 16
  places = view.edge * draw.uniform(-1.0, 1.0, (count, 2))
  magnitudes = 22.5 - 1.2 * -jnp.log(draw.uniform(1e-3, 1.0, (count,)))
  # So many in a field of that many square arcseconds.
  seen = draw.uniform(0.0, 1.0, (count,)) < (view.edge * view.radius / 40) ** 2
  extent = jnp.maximum(draw.uniform(-0.7, 0.7, (count,)), 0) / view.radius
  flux = seen * _flux(magnitudes) / view.radius**2
  tints = _tints(draw, count, 0.35)
  sigmas = jnp.hypot(view.blur, extent)
  return _spots(axis, places, sigmas, flux[:, None] * tints)


def _artifacts(key, scene, view, axis):
  """A saturated star, a satellite's trail, a fault of the camera."""
  draw = _Draws(key, 16)
  y, x = axis[:, None], axis[None, :]
  light = scene.star * _star(draw, view, axis)
  _, across = _rotate(y, x, draw.uniform(0.0, 2 * jnp.pi))
  across -= 0.25 * view.edge * draw.uniform(-1.0, 1.0)
  trail = 60 * scene.trail * _ridge(across, 1.6 * view.blur)
  light += trail[None] * _tints(draw, 1, 0.2)[0][:, None, None]
  return light + scene.fault * _fault(draw, view, y, x)


def _star(draw, view, axis):
  place = 0.2 * view.edge * draw.normal((1, 2))
  flux = _flux(draw.uniform(10.5, 13.0)) / view.radius**2
  tint = flux * _tints(draw, 1, 0.35)
  turn = draw.uniform(0.0, jnp.pi / 2)
  y, x = axis[:, None] - place[0, 0], axis[None, :] - place[0, 1]
  a, b = _rotate(y, x, turn)
  width, reach = view.blur, 6 * view.blur
  spikes = jnp.exp(-jnp.abs(a) / reach) * _ridge(b, width)
  spikes += jnp.exp(-jnp.abs(b) / reach) * _ridge(a, width)
  halo = (1 + (y**2 + x**2) / (3 * width) ** 2) ** -1.5
  glow = (0.01 * halo + 0.02 * spikes) / (2 * jnp.pi * width**2)
  core = _spots(axis, place, 1.5 * view.blur[None], tint)
  return core + tint[0][:, None, None] * glow[None]


def _fault(draw, view, y, x):
  """One band too bright in a stripe, narrow or wider than the picture."""
  _, across = _rotate(y, x, draw.uniform(0.0, 2 * jnp.pi))
  start = 0.5 * view.edge * draw.uniform(-1.2, 0.6)
  end = start + view.edge * 4 ** draw.uniform(-1.5, 1.5)
  sharp = 4 ** draw.uniform(1.0, 4.0)
  stripe = jax.nn.sigmoid(sharp * (across - start)) * jax.nn.sigmoid(
    sharp * (end - across)
  )
  band = draw.choice((0, 1, 2), (0.6, 0.25, 0.15))
  colour = jnp.where(jnp.arange(3) == band, 1.0, 0.25)
  return draw.uniform(6.0, 40.0) * colour[:, None, None] * stripe[None]


def _noise(key, light, view, pixel):
  """Of sky and photons, as smooth as the pixels of the camera make it.

  At hundreds of photons a pixel the Poisson law is a normal one.
  """
  camera_pixel = _CAMERA_PIXEL / view.radius
  sigma = jnp.sqrt(1 + jnp.maximum(light, 0) / _GAIN) * camera_pixel / pixel
  white = sigma * jax.random.normal(key, light.shape)
  return _blur(1.8 * white, 0.6 * camera_pixel / pixel)


def _stretch(light):
  """Lupton et al. (2004): asinh of the mean, colours kept.

  f32[3,size,size] to u8[size,size,3].
  """
  mean = jnp.maximum(jnp.mean(light, axis=0, keepdims=True), 1e-3)
  softening, white = 8.0, 400.0
  bright = jnp.arcsinh(mean / softening) / jnp.arcsinh(white / softening)
  rgb = light * bright / mean
  rgb = rgb / jnp.maximum(jnp.max(rgb, axis=0, keepdims=True), 1)
  rgb = jnp.transpose(jnp.clip(rgb, 0, 1), (1, 2, 0))
  return (255 * rgb).astype(jnp.uint8)
