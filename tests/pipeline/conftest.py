"""What whole runs share: a rendered sky, and a mesh of one device."""

import jax
import pytest

from gzjax import sharding


@pytest.fixture(scope="session")
def sky(tmp_path_factory):
  """A TFDS folder, where each synthetic sky is rendered once."""
  return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def on_one_device():
  """Runs of a module take one device: programs for eight compile longer."""
  make_mesh = sharding.make_mesh
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      sharding,
      "make_mesh",
      lambda devices=None: make_mesh(devices or jax.devices()[:1]),
    )
    yield


@pytest.fixture
def on_all_devices(on_one_device, monkeypatch):
  """All eight again, for one test."""
  make_mesh = sharding.make_mesh
  monkeypatch.setattr(
    sharding,
    "make_mesh",
    lambda devices=None: make_mesh(devices or jax.devices()),
  )
