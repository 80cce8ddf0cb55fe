"""The files of the Galaxy Zoo DECaLS release on Zenodo."""

from collections.abc import Mapping
import contextlib
from pathlib import Path

from gzjax.data.downloads import archives, records, tables
from gzjax.data.galaxy_builder import Galaxies
from gzjax.errors import UserError
from gzjax.morphology.trees import Tree

ZENODO = "zenodo.org/records/4573248"
# As the file lists of public builders have them.
SHA256: Mapping[str, str] = {
  "gz_decals_volunteers_5.csv": (
    "aa509fc286f6a68a2a1ab7e57c04b4160be06a713f641e9c5860a498448b4c9b"
  ),
  "gz_decals_volunteers_1_and_2.csv": (
    "fab8dccfd963748c43d27ce650b13bf84c43c14796dac6a4260cc38c1b430887"
  ),
}
_PARTS = tuple(f"gz_decals_dr5_png_part{i}" for i in range(1, 5))


def read_release(
  folder: Path,
  scratch: Path,
  stack: contextlib.ExitStack,
  *,
  campaign: str,
  tree: Tree,
  sha256: Mapping[str, str],
) -> Galaxies:
  """Reads and checks a table of votes, and finds the images that are there.

  Args:
    folder: has the table and any of the images, zipped or not.
    scratch: see `archives.open_zip`.
    stack: closes the files.
    campaign: which table, `gz_decals_<campaign>`.
    tree: A answers.
    sha256: file name -> checksum of the files to verify.

  Returns:
    `id_str` (iauname), `counts` f32[A], `debiased` f32[A] (NaN where there is
    none), `ra` and `dec` (float64 degrees).

  Raises:
    UserError: naming the file or the row and the mend.
  """
  stem = f"gz_decals_{campaign}"
  path = archives.find([folder], (f"{stem}.csv", f"{stem}.parquet"), ZENODO)
  places = _image_places(folder)
  archives.verify(path, "sha256", sha256)
  votes = tables.read_table(
    archives.open_file(path, scratch, stack),
    str(path),
    ["iauname"],
    records.vote_groups(
      tree.answers, [f"{name}_debiased" for name in tree.answers]
    ),
  )
  ids = votes["iauname"]
  images = archives.open_images(places, scratch, stack)
  found = images.has(ids)
  if not found.any():
    raise UserError(
      f"{', '.join(map(str, places))}: not one image is of a galaxy of {path}; "
      f"get {_PARTS[0]}.zip from {ZENODO}."
    )
  return records.galaxies(
    images,
    ids,
    {"id_str": ids, **records.vote_columns(votes)},
    {"repeated id": tables.repeated(ids), "no image": ~found},
  )


def _image_places(folder: Path) -> list[Path]:
  """Zips of images, or the folders that they unpack to."""
  parts = [
    next((folder / name for name in names if (folder / name).exists()), None)
    for names in ((f"{part}.zip", part) for part in _PARTS)
  ]
  places = [part for part in parts if part]
  places += sorted(folder.glob("J[0-9][0-9][0-9]"))
  if not places:
    raise UserError(
      f"{folder} has no images: get {_PARTS[0]}.zip, or any of the four parts, "
      f"from {ZENODO}."
    )
  return places
