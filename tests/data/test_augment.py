"""Augmentation against SciPy's affine transform, and its invariants."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from gzjax.data.augment import (
  IMAGENET,
  NO_AUGMENTATION,
  Augmentation,
  Normalisation,
  augment,
  normalise,
  random_affines,
  warp,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 11, 11, 3), np.uint8)


def test_no_augmentation_is_exactly_the_image():
  got = augment(jax.random.key(0), IMAGE, NO_AUGMENTATION)
  np.testing.assert_array_equal(got, IMAGE)


def test_identity_warp_is_exact():
  image = IMAGE[0].astype(np.float32)
  got = warp(image, np.eye(2, dtype="f"), np.zeros(2, "f"))
  np.testing.assert_array_equal(got, image)


@pytest.mark.parametrize("seed", range(3))
def test_warp_equals_scipy(seed):
  rng = np.random.default_rng(seed)
  matrix = rng.normal(size=(2, 2)).astype(np.float32)
  shift = (0.2 * rng.normal(size=2)).astype(np.float32)
  image = IMAGE[1].astype(np.float32)
  offset = 5 + shift * 11 - matrix @ np.array([5, 5])
  wanted = np.stack(
    [
      ndimage.affine_transform(
        image[..., c], matrix, offset, order=1, mode="nearest"
      )
      for c in range(3)
    ],
    axis=-1,
  )
  np.testing.assert_allclose(warp(image, matrix, shift), wanted, atol=2e-2)


def test_quarter_turn_and_mirror_are_numpys():
  image = IMAGE[2].astype(np.float32)
  turn = np.array([[0, -1], [1, 0]], np.float32)
  got = warp(image, turn, np.zeros(2, "f"))
  np.testing.assert_allclose(got, np.rot90(image, -1), atol=1e-3)
  mirror = warp(image, np.diag([1.0, -1.0]).astype("f"), np.zeros(2, "f"))
  np.testing.assert_allclose(mirror, image[:, ::-1], atol=1e-3)


def test_affines_keep_to_their_bounds():
  matrix, shift = random_affines(
    jax.random.key(0), 500, Augmentation(180.0, True, 1.3, 0.1)
  )
  scale = np.sqrt(np.abs(np.linalg.det(matrix)))
  assert 1 / 1.3 - 1e-5 <= scale.min() < 0.8
  assert 1.2 < scale.max() <= 1.3 + 1e-5
  assert 0.4 < np.mean(np.linalg.det(matrix) < 0) < 0.6
  assert 0.09 < np.abs(shift).max() <= 0.1
  angle = np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])
  assert np.ptp(angle) > 6


def test_views_are_a_function_of_the_key():
  augmentation = Augmentation(180.0, True, 1.2, 0.05)
  one = augment(jax.random.key(1), IMAGE, augmentation)
  same = augment(jax.random.key(1), IMAGE, augmentation)
  other = augment(jax.random.key(2), IMAGE, augmentation)
  np.testing.assert_array_equal(one, same)
  assert not np.allclose(one, other)


def test_normalise_uses_imagenets_mean_and_std_or_ones_own():
  got = normalise(IMAGE)
  wanted = (IMAGE / 255 - IMAGENET.mean) / IMAGENET.std
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
  own = Normalisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
  got = normalise(IMAGE, own)
  np.testing.assert_allclose(
    got, (IMAGE / 255 - own.mean) / own.std, rtol=1e-4, atol=1e-5
  )
