"""The base of the builders: shards, memory, and builds that are interrupted."""

import errno
import io
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time
from typing import ClassVar

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_metadata

from gzjax.data import galaxy_builder
from gzjax.errors import UserError

COUNT = 50
SHARD = 10  # galaxies


def dot(i: int) -> bytes:
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8), (i % 256, i // 256, 0)).save(buffer, "PNG")
  return buffer.getvalue()


class Dots(galaxy_builder.GalaxyBuilder):
  """Galaxies that are squares; notes in a file which of them it reads."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar = {"1.0.0": "For tests."}
  count = COUNT
  source = "a"
  first_vote = 0
  log: ClassVar[Path | None] = None
  seconds = 0.0

  def _features(self):
    return {
      "votes": tfds.features.Tensor(shape=(2,), dtype=np.float32),
      "label": tfds.features.ClassLabel(names=["even", "odd"]),
      "split": tfds.features.Text(),
    }

  def _galaxies(self, dl_manager, stack):
    del dl_manager, stack
    ids = np.asarray([f"dot{i}" for i in range(self.count)], object)
    votes = self.first_vote + np.arange(2 * self.count, dtype=np.float32)
    return galaxy_builder.Galaxies(
      {
        "id_str": ids,
        "votes": votes.reshape(-1, 2),
        "label": np.arange(self.count) % 2,
        "split": ["train"] * self.count,
      },
      self._images,
      np.full(self.count, len(dot(0))),
      self.source,
      {"too faint": 3},
      ["a word"],
    )

  def _images(self, rows):
    for i in rows:
      time.sleep(self.seconds)
      if self.log:
        with self.log.open("a") as file:
          file.write(f"{i}\n")
      yield dot(i)


@pytest.fixture
def dots(tmp_path, monkeypatch):
  """Builds in shards of ten; returns the builder's factory."""
  monkeypatch.setattr(galaxy_builder, "SHARD_GALAXIES", SHARD)
  monkeypatch.setattr(Dots, "log", tmp_path / "read.txt")
  return lambda: Dots(data_dir=str(tmp_path / "tfds"))


def _rows_read(tmp_path):
  path = tmp_path / "read.txt"
  rows = [int(line) for line in path.read_text().split()]
  path.unlink()
  return rows


def _check(tmp_path):
  folder = tmp_path / "tfds" / "dots" / "1.0.0"
  found = tfds.builder_from_directory(folder)
  source = found.as_data_source("full")
  assert [e["id_str"] for e in source] == [
    f"dot{i}".encode() for i in range(COUNT)
  ]
  for i in (0, 9, 10, COUNT - 1):
    np.testing.assert_array_equal(source[i]["votes"], [2 * i, 2 * i + 1])
    assert source[i]["image"][0, 0, 0] == i
    assert source[i]["label"] == i % 2
    assert source[i]["split"] == b"train"
  # Nothing is left beside the data set.
  assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]
  return found


def test_records_in_order_and_metadata(dots, tmp_path):
  dots().download_and_prepare()
  found = _check(tmp_path)
  assert found.info.splits["full"].num_shards == COUNT // SHARD
  assert dict(found.info.metadata) == {
    "tree": None,
    "left_out": {"too faint": 3},
    "notes": ["a word"],
  }
  assert dict(dots().info.metadata) == dict(found.info.metadata)
  assert _rows_read(tmp_path) == list(range(COUNT))


def test_formats(tmp_path, monkeypatch):
  monkeypatch.setattr(galaxy_builder, "_has", lambda package: False)
  Dots(data_dir=str(tmp_path / "tfds")).download_and_prepare()
  assert _check(tmp_path).info.file_format.value == "parquet"
  # What lies on disk counts, not what would be written today.
  monkeypatch.undo()
  again = Dots(data_dir=str(tmp_path / "tfds"))
  assert len(again.as_data_source("full")) == COUNT
  other = Dots(data_dir=str(tmp_path / "other"))
  assert other.info.file_format.value == "array_record"


