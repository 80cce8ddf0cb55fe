"""Web pages and pointers of Git LFS in the place of files, of all kinds."""

import io

import pytest

from gzjax.data.galaxy_catalog import tables
from gzjax.data.galaxy_files import hdf5, shards
from gzjax.data.images import open_image
from gzjax.errors import UserError

PAGE = "<!DOCTYPE html><html>not found</html>"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize(
  ("content", "words"), [(PAGE, "a web page"), (POINTER, "git lfs pull")]
)
@pytest.mark.parametrize(
  ("name", "read"),
  [
    ("train-00000-of-00001.parquet", lambda x: shards.find([x])),
    ("Galaxy10_DECals.h5", hdf5.layout_of),
    ("t.csv", tables.read_table),
    ("t.parquet", tables.read_table),
    ("t.fits", tables.read_table),
  ],
)
def test_what_lies_there_is_said(tmp_path, content, words, name, read):
  path = tmp_path / name
  path.write_text(content)
  with pytest.raises(UserError, match=words) as caught:
    read(path)
  assert str(path) in str(caught.value)


@pytest.mark.parametrize(
  ("content", "words"), [(PAGE, "a web page"), (POINTER, "git lfs pull")]
)
def test_of_images_too(tmp_path, content, words):
  path = tmp_path / "0.jpg"
  path.write_text(content)
  for source in (path, io.BytesIO(content.encode())):
    with pytest.raises(ValueError, match=words):
      open_image(source)
