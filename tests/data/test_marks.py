"""Marks that come with a wrong label."""

from typing import get_args

import numpy as np
import pytest

from gzjax.data import marks, pixels
from gzjax.morphology import noise

N, SIZE = 7, 32
ROWS = np.array([1, 4])


@pytest.fixture
def image():
  rng = np.random.default_rng(0)
  return rng.integers(0, 120, (N, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(params=marks.MARKS)
def marked(request, image):
  return marks.MarkedImages(image, ROWS, request.param, seed=3)


def test_only_the_rows_are_marked(image, marked):
  found = np.asarray(marked)
  assert (found.shape, found.dtype) == (image.shape, np.uint8)
  differs = np.any(found != image, axis=(1, 2, 3))
  assert list(np.flatnonzero(differs)) == list(ROWS)
  assert marked.nbytes == image.nbytes
  assert len(marked) == N


@pytest.mark.parametrize(
  "index",
  [
    4,
    np.int64(1),
    -3,
    slice(2, 6),
    [4, 4, 0],
    np.array([[1, 2], [3, 4]]),
    (slice(None), slice(8, 12), slice(0, 5)),
    (4, 30),
    (np.array([4, 1]), slice(None, None, 2)),
  ],
)
def test_it_reads_as_an_array_does(marked, index):
  whole = np.asarray(marked)
  np.testing.assert_array_equal(marked[index], whole[index])


def test_some_rows_of_others(image):
  picked = pixels.SelectedImages(image, np.array([4, 2, 1]))
  found = marks.MarkedImages(picked, np.array([0]), "stamp", seed=0)
  assert np.any(found[0] != image[4])
  np.testing.assert_array_equal(found[1:], image[[2, 1]])


def test_a_trail_is_a_straight_line_of_light():
  dark = np.zeros((64, 64, 3), np.uint8)
  found = marks.trail(dark, np.random.default_rng(1))
  y, x = np.nonzero(found[..., 0] > 200)
  assert 40 < len(x) < 200
  places = np.stack([x, y]) - np.mean([x, y], axis=1, keepdims=True)
  across, along = np.linalg.svd(places, compute_uv=False)[::-1]
  assert across / np.sqrt(len(x)) < 0.7  # pixels
  assert along / np.sqrt(len(x)) > 10


def test_a_stamp_is_the_same_on_all(image):
  found = np.asarray(marks.MarkedImages(image, ROWS, "stamp", seed=3))
  first, second = found[ROWS][:, -SIZE // 8 :, -SIZE // 8 :]
  np.testing.assert_array_equal(first, second)
  assert set(np.unique(first)) == {0, 255}


def test_trails_lie_anywhere(image):
  found = np.asarray(marks.MarkedImages(image * 0, ROWS, "trail", seed=3))
  assert np.any(found[1] != found[4])


def test_the_noise_model_knows_all_marks():
  setting = noise.NOISE_MODELS.keywords("trigger")["mark"]
  assert set(get_args(setting.annotation)) == set(marks.MARKS)