@pytest.mark.parametrize(
  ("sizes", "wanted"),
  [
    ([], []),
    ([1], [range(1)]),
    ([4, 6, 1], [range(2), range(2, 3)]),
    ([11, 1, 11], [range(1), range(1, 2), range(2, 3)]),
    ([0] * 7, [range(3), range(3, 6), range(6, 7)]),
    ([5, 5, 5, 5], [range(2), range(2, 4)]),
  ],
)
def test_shards_are_bounded(monkeypatch, sizes, wanted):
  monkeypatch.setattr(galaxy_builder, "SHARD_BYTES", 10)
  monkeypatch.setattr(galaxy_builder, "SHARD_GALAXIES", 3)
  assert galaxy_builder.shard_rows(np.asarray(sizes, np.int64)) == wanted


class _Killed(BaseException):
  pass


def _stop_writing_at(monkeypatch, shard, error):
  """Raises in the middle of a shard, after it was partly written."""
  write = tfds.core.ExampleWriter.write

  def broken(self, path, examples):
    if f"-{shard:05d}-of" not in str(path):
      return write(self, path, examples)
    next(iter(examples))
    Path(path).write_bytes(b"half of it")
    raise error

  monkeypatch.setattr(tfds.core.ExampleWriter, "write", broken)


def _interrupt(dots, monkeypatch, shard, error, caught):
  with monkeypatch.context() as patch:
    _stop_writing_at(patch, shard, error)
    with pytest.raises(caught) as info:
      dots().download_and_prepare()
  return info.value


def test_finished_shards_are_kept_and_not_read_again(
  dots, tmp_path, monkeypatch
):
  _interrupt(dots, monkeypatch, 2, _Killed(), _Killed)
  assert _rows_read(tmp_path) == list(range(2 * SHARD + 1))
  dots().download_and_prepare()
  assert _rows_read(tmp_path) == list(range(2 * SHARD, COUNT))
  _check(tmp_path)


def test_nothing_is_read_again_after_the_last_shard(
  dots, tmp_path, monkeypatch
):
  def killed(self, folder):
    raise _Killed

  with monkeypatch.context() as patch:
    patch.setattr(tfds.core.DatasetInfo, "write_to_directory", killed)
    with pytest.raises(_Killed):
      dots().download_and_prepare()
  assert _rows_read(tmp_path) == list(range(COUNT))
  dots().download_and_prepare()
  assert not (tmp_path / "read.txt").exists()
  _check(tmp_path)


@pytest.mark.parametrize(
  ("name", "value"), [("source", "b"), ("count", COUNT + 1), ("first_vote", 1)]
)
def test_a_changed_source_starts_anew(dots, tmp_path, monkeypatch, name, value):
  monkeypatch.setattr(Dots, name, value)
  _interrupt(dots, monkeypatch, 2, _Killed(), _Killed)
  _rows_read(tmp_path)
  monkeypatch.undo()
  monkeypatch.setattr(galaxy_builder, "SHARD_GALAXIES", SHARD)
  monkeypatch.setattr(Dots, "log", tmp_path / "read.txt")
  dots().download_and_prepare()
  assert _rows_read(tmp_path) == list(range(COUNT))
  _check(tmp_path)


@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    # What array_record raises.
    RuntimeError("write() failed: No space left on device; at byte 0"),
  ],
)
@pytest.mark.fault("B")
def test_a_full_disk_is_one_line_and_keeps_shards(
  dots, tmp_path, monkeypatch, error
):
  caught = str(_interrupt(dots, monkeypatch, 3, error, UserError))
  assert str(tmp_path / "tfds" / "dots") in caught
  assert "MB more" in caught
  assert "data_dir" in caught
  assert "\n" not in caught
  _rows_read(tmp_path)
  dots().download_and_prepare()
  assert _rows_read(tmp_path) == list(range(3 * SHARD, COUNT))
  _check(tmp_path)


def test_other_errors_are_not_taken_for_a_full_disk(dots, monkeypatch):
  _interrupt(dots, monkeypatch, 1, RuntimeError("other"), RuntimeError)


def test_too_small_a_disk_is_told_before_anything_is_read(
  dots, tmp_path, monkeypatch
):
  usage = shutil.disk_usage(tmp_path)._replace(free=len(dot(0)) * COUNT - 1)
  monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
  with pytest.raises(UserError, match="no room for the data set"):
    dots().download_and_prepare()
  assert not (tmp_path / "read.txt").exists()


