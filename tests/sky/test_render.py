"""The synthetic sky: seeded, and what it shows is what was asked for."""

import jax
import numpy as np
import pytest
from scipy import ndimage, special

from gzjax.morphology import campaigns
from gzjax.sky import render
from gzjax.sky.scene import Scene, observe, sample_labels, sample_scene

SIZE = 48


def _pictures(label, count=48, seed=0):
  labels = np.full(count, label)
  pictures = render.pictures(seed, np.arange(count), labels, SIZE)
  return np.array(list(pictures), float)


def _plain(**changes):
  """A round disk without features, near and sharp."""
  scene = Scene(*np.zeros(len(Scene._fields), np.float32))
  plain = {
    "redshift": 0.02,
    "radius": 4,
    "surface_brightness": 20,
    "seeing": 0.1,
    "axis_ratio": 1,
    "sersic_index": 1,
    "arm_count": 2,
    "arm_pitch": 0.3,
  }
  return scene._replace(
    **{name: np.float32(x) for name, x in {**plain, **changes}.items()}
  )


@jax.jit
def _light(scene):
  """Brightness above the sky of the galaxy alone, in the middle band."""
  details = render.sample_details(jax.random.key(3), scene)
  axis = (np.arange(200, dtype=np.float32) - 99.5) * 0.05
  details = details._replace(
    view=details.view._replace(brightness=np.float32(1)),
    centre=np.zeros(2, np.float32),
    major_axis=np.float32([1, 0]),
  )
  return render._galaxy(scene, details, axis)[1]


def test_pictures_are_a_function_of_seed_and_number():
  one = _pictures(1, 4)
  np.testing.assert_array_equal(one, _pictures(1, 4))
  assert not np.array_equal(one, _pictures(1, 4, seed=1))
  assert not np.array_equal(one[0], one[1])


def test_a_picture_does_not_depend_on_its_neighbours():
  index = np.arange(70)
  label = index % 3
  whole = list(render.pictures(0, index, label, SIZE))
  part = list(render.pictures(0, index[5:], label[5:], SIZE))
  np.testing.assert_array_equal(whole[5:], part)
  # Nor on how many are drawn at once, but for the rounding of another program.
  few = render.render_batch(
    0, index[:2].astype("i"), label[:2].astype("i"), SIZE
  )
  assert np.abs(np.array(whole[:2], int) - np.asarray(few, int)).max() <= 1


@pytest.mark.parametrize("label", range(3))
def test_pictures_use_the_range_and_the_sky_is_dark(label):
  pictures = _pictures(label)
  assert np.median(pictures) < 40
  assert np.mean(pictures.max((1, 2, 3)) > 120) > 0.5


def test_artifacts_are_brighter_than_galaxies():
  saturated = [np.mean(_pictures(k).min(-1) > 230) for k in range(3)]
  assert saturated[2] > 5 * max(saturated[:2])


def test_a_wider_field_shows_the_same_galaxy_smaller():
  scene = _plain()
  details = render.sample_details(jax.random.key(0), scene)
  draw = jax.jit(render.render, static_argnames=("size", "field"))
  near, far = (
    np.asarray(draw(jax.random.key(1), scene, details, 96, field), float)
    for field in (1.0, 2.0)
  )
  middle = far[24:72, 24:72].mean(-1)
  halved = near.reshape(48, 2, 48, 2, 3).mean((1, 3, 4))
  assert np.corrcoef(halved.ravel(), middle.ravel())[0, 1] > 0.98


def test_label_shares_are_exact():
  label = sample_labels(0, 200, (0.45, 0.45, 0.1))
  np.testing.assert_array_equal(np.bincount(label), [90, 90, 20])
  assert not np.array_equal(label, sample_labels(1, 200, (9, 9, 2)))


