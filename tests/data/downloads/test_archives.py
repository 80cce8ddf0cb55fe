"""Folders, zips and zips in zips: the same images, and one-line errors."""

import hashlib
import zipfile

import numpy as np
import pytest

from gzjax.data.downloads import archives
from gzjax.errors import UserError
from tests.data.zoo_files import encoded, write_zip

FILES = {f"images/{i}.jpg": encoded(i, "JPEG") for i in range(6)}
STEMS = [str(i) for i in range(6)]


@pytest.fixture
def files(tmp_path):
  with archives.Files(tmp_path / "scratch") as files:
    yield files


def _message(call, *args):
  with pytest.raises(UserError) as caught:
    call(*args)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def _write_folder(folder):
  for name, data in FILES.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
  (folder / "images" / "._1.jpg").write_bytes(b"no image")
  (folder / "images" / "notes.txt").write_text("no image")
  return folder


def _bundle(folder, files):
  path = write_zip(folder / "bundle.zip", files)
  return zipfile.Path(zipfile.ZipFile(path))


def _inner_zip(folder):
  return write_zip(folder / "images.zip", FILES).read_bytes()


LAYOUTS = {
  "folder": _write_folder,
  "zip": lambda folder: write_zip(folder / "images.zip", FILES),
  "zip in a zip": lambda folder: (
    _bundle(folder, {"images.zip": _inner_zip(folder)}) / "images.zip"
  ),
  "folder in a zip": lambda folder: (
    _bundle(folder, {**FILES, "other/9.jpg": b"no image"}) / "images"
  ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_same_images(layout, tmp_path, files):
  path = LAYOUTS[layout](tmp_path / "manual")
  scratch = tmp_path / "scratch"
  images = files.open_images([path])
  assert len(images) == len(FILES)
  assert list(images.has([*STEMS, "9", "._1"])) == [True] * 6 + [False] * 2
  order = STEMS[::-1]
  wanted = [FILES[f"images/{stem}.jpg"] for stem in order]
  assert list(images.read(order, order)) == wanted
  assert list(images.sizes(order)) == list(map(len, wanted))
  # The copy of a zip in a zip has no name: a killed run leaves nothing.
  assert not scratch.exists() or not list(scratch.iterdir())


def test_many_images_from_threads(tmp_path, files):
  data = {f"a/{i}.png": encoded(i, "PNG") for i in range(300)}
  path = write_zip(tmp_path / "a.zip", data)
  images = files.open_images([path])
  stems = [str(i) for i in range(300)]
  assert list(images.read(stems, stems)) == list(data.values())


def test_several_zips_are_one_collection(tmp_path, files):
  one = write_zip(tmp_path / "1.zip", {"1.png": encoded(1, "PNG")})
  two = write_zip(tmp_path / "2.zip", {"2.png": encoded(2, "PNG")})
  images = files.open_images([one, two])
  assert list(images.has(["1", "2", "3"])) == [True, True, False]


def test_the_state_changes_with_the_content(tmp_path):
  def state(data):
    path = write_zip(tmp_path / "images.zip", data)
    with archives.Files(tmp_path) as files:
      return files.open_images([path]).state(STEMS)

  same = state(FILES)
  assert state(FILES) == same
  assert state({**FILES, "images/3.jpg": encoded(9, "JPEG")}) != same


def test_the_same_stem_twice(tmp_path, files):
  one = write_zip(tmp_path / "1.zip", {"a/1.png": b""})
  two = write_zip(tmp_path / "2.zip", {"b/1.jpg": b""})
  message = _message(files.open_images, [one, two])
  assert f"a/1.png in {one}" in message
  assert f"b/1.jpg in {two}" in message


@pytest.mark.parametrize("how", ["truncated", "text", "empty"])
def test_a_zip_that_is_not_whole(tmp_path, files, how):
  path = write_zip(tmp_path / "images.zip", FILES)
  whole = path.read_bytes()
  path.write_bytes(
    {"truncated": whole[:-1000], "text": b"hello", "empty": b""}[how]
  )
  message = _message(files.open_images, [path])
  assert str(path) in message
  assert "download it again" in message


def test_a_damaged_member_is_named(tmp_path, files):
  path = tmp_path / "images.zip"
  with zipfile.ZipFile(path, "w") as archive:  # not compressed
    for name, data in FILES.items():
      archive.writestr(name, data)
  data = path.read_bytes()
  at = data.index(FILES["images/2.jpg"]) + 300
  path.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
  images = files.open_images([path])
  message = _message(list, images.read(STEMS, [f"id{s}" for s in STEMS]))
  assert f"galaxy id2: images/2.jpg in {path} is not a whole" in message
  assert f"download {path} again" in message


def test_no_images(tmp_path, files):
  path = write_zip(tmp_path / "images.zip", {"notes.txt": b""})
  assert "no images" in _message(files.open_images, [path])


def test_a_missing_file_names_all_spellings_and_the_origin(tmp_path):
  message = _message(archives.find, [tmp_path], ("a.zip", "a"), "example.org")
  assert str(tmp_path) in message
  assert "a.zip or a" in message
  assert "example.org" in message


def test_a_file_in_a_zip_stands_alone(tmp_path, files):
  path = write_zip(tmp_path / "t.zip", {"t.csv": b"a,b"})
  assert files.open_file(path).read() == b"a,b"
  two = write_zip(tmp_path / "two.zip", {"t.csv": b"", "u.csv": b""})
  assert "2 files" in _message(files.open_file, two)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_checksums(tmp_path, algorithm):
  path = tmp_path / "file.zip"
  path.write_bytes(bytes(range(256)) * 10_000)  # more than one block
  right = hashlib.new(algorithm, path.read_bytes()).hexdigest()
  archives.verify(path, algorithm, {"file.zip": right})
  archives.verify(path, algorithm, {"other.zip": "0"})
  archives.verify(tmp_path, algorithm, {tmp_path.name: "0"})
  message = _message(archives.verify, path, algorithm, {"file.zip": "abc"})
  assert str(path) in message
  assert right in message
  assert "abc" in message
  assert "download it again" in message


def test_few_images_may_be_missing(tmp_path, files):
  path = write_zip(tmp_path / "a.zip", {f"{i}.png": b"" for i in range(990)})
  images = files.open_images([path])
  stems = np.asarray([str(i) for i in range(1000)], object)
  ids = np.asarray([f"id{i}" for i in range(1000)], object)
  assert images.has_most(stems, ids, "t.csv").sum() == 990
  # One fewer that is there, and the missing ones are more than a hundredth.
  message = _message(images.has_most, stems[1:], ids[1:], "t.csv")
  assert f"{path} has no image of 10 of the 999 galaxies of t.csv" in message
  assert "the first is id990" in message
