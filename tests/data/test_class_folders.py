"""Class folders of images, as torchvision's ImageFolder has them."""

import numpy as np
import pytest

from gzjax.data import builders, dataset
from gzjax.errors import UserError
from tests.data.galaxy_files import write_folders


def load(tmp_path, path, **settings):
  place = builders.Place(str(tmp_path / "tfds"))
  builder = builders.READERS["image_folders"](
    place, catalog=str(path), **settings
  )
  return dataset.load(dataset.prepare(builder), crop=0, size=16)


def test_classes_ids_and_pixels(tmp_path):
  names = ["spiral/2.png", "spiral/10.png", "Disk/a.b.png", "Disk/in/c.png"]
  root = tmp_path / "set"
  written = write_folders(root, names)
  (root / "spiral" / "notes.txt").write_text("no image")
  (root / ".hidden").mkdir()
  found = load(tmp_path, root)
  assert found.classes == ("Disk", "spiral")
  ids = ["Disk/a.b", "Disk/in/c", "spiral/10", "spiral/2"]
  assert found.table["id_str"].tolist() == ids
  assert found.table["label"].tolist() == [0, 0, 1, 1]
  assert "split" not in found.table
  for row, id_str in enumerate(ids):
    wanted = written[f"{id_str}.png"]
    np.testing.assert_array_equal(found.image[row], wanted)
  assert found.notes == ("set: 2 class folders, 4 galaxies",)


@pytest.mark.parametrize("validation", ["val", "valid", "Validation", ""])
def test_folders_of_parts(tmp_path, validation):
  root = tmp_path / "set"
  for part in filter(None, ("train", validation, "test")):
    write_folders(root, [f"{part}/{c}/{i}.jpg" for c in "ab" for i in range(5)])
  found = load(tmp_path, root)
  assert found.classes == ("a", "b")
  assert "train/a/0" in set(found.table["id_str"])
  sizes = found.table["split"].value_counts().to_dict()
  drawn = {"train": 8, "validation": 2, "test": 10}
  assert sizes == (dict.fromkeys(drawn, 10) if validation else drawn)


def test_parts_without_test_are_no_split(tmp_path):
  root = tmp_path / "set"
  for part in ("train", "val"):
    write_folders(root, [f"{part}/{c}/{i}.jpg" for c in "ab" for i in range(2)])
  found = load(tmp_path, root)
  assert "split" not in found.table
  assert "there is only train and validation" in found.notes[1]


def refusal(tmp_path, path, **settings):
  with pytest.raises(UserError) as caught:
    load(tmp_path, path, **settings)
  message = str(caught.value)
  assert "\n" not in message
  return message


def test_a_class_folder_without_images(tmp_path):
  write_folders(tmp_path, ["set/a/1.png", "set/b/2.png"])
  (tmp_path / "set" / "c").mkdir()
  (tmp_path / "set" / "c" / "readme.md").write_text("")
  message = refusal(tmp_path, tmp_path / "set")
  assert f"{tmp_path / 'set' / 'c'} has no images" in message
  assert "delete the folder" in message


def test_one_class_or_none(tmp_path):
  write_folders(tmp_path, ["set/a/1.png"])
  assert "set has 1 class folders" in refusal(tmp_path, tmp_path / "set")
  assert "a has 0 class folders" in refusal(tmp_path, tmp_path / "set" / "a")
  message = refusal(tmp_path, tmp_path / "nowhere")
  assert message.startswith("catalog is ")


def test_images_that_are_called_alike(tmp_path):
  write_folders(tmp_path, ["set/a/1.png", "set/a/1.jpg", "set/b/1.png"])
  message = refusal(tmp_path, tmp_path / "set")
  assert "set has a/1.jpg and a/1.png, which are called alike" in message


def test_a_file_that_is_no_image(tmp_path):
  write_folders(tmp_path, ["set/a/1.png", "set/b/2.png", "set/b/3.png"])
  path = tmp_path / "set" / "b" / "2.png"
  path.write_bytes(b"hello")
  message = refusal(tmp_path, tmp_path / "set")
  assert f"row 2 (id b/2): {path} is not a whole image" in message
  found = load(tmp_path, tmp_path / "set", skip_bad=True)
  assert found.left_out == {"the image cannot be used": 1}