def test_a_file_system_without_hard_links(dots, tmp_path, monkeypatch):
  def link(source, target):
    raise OSError(errno.EPERM, "not permitted")

  monkeypatch.setattr(os, "link", link)
  _interrupt(dots, monkeypatch, 2, _Killed(), _Killed)
  _rows_read(tmp_path)
  dots().download_and_prepare()
  assert _rows_read(tmp_path) == list(range(2 * SHARD, COUNT))
  _check(tmp_path)


def test_another_process_that_builds_the_same(dots, tmp_path, monkeypatch):
  write = tfds.core.ExampleWriter.write

  def other_is_faster(self, path, examples):
    write(self, path, examples)
    if "-00001-of" in path.name:
      second = path.name.removeprefix(".").rpartition(".")[0]
      third = second.replace("-00001-of", "-00002-of")
      path.with_name(third).write_bytes(b"from the other")

  monkeypatch.setattr(tfds.core.ExampleWriter, "write", other_is_faster)
  dots().download_and_prepare()
  monkeypatch.undo()
  assert _rows_read(tmp_path) == list(range(COUNT))
  _check(tmp_path)


def test_no_galaxy_is_left(dots, monkeypatch):
  monkeypatch.setattr(Dots, "count", 0)
  with pytest.raises(UserError, match="too faint"):
    dots().download_and_prepare()


_SLOW = """
import pathlib, sys
from gzjax.data import galaxy_builder
from tests.data.test_galaxy_builder import Dots
galaxy_builder.SHARD_GALAXIES = 10
Dots.log = pathlib.Path(sys.argv[1]) / "read.txt"
Dots.seconds = 0.02
Dots(data_dir=sys.argv[1] + "/tfds").download_and_prepare()
"""


def test_a_killed_process_goes_on_after_the_last_whole_shard(dots, tmp_path):
  process = subprocess.Popen([sys.executable, "-c", _SLOW, str(tmp_path)])
  parts = tmp_path / "tfds" / "dots"
  deadline = time.monotonic() + 600
  while len(whole := list(parts.glob("parts.*/*-of-00005"))) < 2:
    assert process.poll() is None
    assert time.monotonic() < deadline
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL
  whole = sorted(parts.glob("parts.*/*-of-00005"))
  assert 2 <= len(whole) < COUNT // SHARD
  first_read = _rows_read(tmp_path)
  assert len(first_read) < COUNT
  for left in parts.glob("incomplete.*"):
    left.rmdir()  # TFDS's own; nothing is in it
  dots().download_and_prepare()
  assert _rows_read(tmp_path) == list(range(len(whole) * SHARD, COUNT))
  _check(tmp_path)


class Noise(Dots):
  """Thirty thousand galaxies of 10 kB, which do not compress."""

  count = 30_000
  size = 10_000

  def _galaxies(self, dl_manager, stack):
    return (
      super()
      ._galaxies(dl_manager, stack)
      ._replace(sizes=np.full(self.count, self.size))
    )

  def _images(self, rows):
    return (os.urandom(self.size) for _ in rows)


_GROWTH = """
import io, json, pathlib, sys
import pandas
from gzjax.data import galaxy_builder
from tests.data.test_galaxy_builder import Noise
galaxy_builder.SHARD_BYTES = 8 << 20
def peak():
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  (line,) = [line for line in lines if line.startswith("VmHWM")]
  return int(line.split()[1]) / 1024
noise = Noise(data_dir=sys.argv[1])
# The first table of any size takes its libraries.
pandas.DataFrame({"a": [0]}).to_parquet(io.BytesIO())
before = peak()
noise.download_and_prepare()
size = noise.info.dataset_size / 2**20
print(json.dumps({"before": before, "after": peak(), "written": size}))
"""


@pytest.mark.skipif(
  not Path("/proc/self/status").exists(), reason="asks Linux for the peak"
)
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", _GROWTH, str(tmp_path)],
    capture_output=True,
    check=True,
    text=True,
  )
  mib = json.loads(done.stdout.splitlines()[-1])
  assert mib["written"] > 280
  assert mib["after"] - mib["before"] < 60, mib
  assert mib["after"] < 1024


def test_tags_are_those_of_tfds():
  files = list(Path(galaxy_builder.__file__).parent.glob("*/TAGS.txt"))
  assert len(files) >= 4
  for file in files:
    tags = file.read_text().split()
    assert tags
    assert set(tags) <= set(dataset_metadata.valid_tags()), file
