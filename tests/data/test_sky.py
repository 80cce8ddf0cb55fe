"""The synthetic sky: seeded, and its classes look as they should."""

import jax
import numpy as np
import pytest

from gzjax.data import sky

SIZE = 48


def _pictures(label, count=48, seed=0):
  index = np.arange(count, dtype=np.int32)
  labels = np.full(count, label, np.int32)
  return np.asarray(sky.render_batch(seed, index, labels, SIZE), float)


def test_pictures_are_a_function_of_seed_and_number():
  one = _pictures(1, 4)
  np.testing.assert_array_equal(one, _pictures(1, 4))
  assert not np.array_equal(one, _pictures(1, 4, seed=1))
  assert not np.array_equal(one[0], one[1])


@pytest.mark.parametrize("label", range(3))
def test_pictures_use_the_range_and_the_sky_is_dark(label):
  pictures = _pictures(label)
  assert np.median(pictures) < 40
  assert np.mean(pictures.max((1, 2, 3)) > 120) > 0.5


def test_artifacts_are_brighter_than_galaxies():
  saturated = [np.mean(_pictures(k).min(-1) > 230) for k in range(3)]
  assert saturated[2] > 5 * max(saturated[:2])


def test_label_shares_are_exact():
  label = sky.sample_labels(0, 200, (0.45, 0.45, 0.1))
  np.testing.assert_array_equal(np.bincount(label), [90, 90, 20])
  assert not np.array_equal(label, sky.sample_labels(1, 200, (9, 9, 2)))


def test_a_face_on_disk_has_its_flux():
  scene = jax.tree.map(np.asarray, _scene(1))
  light = sky._light(scene._replace(redness=np.float32(0)), 64)
  flux = np.asarray(light)[:, :, 1].sum()
  wanted = float(scene.flux) * (
    1 + float(scene.bar_strength) * (1 - float(scene.bulge_fraction))
  )
  np.testing.assert_allclose(flux, wanted, rtol=0.02)


def _scene(label):
  return sky.sample_scene(jax.random.key(5), np.int32(label))


def test_sersic_profile_halves_its_light_at_the_half_light_radius():
  n = 801
  axis = (np.arange(n) - n // 2) / n
  r = np.hypot(*np.meshgrid(axis, axis))
  for index in (1.0, 2.0, 4.0):
    light = np.asarray(sky._sersic(r, 0.03, index, 0.1 / n))
    inside = light[r < 0.03].sum() / light.sum()
    assert abs(inside - 0.5) < 0.05


def test_blur_keeps_the_flux_and_has_the_width():
  light = np.zeros((65, 65, 3), np.float32)
  light[32, 32] = 1
  blurred = np.asarray(sky._blur(light, 0.05))[..., 0]
  axis = (np.arange(65) - 32) / 65
  np.testing.assert_allclose(blurred.sum(), 1, rtol=1e-4)
  width = np.sqrt((blurred.sum(0) * axis**2).sum())
  np.testing.assert_allclose(width, 0.05, rtol=0.02)
