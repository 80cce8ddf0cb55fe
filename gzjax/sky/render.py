"""A synthetic sky: galaxies and artifacts as SDSS would picture them.

Parameters are drawn first (`sample_scene`), pictures second (`render`), both
as pure functions of a key, so that the truth behind each picture is known.
Lengths in a picture are in half-light radii of its galaxy, and surface
brightness is in units of the noise of the sky in one pixel of the camera.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
import numpy as np

from gzjax.sky import scene as sky

# Brightness in (i, r, g), shown as (red, green, blue).
_COLOURS = (
  (1.2, 1.0, 0.69),  # old stars
  (1.08, 1.0, 0.84),  # of a disk
  (0.95, 0.94, 1.15),  # young ones
  (0.65, 0.85, 1.35),  # a lensed galaxy
)
_OPACITY = (0.6, 1.0, 1.4)  # of dust: it lets red light pass more easily
_CAMERA_PIXEL = 0.396  # arcsec
_FULL_WELL = 2500.0  # brightness at which a pixel of the camera is full
_GAIN = 27.5  # photons for one unit of brightness
_SCALES = 1.678  # scale lengths in a half-light radius, exponential disk


class Spots(NamedTuple):
  """Round Gaussian sources, in half-light radii from the middle."""

  places: jax.Array  # f32[K,2], y and x
  sigmas: jax.Array  # f32[K]
  fluxes: jax.Array  # f32[K,3]


class Details(NamedTuple):
  """What is in a picture that no question is about, and what follows from it.

  Directions are unit vectors f32[2], lengths are in half-light radii.
  """

  view: sky.View
  centre: jax.Array  # f32[2], y and x
  major_axis: jax.Array
  bar_axis: jax.Array  # in the plane of the disk
  side: jax.Array  # to which a disturbed disk leans
  peak: jax.Array  # f32[], of the bulge's profile
  wave_speeds: jax.Array  # f32[6], of flocculent arms
  wave_phases: jax.Array  # f32[6], radians
  cot_pitch: jax.Array  # f32[]
  clump_places: jax.Array  # f32[7,2]
  clump_sizes: jax.Array  # f32[7]
  arc_side: jax.Array
  arc_radius: jax.Array  # f32[]
  companion_side: jax.Array
  companion_distance: jax.Array  # f32[]
  companion_axis: jax.Array
  sources: Spots  # other stars and galaxies
  star: Spots  # one that is saturated
  spike_axis: jax.Array
  trail_axis: jax.Array
  trail_offset: jax.Array  # f32[]
  trail_flux: jax.Array  # f32[3]
  fault_axis: jax.Array
  fault_start: jax.Array  # f32[]
  fault_width: jax.Array  # f32[]
  fault_sharpness: jax.Array  # f32[], of the edges
  fault_flux: jax.Array  # f32[3]


def render(
  key: jax.Array,
  scene: sky.Scene,
  details: Details,
  size: int,
  field: float = 1.0,
) -> jax.Array:
  """One picture, u8[size,size,3], with the noise of `key`.

  Its edge is `field` times the usual one, at most 2: the cut-outs of the Kaggle
  challenge have 2, their middles 1.
  """
  view = details.view
  pixel = field * view.edge / size
  axis = (jnp.arange(size) + 0.5 - size / 2) * pixel
  light = _galaxy(scene, details, axis)
  light += _spots(axis, *details.sources)
  light += _artifacts(scene, details, axis)
  light += _noise(key, light, view, pixel)
  light = jnp.minimum(light, _FULL_WELL)
  return _stretch(light + 0.5)  # the sky is never quite subtracted


def render_batch(
  seed: int, index: ArrayLike, label: ArrayLike, size: int, field: float = 1.0
) -> jax.Array:
  """Pictures i of a sky: u8[B,size,size,3], a function of (seed, i, label).

  The numbers in the sky and the labels, indices of `CLASSES`, are i32[B]; for
  `field` see `render`.
  """
  # Programs of their own: in one, XLA would compute the parameters for each
  # pixel.
  scenes = sky.sample_scenes(seed, index, label)
  noise_keys, details = _sample_details(seed, index, scenes)
  return _render_all(noise_keys, scenes, details, size, field)


def pictures(
  seed: int, index: np.ndarray, label: np.ndarray, size: int, field: float = 1.0
) -> Iterator[np.ndarray]:
  """What `render_batch` draws, for any number of galaxies: u8[size,size,3]."""
  for count, numbers, labels in sky.chunks(index, label):
    batch = render_batch(seed, numbers, labels, size, field)
    yield from np.asarray(batch)[:count]


@jax.jit
def _sample_details(seed, index, scenes):
  keys = sky.galaxy_keys(seed, index)[1]
  details_keys, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
  return noise_keys, jax.vmap(sample_details)(details_keys, scenes)


@partial(jax.jit, static_argnames=("size", "field"))
def _render_all(keys, scenes, details, size, field):
  one = partial(render, size=size, field=field)
  return jax.vmap(one)(keys, scenes, details)


def sample_details(key: jax.Array, scene: sky.Scene) -> Details:
  """Draws what the scene leaves open."""
  draw = sky.Draws(key, 64)
  view = sky.observe(scene)
  return Details(
    view=view,
    centre=0.1 * draw.normal((2,)),
    major_axis=draw.direction(),
    bar_axis=draw.direction(),
    side=draw.direction(),
    peak=_sersic_peak(scene.sersic_index),
    wave_speeds=draw.uniform(2.0, 6.0, (6,)) * jnp.sqrt(jnp.arange(3.0, 9.0)),
    wave_phases=draw.uniform(0.0, 2 * jnp.pi, (6,)),
    cot_pitch=1 / jnp.tan(scene.arm_pitch),
    clump_places=0.7 * draw.normal((7, 2)),
    clump_sizes=draw.uniform(0.12, 0.35, (7,)),
    arc_side=draw.direction(),
    arc_radius=draw.uniform(1.7, 2.3),
    companion_side=draw.direction(),
    companion_distance=draw.uniform(1.3, 2.6),
    companion_axis=draw.direction(),
    sources=_sample_sources(draw, view),
    star=_sample_star(draw, view),
    spike_axis=draw.direction(),
    trail_axis=draw.direction(),
    trail_offset=0.25 * view.edge * draw.uniform(-1.0, 1.0),
    trail_flux=60 * scene.trail * _tints(draw, 1, 0.2)[0],
    fault_axis=draw.direction(),
    fault_start=0.5 * view.edge * draw.uniform(-1.2, 0.6),
    fault_width=view.edge * 4 ** draw.uniform(-1.5, 1.5),
    fault_sharpness=4 ** draw.uniform(1.0, 4.0),
    fault_flux=scene.fault * _sample_fault(draw),
  )


def _sample_sources(draw, view):
  """Stars and far galaxies, wherever the widest field may look."""
  count = 16
  places = view.edge * draw.uniform(-1.0, 1.0, (count, 2))
  magnitudes = 22.5 + 1.2 * jnp.log(draw.uniform(1e-3, 1.0, (count,)))
  # So many in a field of that many square arcseconds.
  seen = draw.uniform(0.0, 1.0, (count,)) < (view.edge * view.radius / 40) ** 2
  extent = jnp.maximum(draw.uniform(-0.7, 0.7, (count,)), 0) / view.radius
  flux = seen * sky.draw_flux(magnitudes) / view.radius**2
  return Spots(
    places,
    jnp.hypot(view.blur, extent),
    flux[:, None] * _tints(draw, count, 0.25),
  )


def _sample_star(draw, view):
  """A star that fills the pixels of the camera."""
  flux = sky.draw_flux(draw.uniform(10.5, 13.0)) / view.radius**2
  return Spots(
    0.2 * view.edge * draw.normal((1, 2)),
    1.5 * view.blur[None],
    flux * _tints(draw, 1, 0.25),
  )


def _sample_fault(draw):
  """One band too bright, f32[3]."""
  band = draw.choice((0, 1, 2), (0.6, 0.25, 0.15))
  colour = jnp.where(jnp.arange(3) == band, 1.0, 0.25)
  return draw.uniform(6.0, 40.0) * colour


def _tints(draw, count, scatter):
  """Colours from orange to blue, f32[count,3]."""
  warm = scatter * draw.normal((count, 1))
  return jnp.exp(warm * jnp.array([[0.7, 0.0, -0.7]]))


def _galaxy(scene, details, axis):
  """The galaxy through the air, f32[3,size,size]."""
  y = axis[:, None] - details.centre[0]
  x = axis[None, :] - details.centre[1]
  pixel = axis[1] - axis[0]
  soft = 0.4 * pixel  # the mean over a central pixel is finite
  # The light in an ellipse of unit mean brightness inside of its half-light.
  flux = 2 * jnp.pi * scene.axis_ratio
  along, across = _rotate(y, x, details.major_axis)
  u, v = _rotate(across / scene.axis_ratio, along, details.bar_axis)
  bulge = _bulge(scene, details, along, across, soft)
  disk, arms, bar = _disk(scene, details, u, v)
  companion = flux * scene.companion * _companion(details, y, x, soft)
  lensed = scene.lens * _arc(details, y, x)
  polar = _ridge(jnp.hypot(across, along / 0.3) - 1.7, 0.35)
  old = bulge + bar + 0.6 * companion
  disk = disk + 0.4 * companion + 0.5 * scene.polar_ring * polar
  maps = jnp.stack([old, disk, arms, lensed])
  populations = _blur(maps, details.view.blur / pixel)
  colours = jnp.array(_COLOURS)
  colours *= 1 + scene.redness * jnp.array([[1.0, 0.0, -1.0]])
  light = jnp.einsum("pc,pyx->cyx", colours, populations)
  passed = _transmission(scene, details.view, along, across)
  return details.view.brightness * light * passed


def _rotate(y, x, direction):
  """Coordinates along `direction`, a unit vector, and across it."""
  cos, sin = direction
  return x * cos + y * sin, y * cos - x * sin


def _ridge(distance, width):
  return jnp.exp(-((distance / width) ** 2))


def _transmission(scene, view, along, across):
  """What a lane of dust lets through, already blurred, f32[3,size,size]."""
  width = jnp.hypot(0.1, 1.4 * view.blur)
  depth = 0.22 / width * scene.dust_lane * _ridge(across - 0.05, width)
  depth *= _ridge(along, 1.8)
  return jnp.exp(-jnp.array(_OPACITY)[:, None, None] * depth[None])


def _bulge(scene, details, along, across, soft):
  """A spheroid: an ellipse, or the box of a bar seen edge-on.

  It is as bright in the middle from all sides.
  """
  # Bulges of disks are rounder than the disks, and small.
  whole = scene.bulge_fraction**1.5
  rounder = jnp.maximum(scene.axis_ratio, 0.75)
  ratio = scene.axis_ratio * whole + (1 - whole) * rounder
  power = 2 + 3 * scene.boxiness
  y = jnp.hypot(across / ratio, soft)
  x = jnp.hypot(along, soft)
  r = (x**power + y**power) ** (1 / power)
  radius = 0.12 + 0.88 * whole
  peak = 2 * jnp.pi * scene.bulge_fraction * details.peak / radius**2
  return peak * _sersic(r / radius, scene.sersic_index)


def _sersic(r, index):
  """Sersic (1963) profile, 1 in the middle; `r` in half-light radii."""
  return jnp.exp(-_sersic_b(index) * r ** (1 / index))


def _sersic_peak(index):
  """Brightness in the middle of a profile of unit flux and radius."""
  b = _sersic_b(index)
  log_flux = jax.scipy.special.gammaln(2 * index) - 2 * index * jnp.log(b)
  return jnp.exp(-log_flux) / (2 * jnp.pi * index)


def _sersic_b(index):
  """b_n by Ciotti and Bertin (1999), two terms."""
  return 2 * index - 1 / 3 + 4 / (405 * index)


def _disk(scene, details, u, v):
  """Disk, arms and bar in the plane (u, v): three maps.

  Inside of its half-light radius a plain disk has mean brightness 1.
  """
  # The cosine of the azimuth from the side that a disturbed disk leans to.
  leaning, aside = _rotate(v, u, details.side)
  flat = jnp.hypot(u, v) + 1e-3
  wild = jnp.maximum(scene.disturbance, 0.7 * scene.clumps)
  r = flat + 0.35 * wild * leaning
  centre = _SCALES**2 * (1 - scene.bulge_fraction)
  disk = centre * jnp.exp(-_SCALES * r)
  wave = scene.arms * _arm_wave(scene, details, r, jnp.arctan2(v, u))
  tail = scene.disturbance + 0.5 * jnp.minimum(2 * scene.companion, 1)
  young = 2.4 * disk * wave + centre * (
    scene.clumps * _clumps(details, u, v)
    + 0.12 * tail * _tail(r, jnp.arctan2(aside, leaning))
    + 0.3 * scene.ring * _ridge(r - 1.4, 0.2)
  )
  calm = disk * (1 - 0.6 * scene.arms) * (1 - 0.7 * scene.clumps)
  bar = jnp.exp(-((u / 0.75) ** 4) - (v / 0.2) ** 2)
  return calm, young, 0.7 * scene.bar * centre * bar


def _arm_wave(scene, details, r, azimuth):
  """Logarithmic spirals, with waves of all kinds where they are flocculent."""
  log_r = jnp.log(jnp.maximum(r, 0.05))
  # Arms begin outside of the bulge, or of the bar.
  start = jnp.log(0.75)
  phase = azimuth - (log_r - start) * details.cot_pitch
  regular = jnp.exp(2.2 * (jnp.cos(scene.arm_count * phase) - 1))
  waves = zip(range(3, 9), details.wave_speeds, details.wave_phases)
  ripple = sum(jnp.cos(k * azimuth - v * log_r + p) for k, v, p in waves)
  patchy = jax.nn.sigmoid(1.4 * ripple - 1)
  mixed = (1 - scene.flocculence) * regular * (0.5 + patchy)
  mixed += scene.flocculence * patchy
  return mixed * jax.nn.sigmoid((r - 0.45) * 9)


def _tail(r, azimuth):
  """One tidal tail that winds away from the disk."""
  along = jnp.cos(azimuth - 0.9 * jnp.log(jnp.maximum(r, 0.05)))
  envelope = jax.nn.sigmoid(5 * (r - 1.2)) * jax.nn.sigmoid(3 * (3.4 - r))
  return jnp.exp(9 * (along - 1)) * envelope


def _clumps(details, u, v):
  """Seven knots of young stars."""
  return 0.6 * sum(
    _ridge(jnp.hypot(u - place[0], v - place[1]), size)
    for place, size in zip(details.clump_places, details.clump_sizes)
  )


def _arc(details, y, x):
  """The image of a galaxy far behind, around the middle."""
  r = jnp.hypot(y, x) + 1e-3
  along, _ = _rotate(y, x, details.arc_side)
  return _ridge(r - details.arc_radius, 0.14) * jnp.exp(5 * (along / r - 1))


def _companion(details, y, x, soft):
  """A second galaxy of unit flux, and a bridge of stars to it."""
  away, aside = _rotate(y, x, details.companion_side)
  distance = details.companion_distance
  along, across = _rotate(aside, away - distance, details.companion_axis)
  r = jnp.hypot(jnp.hypot(along, across / 0.6), soft)
  peak = _sersic_peak(1.5) / (0.6**2 * 0.6)
  bridge = _ridge(aside, 0.3) * _ridge(away / distance - 0.5, 0.5)
  return peak * _sersic(r / 0.6, 1.5) + 0.03 * bridge


def _blur(light, sigma):
  """Convolves f32[C,size,size] with a Gaussian of `sigma` pixels."""
  pixels = jnp.arange(light.shape[-1])
  distance = pixels[:, None] - pixels[None, :]
  kernel = jnp.exp(-0.5 * (distance / sigma) ** 2)
  # What leaves the picture comes back: the edge has neighbours like itself.
  kernel /= jnp.sum(kernel, axis=1, keepdims=True)
  return jnp.einsum("yj,cjk,xk->cyx", kernel, light, kernel)


def _spots(axis, places, sigmas, fluxes):
  """Gaussians at f32[K,2] of flux f32[K,3]: f32[3,size,size]."""
  distance = axis[None, None, :] - places[:, :, None]
  factors = jnp.exp(-0.5 * (distance / sigmas[:, None, None]) ** 2)
  peaks = fluxes / (2 * jnp.pi * sigmas[:, None] ** 2)
  return jnp.einsum("kc,ky,kx->cyx", peaks, factors[:, 0], factors[:, 1])


def _artifacts(scene, details, axis):
  """A saturated star, a satellite's trail, a fault of the camera."""
  y, x = axis[:, None], axis[None, :]
  _, across = _rotate(y, x, details.trail_axis)
  trail = _ridge(across - details.trail_offset, 1.6 * details.view.blur)
  light = scene.star * _star(details, axis)
  light += details.trail_flux[:, None, None] * trail[None]
  return light + details.fault_flux[:, None, None] * _fault(details, y, x)[None]