def test_classes_have_their_features():
  keys = jax.random.split(jax.random.key(0), 2000)

  def scenes(label):
    labels = np.full(len(keys), label, np.int32)
    return jax.vmap(sample_scene)(keys, labels)

  smooth, featured, artifact = (scenes(k) for k in range(3))
  for name in ("arms", "bar", "clumps", "ring", "boxiness"):
    assert np.all(getattr(smooth, name) == 0)
    assert np.mean(getattr(featured, name) > 0) > 0.01
  for name in ("star", "trail", "fault"):
    assert np.all(getattr(featured, name) == 0)
    assert np.mean(getattr(artifact, name) > 0) > 0.1
  faults = np.stack([artifact.star, artifact.trail, artifact.fault])
  np.testing.assert_array_equal((faults > 0).sum(0), 1)
  odd = np.asarray(jax.vmap(Scene.odd_features)(featured))
  assert (odd > 0).sum(1).max() == 1  # at most one
  assert np.all((odd > 0).any(0))  # each one somewhere
  counts, _ = np.unique(featured.arm_count, return_counts=True)
  np.testing.assert_array_equal(counts, range(1, 7))


def test_odd_features_stand_in_the_order_of_the_answers():
  question = campaigns.GZ2.question("odd-feature")
  wanted = {
    "ring": "ring",
    "lens": "lens-or-arc",
    "disturbance": "disturbed",
    "clumps": "irregular",
    "polar_ring": "other",
    "companion": "merger",
    "dust_lane": "dust-lane",
  }
  for name, answer in wanted.items():
    strengths = np.asarray(_plain(**{name: 0.5}).odd_features())
    place = campaigns.GZ2.questions[question].answers.index(answer)
    np.testing.assert_array_equal(np.flatnonzero(strengths), place)


def test_angular_size_agrees_with_the_integral_of_the_distance():
  z = np.linspace(0, 0.2, 20001)
  speed = np.sqrt(0.3 * (1 + z) ** 3 + 0.7)
  comoving = 299792.458 / 70 * np.trapezoid(1 / speed, z)
  wanted = 5 / (1000 * comoving / 1.2) * 180 / np.pi * 3600
  found = observe(_plain(redshift=0.2, radius=5)).radius
  np.testing.assert_allclose(found, wanted, rtol=0.005)


def test_far_galaxies_are_dim_and_blurred():
  near, far = (observe(_plain(redshift=z)) for z in (0.05, 0.2))
  assert far.brightness < 0.6 * near.brightness
  assert far.blur > 2 * near.blur


def test_a_disk_has_its_flux_and_half_light_radius():
  light = np.asarray(_light(_plain()))
  axis = (np.arange(200) - 99.5) * 0.05
  inside = light[np.hypot(*np.meshgrid(axis, axis)) < 1].sum()
  # Mean brightness 1 inside of the half-light radius: pi there, 2 pi in all.
  np.testing.assert_allclose(inside * 0.05**2, np.pi, rtol=0.02)
  np.testing.assert_allclose(light.sum() * 0.05**2, 2 * np.pi, rtol=0.02)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("bulge", [0.0, 1.0])
def test_axis_ratio_is_that_of_the_picture(ratio, bulge):
  light = np.asarray(_light(_plain(axis_ratio=ratio, bulge_fraction=bulge)))
  axis = (np.arange(200) - 99.5) * 0.05
  variance = [light.sum(k) @ axis**2 for k in (1, 0)]  # across, along
  np.testing.assert_allclose(
    np.sqrt(variance[0] / variance[1]), ratio, rtol=0.06
  )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_as_many_arms_as_asked_for(count):
  light = _light(_plain(arms=1, arm_count=count)) - _light(_plain())
  angle = np.linspace(0, 2 * np.pi, 256, endpoint=False)
  ring = [99.5 + 1.3 / 0.05 * f(angle) for f in (np.sin, np.cos)]
  values = ndimage.map_coordinates(np.asarray(light), ring, order=1)
  power = np.abs(np.fft.rfft(values))[1:8]
  assert power.argmax() + 1 == count


def test_loose_arms_wind_less():
  turns = []
  for pitch in (0.2, 0.5):
    light = _light(_plain(arms=1, arm_pitch=pitch)) - _light(_plain())
    angle = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    phases = []
    for radius in np.linspace(1.0, 1.5, 11):
      ring = [99.5 + radius / 0.05 * f(angle) for f in (np.sin, np.cos)]
      values = ndimage.map_coordinates(np.asarray(light), ring, order=1)
      phases.append(np.angle(np.fft.rfft(values)[2]) / 2)
    turn = np.ptp(np.unwrap(phases, period=np.pi))
    turns.append(turn)
    # A logarithmic spiral: the azimuth grows with ln r / tan(pitch).
    np.testing.assert_allclose(turn, np.log(1.5) / np.tan(pitch), rtol=0.15)
  assert turns[0] > 2 * turns[1]


