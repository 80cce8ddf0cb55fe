"""All bad images are told at once, and none is lost."""

import numpy as np
import pytest

from gzjax.data import bad_images
from gzjax.errors import UserError


def _read(bad):
  def read(i):
    with bad_images.naming(f"row {i}", f"{i}.png", "fetch it again"):
      if i in bad:
        raise ValueError("it is\nno image")
      return bytes([i])

  return read


@pytest.mark.parametrize(
  ("bad", "words"),
  [
    ({3}, r"^row 3: 3\.png is not a whole image \(it is no image\): fetch it"),
    (
      {0, 9},
      r"^2 of 99 images cannot be used, row 0: 0\.png \(it is no image\);",
    ),
    (
      {*range(40, 99)},
      r"^59 of 99 .*row 49: 49\.png \(.*\) and 49 more: fetch",
    ),
  ],
)
@pytest.mark.fault("D")
def test_every_bad_image_is_found(bad, words):
  good = []
  with pytest.raises(UserError, match=words) as caught:
    good.extend(bad_images.read_all(_read(bad), range(99), 99))
  assert good == [bytes([i]) for i in range(min(bad))]
  if len(bad) > 1:
    assert [one.file for one in caught.value.bad] == [
      f"{i}.png" for i in sorted(bad)
    ]


def test_good_images_come_in_order():
  found = bad_images.read_all(_read(set()), range(200), 200)
  assert [*found] == [bytes([i]) for i in range(200)]


def test_what_is_wrong_is_said_of_each():
  found = bad_images.which(_read({1, 4}), range(6), 6)
  assert np.flatnonzero(found).tolist() == [1, 4]