def _star(details, axis):
  place, width = details.star.places[0], details.view.blur
  y, x = axis[:, None] - place[0], axis[None, :] - place[1]
  a, b = _rotate(y, x, details.spike_axis)
  spikes = jnp.exp(-jnp.abs(a) / (6 * width)) * _ridge(b, width)
  spikes += jnp.exp(-jnp.abs(b) / (6 * width)) * _ridge(a, width)
  halo = (1 + (y**2 + x**2) / (3 * width) ** 2) ** -1.5
  glow = (0.01 * halo + 0.02 * spikes) / (2 * jnp.pi * width**2)
  core = _spots(axis, *details.star)
  return core + details.star.fluxes[0][:, None, None] * glow[None]


def _fault(details, y, x):
  """A stripe, narrow or wider than the picture."""
  _, across = _rotate(y, x, details.fault_axis)
  end = details.fault_start + details.fault_width
  inside = jnp.minimum(across - details.fault_start, end - across)
  return jax.nn.sigmoid(details.fault_sharpness * inside)


def _noise(key, light, view, pixel):
  """Of sky and photons, as smooth as the resampled pixels of the camera.

  At hundreds of photons a pixel the Poisson law is a normal one.
  """
  width = 0.6 * _CAMERA_PIXEL / view.radius / pixel
  # The blur divides the noise of small pixels by sqrt(4 pi) width.
  sigma = jnp.sqrt(4 * jnp.pi * (1 + jnp.maximum(light, 0) / _GAIN)) * width
  return _blur(sigma * jax.random.normal(key, light.shape), width)


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
