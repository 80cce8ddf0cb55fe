"""What whole runs share: a rendered sky, and a mesh of one device."""

import fcntl
import os

import jax
from matplotlib.figure import Figure
import pytest

from configs import demo
from gzjax import sharding
from gzjax.data import builders, dataset
from gzjax.pipeline import stages
from tests.command_line import one_error, run_here


@pytest.fixture
def no_run(monkeypatch):
  """Takes the place of the stages: what they would be called with."""
  calls = []
  monkeypatch.setattr(
    stages, "run", lambda *args, **named: calls.append((args, named))
  )
  return calls


@pytest.fixture
def refused(capsys):
  """A function: the one line that a command with a mistake ends in."""

  def refused(*arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
      run_here(*arguments)
    assert caught.value.code == 2
    return one_error(capsys.readouterr().err)

  return refused


@pytest.fixture(scope="session")
def sky(tmp_path_factory):
  """A TFDS folder of all workers, with the sky of the tiny demo in it."""
  folder = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    folder = folder.parent
  folder = folder / "tfds"
  folder.mkdir(exist_ok=True)
  data = demo.get_config("tiny").data
  with (folder / "lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # one renders, the others wait for it
    read = builders.READERS[data.builder]
    place = builders.Place(data_dir=str(folder), size=data.size)
    settings = builders.READERS.take(data.builder, data)
    dataset.prepare(read(place, **settings))
  return folder


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


@pytest.fixture(scope="module")
def unpainted():
  """Pages whose pictures nobody looks at: those take a third of a run."""

  def savefig(self, file, *, format, **_):
    file.write("<svg/>" if format == "svg" else b"")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Figure, "savefig", savefig)
    yield


@pytest.fixture
def without_report(monkeypatch):
  """For runs whose point is not their page: drawing it is a third of a run."""
  report = stages.STAGES["report"]
  monkeypatch.setitem(stages.STAGES, "report", report._replace(in_all=False))


@pytest.fixture
def on_all_devices(on_one_device, monkeypatch):
  """All eight again, for one test."""
  make_mesh = sharding.make_mesh
  monkeypatch.setattr(
    sharding,
    "make_mesh",
    lambda devices=None: make_mesh(devices or jax.devices()),
  )