@pytest.mark.parametrize(
  "name",
  [
    "bar",
    "arms",
    "ring",
    "lens",
    "disturbance",
    "clumps",
    "polar_ring",
    "companion",
    "dust_lane",
  ],
)
def test_every_feature_changes_the_picture_with_its_strength(name):
  without = np.asarray(_light(_plain(axis_ratio=0.7)))
  change = [
    np.abs(_light(_plain(axis_ratio=0.7, **{name: x})) - without).sum()
    for x in (0.5, 1.0)
  ]
  assert change[0] > 0.02 * without.sum()
  assert change[1] > 1.2 * change[0]


def test_dust_reddens():
  scene = _plain(axis_ratio=0.3, dust_lane=1)
  view = observe(scene)
  passed = render._transmission(scene, view, np.zeros((1, 1)), np.zeros((1, 1)))
  red, green, blue = np.asarray(passed)[:, 0, 0]
  assert blue < green < red < 1


def test_boxy_bulges_have_corners():
  box, ellipse = (
    _light(_plain(bulge_fraction=1, boxiness=x, sersic_index=1.5))
    for x in (1.0, 0.0)
  )
  middle, corner = np.asarray(box / ellipse)[[100, 120], [120, 120]]
  assert corner > 1.3 * middle


def test_sersic_profile_halves_its_light_at_the_half_light_radius():
  r = np.linspace(0, 400, 4_000_001)
  for index in (1.0, 2.0, 4.0):
    ring = 2 * np.pi * r * np.asarray(render._sersic(r, index), float)
    ring *= float(render._sersic_peak(index))
    np.testing.assert_allclose(np.trapezoid(ring, r), 1, rtol=0.01)
    np.testing.assert_allclose(
      np.trapezoid(ring[r < 1], r[r < 1]), 0.5, rtol=0.01
    )
    # The exact b_n solves gamma(2n, b) = 1/2.
    exact = special.gammaincinv(2 * index, 0.5)
    np.testing.assert_allclose(render._sersic_b(index), exact, rtol=2e-3)


def test_blur_is_a_gaussian_filter():
  light = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
  found = np.asarray(render._blur(light, 2.5))
  wanted = ndimage.gaussian_filter(light, (0, 2.5, 2.5), truncate=12)
  middle = (slice(None), slice(12, -12), slice(12, -12))
  np.testing.assert_allclose(found[middle], wanted[middle], atol=2e-3)
  np.testing.assert_allclose(render._blur(0 * light + 3, 2.5), 3, rtol=1e-5)


def test_spots_have_their_flux_and_place():
  axis = (np.arange(101, dtype=np.float32) - 50) * 0.1
  places = np.float32([[1.0, -2.0]])
  fluxes = np.float32([[1.0, 2.0, 3.0]])
  light = np.asarray(render._spots(axis, places, np.float32([0.3]), fluxes))
  np.testing.assert_allclose(light.sum((1, 2)) * 0.01, fluxes[0], rtol=1e-3)
  assert np.unravel_index(light[0].argmax(), (101, 101)) == (60, 30)


@pytest.mark.parametrize(("pixel", "wanted"), [(0.2, 1.0), (4.0, 0.53)])
def test_noise_is_that_of_a_camera_pixel_and_averages(pixel, wanted):
  # A camera pixel is a length of 1; 4 are 0.6 sqrt(4 pi) / 4 as noisy.
  view = observe(_plain())._replace(radius=np.float32(render._CAMERA_PIXEL))
  dark = np.zeros((3, 256, 256), np.float32)
  noise = np.asarray(render._noise(jax.random.key(0), dark, view, pixel))
  np.testing.assert_allclose(noise.std(), wanted, rtol=0.03)
  bright = np.asarray(render._noise(jax.random.key(0), dark + 100, view, pixel))
  ratio = np.sqrt(1 + 100 / render._GAIN)
  np.testing.assert_allclose(bright.std() / noise.std(), ratio, rtol=0.03)
