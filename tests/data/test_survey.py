"""Empty images and twins, against loops over all pairs."""

import numpy as np

from gzjax.data import pixels, survey


def test_empty_images_and_twins_are_found():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (2500, 4, 4, 3)).astype(np.uint8)
  image[[5, 2000]] = (3, 7, 9)  # of one colour
  image[[70, 1500, 2400]] = image[7]
  image[9, 0, 0, 0] = image[8, 0, 0, 0] ^ 1
  image[9].flat[1:] = image[8].flat[1:]  # all but the same
  found = survey.look(image)
  assert np.flatnonzero(found.constant).tolist() == [5, 2000]
  flat = image.reshape(len(image), -1)
  for row in (0, 5, 7, 8, 9, 70, 1500, 2000, 2400, 2499):
    same = np.flatnonzero((flat == flat[row]).all(axis=1))
    assert found.first[row] == same[0]
  assert np.flatnonzero(found.twins).tolist() == [70, 1500, 2000, 2400]
  some = pixels.SelectedImages(image, np.array([2400, 8, 7]))
  assert survey.look(some).first.tolist() == [0, 1, 0]
