"""Where the real galaxies lie, which are not ours to publish."""

from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / "shared" / "data"
GALAXIES = _FOLDER / "galaxies"
KAGGLE = _FOLDER / "kaggle_manual_dir"
DECALS = _FOLDER / "decals"


def needs_real(folder: Path):
  """Marks a test that skips where the folder is not."""

  def mark(test):
    missing = pytest.mark.skipif(
      not folder.is_dir(), reason="the real galaxies are not on this machine"
    )
    return pytest.mark.real_data(missing(test))

  return mark
