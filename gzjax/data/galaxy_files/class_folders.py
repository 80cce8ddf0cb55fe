"""A folder of class folders of images, as torchvision's ImageFolder."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from gzjax.data.galaxy_catalog import fits_images
from gzjax.data.galaxy_catalog.catalog import Catalog
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_catalog.image_files import ENDINGS
from gzjax.data.galaxy_files import parts
from gzjax.errors import SettingError, UserError


class Folder(NamedTuple):
  """A folder of the images of one class."""

  path: Path
  part: str  # of SPLITS; "": there are no folders of parts

  @property
  def label(self) -> str:
    """The class."""
    return self.path.name


def find(root: Path) -> list[Folder]:
  """The class folders in a folder, or in its train, val and test.

  In the order of parts and names; hidden ones are left out.
  """
  inner = _inner(root)
  divided = [x for x in inner if parts.part_of_name(x.name)]
  if "train" not in {parts.part_of_name(x.name) for x in divided}:
    return [Folder(path, "") for path in inner]
  return [
    Folder(path, parts.part_of_name(part.name))
    for part in divided
    for path in _inner(part)
  ]


def images_of(folder: Path) -> list[Path]:
  """The image files of a folder and of those inside it, by name."""
  found = (x for x in folder.rglob("*") if x.name.lower().endswith(ENDINGS))
  return sorted(x for x in found if not x.name.startswith(".") and x.is_file())


def read(root: Path) -> Catalog:
  """A catalogue of the images in class folders; see `find`.

  The classes are the names of the folders in alphabetical order, as torchvision
  numbers them; an id is the name of its file from `root` on, without its
  ending.

  Raises:
    UserError: naming the folder or the files and the mend.
  """
  if not root.is_dir():
    raise SettingError(
      f"catalog is {str(root)!r}: there is no such folder; give that of the "
      "class folders."
    )
  folders = find(root)
  classes = tuple(sorted({folder.label for folder in folders}))
  if len(classes) < 2:
    raise UserError(
      f"{root} has {len(classes)} class folders: put the images of each class "
      "into a folder of its own, root/class/image.jpg."
    )
  frame = pd.DataFrame(
    [
      {
        "file": image.relative_to(root).as_posix(),
        "path": str(image),
        "label": classes.index(folder.label),
        "split": folder.part,
      }
      for folder in folders
      for image in _images(folder.path)
    ]
  )
  frame.insert(0, "id_str", [_id(file) for file in frame["file"]])
  _check_ids(root, frame)
  split, notes = parts.split_of(list(frame.pop("split")))
  if split is not None:
    frame["split"] = split
  recognised = (
    f"{root.absolute().name}: {len(classes)} class folders, {len(frame):,} "
    "galaxies"
  )
  return Catalog(frame, classes, "", fits_images.DEFAULT, (recognised, *notes))


def read_images(root: Path, stretch: Stretch, taken: str) -> Catalog:
  """A catalogue of all images in a folder and inside it, without labels.

  Called as those of `read`. `taken` says what else could have been given.

  Raises:
    UserError: naming the folder or the files and the mend.
  """
  images = images_of(root)
  if not images:
    raise UserError(
      f"{root} has no images ({', '.join(ENDINGS)}): give {taken}."
    )
  files = [image.relative_to(root).as_posix() for image in images]
  frame = pd.DataFrame(
    {
      "id_str": [_id(file) for file in files],
      "file": files,
      "path": [str(image) for image in images],
    }
  )
  _check_ids(root, frame)
  recognised = (
    f"{root.absolute().name}: a folder of {len(frame):,} images, which are "
    "called after their files"
  )
  return Catalog(frame, (), "", stretch, (recognised,))


def _inner(folder: Path) -> list[Path]:
  found = sorted(x for x in folder.iterdir() if x.is_dir())
  return [x for x in found if not x.name.startswith(".")]


def _images(folder: Path) -> list[Path]:
  found = images_of(folder)
  if not found:
    raise UserError(
      f"{folder} has no images ({', '.join(ENDINGS)}): put those of the class "
      f"{folder.name!r} there, or delete the folder."
    )
  return found


def _id(file: str) -> str:
  lower = file.lower()
  ending = max((x for x in ENDINGS if lower.endswith(x)), key=len)
  return file[: -len(ending)]


def _check_ids(root: Path, frame: pd.DataFrame) -> None:
  twice = frame["id_str"].duplicated()
  if twice.any():
    id_str = frame["id_str"][twice].iloc[0]
    first, second, *_ = frame["file"][frame["id_str"] == id_str]
    raise UserError(
      f"{root} has {first} and {second}, which are called alike but for their "
      f"endings ({twice.sum()} such images): rename or delete one of them."
    )
