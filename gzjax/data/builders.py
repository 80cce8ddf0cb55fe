"""The builder of each kind of data set, see `READERS`."""

from collections.abc import Callable
import dataclasses
from functools import partial
import hashlib
from pathlib import Path
import re
from typing import Annotated, Any, NamedTuple

import tensorflow_datasets as tfds

from gzjax.data import galaxy_zoo2, galaxy_zoo_decals
from gzjax.data.galaxy_catalog import catalog as catalogs
from gzjax.data.galaxy_catalog import galaxy_catalog_dataset_builder as tabular
from gzjax.data.galaxy_catalog import guess
from gzjax.data.galaxy_catalog.fits_images import Extension, Stretch
from gzjax.data.galaxy_catalog.guess import AUTO
from gzjax.data.galaxy_files import (
  class_folders,
  embedded,
  galaxy_files_dataset_builder,
  hdf5,
  parquet,
)
from gzjax.data.galaxy_synthetic import galaxy_synthetic_dataset_builder
from gzjax.errors import UserError
from gzjax.morphology import campaigns
from gzjax.registry import AboveZero, Positive, Range, Share, Table


def builder_of(
  found: catalogs.Catalog, path: Path, data_dir: str | None
) -> tfds.core.DatasetBuilder:
  """The builder of a catalogue, named after its table at `path` and content."""
  config = tabular.GalaxyCatalogConfig(
    name=f"{_stem(path)}-{catalogs.fingerprint(found)}",
    catalog=found,
  )
  return tabular.Builder(config=config, data_dir=data_dir)


def _stem(path: Path) -> str:
  """The name of a file or a folder up to its first point."""
  return path.absolute().name.partition(".")[0]


class Place(NamedTuple):
  """What a reader needs beside its settings."""

  data_dir: str | None = None  # TFDS folder; None is TFDS's own default
  manual_dir: str | None = None  # of files that the user downloaded
  seed: int = 0  # of a sky
  size: int = 64  # edge of the network's input, pixels
  given: str = ""  # column of labels as somebody gave them


def _zoo(
  family: Any, name: str, place: Place, *, verify: bool = True, **changes: Any
):
  """Galaxy Zoo's own files, in `manual_dir`; their fingerprint is in its name.

  Otherwise a data set that was made from a part of the files would be taken for
  that of all. `changes` are those of the builder's config.

  Raises:
    UserError: for a folder without the files.
  """
  root = Path(place.data_dir or tfds.core.constants.DATA_DIR).expanduser()
  folder = Path(place.manual_dir or root / "downloads" / "manual")
  files = _listing(folder)
  if not files:
    raise UserError(
      f"there are none of Galaxy Zoo's files in the folder {folder}: "
      f"{family.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )
  known = repr((files, changes)).encode()
  config = dataclasses.replace(
    family.builder_configs[name],
    name=f"{name}-{hashlib.sha256(known).hexdigest()[:12]}",
    verify=verify,
    **changes,
  )
  return family(config=config, data_dir=place.data_dir)


def _hart16(
  place: Place, *, verify: bool = True, samples: tuple[str, ...] = ("original",)
):
  """The whole of Galaxy Zoo 2, with the labels of Hart et al. (2016).

  Args:
    place: see `Place`.
    verify: whether to compare the checksums that were published.
    samples: galaxy_zoo2/hart16: which of original, extra and stripe82.
  """
  return _zoo(
    galaxy_zoo2.Builder, "hart16", place, verify=verify, samples=tuple(samples)
  )


def _catalog(
  place: Place,
  *,
  catalog: str = "",
  images: str = "",
  id_column: str = AUTO,
  file_column: str = AUTO,
  file_prefix: str = AUTO,
  file_pattern: str = AUTO,
  label_column: str = AUTO,
  vote_columns: tuple[str, ...] = (),
  tree: str = "",
  vote_form: str = AUTO,
  crop_column: str = "",
  ra_column: str = AUTO,
  dec_column: str = AUTO,
  split_column: str = AUTO,
  classes: tuple[str, ...] = (),
  fits_extensions: tuple[Extension, ...] = (),
  fits_planes: str = "rgb",
  fits_white: Annotated[float, Range(0, 100, above=True)] = 99.7,
  fits_softening: AboveZero = 10.0,
  skip_bad: bool = False,
):
  """A table of galaxies and a folder of their images.

  What is "auto" is found by the names and the content of the columns, see
  `guess`.

  Args:
    place: see `Place`.
    catalog: the table, CSV (text of any separator), parquet, FITS, VOTable or
      ECSV; of galaxy_zoo_parquet, galaxy10_decals, galaxy_mnist and
      image_folders the file or the folder.
    images: folder of the images; "" is the catalogue's own.
    id_column: of the galaxies' names; auto: found in the table.
    file_column: of the image files; auto: found; "": file_pattern needs none.
    file_prefix: what file_column has before names from the folder of the images
      on, such as old/cutouts/; auto: found.
    file_pattern: of {id}, {file}, the rest of file_column, and other columns,
      such as {id}.jpg or {subfolder}/{id}.png; */ in front is any folder in
      that of the images; auto: found.
    label_column: of the classes; auto: found, or votes in its place; "": not
      read.
    vote_columns: one per class; without a label column the most votes are the
      label.
    tree: of a campaign (gz2, gzd_5, euclid, ...), several (gz2+euclid), or a
      file (.yaml, .json): votes by name; of galaxy_synthetic gz2 ("") or gzd_5.
    vote_form: of the tree's columns: counts, fractions, or auto.
    crop_column: edge of each galaxy's square, pixels of the file.
    ra_column: right ascension, degrees; auto: by its usual names; "": not read.
    dec_column: declination, likewise.
    split_column: train, validation, test; auto: found; "": drawn.
    classes: the names in the label column, in the order of the classes; (): all
      that are there.
    fits_extensions: FITS images: names or numbers of the HDUs with the image,
      or with a plane each; (): the first image.
    fits_planes: FITS images: the colour of each plane; - is not shown, so that
      bgr- is for g, r, i and z.
    fits_white: FITS images: the percentile that is white.
    fits_softening: FITS images: where the asinh stretch bends (Lupton et al.
      2004); larger ones show fainter light.
    skip_bad: leave out rows whose images cannot be used; else they are listed,
      and nothing is done.
  """
  path = Path(catalog)
  folder = Path(images) if images else path.parent
  settings = {
    "id_column": id_column,
    "file_column": file_column,
    "file_prefix": file_prefix,
    "file_pattern": file_pattern,
    "label_column": label_column,
    "vote_columns": tuple(vote_columns),
    "tree": tree,
    "vote_form": vote_form,
    "crop_column": crop_column,
    "ra_column": ra_column,
    "dec_column": dec_column,
    "split_column": split_column,
    "classes": tuple(classes),
  }
  if guess.is_needed(settings):
    settings = guess.guess(path, folder, settings).settings
  columns = catalogs.columns_from(settings, place.given)
  stretch = Stretch(
    fits_planes, fits_white, fits_softening, tuple(fits_extensions)
  )
  found = catalogs.read_catalog(
    path, folder, columns, settings["classes"], stretch
  )
  if skip_bad:
    found = catalogs.without_bad_images(found)
  return builder_of(found, path, place.data_dir)


def _parquet(
  place: Place,
  *,
  catalog: str = "",
  id_column: str = AUTO,
  label_column: str = AUTO,
  tree: str = "",
  classes: tuple[str, ...] = (),
  skip_bad: bool = False,
):
  """Parquet files with their images inside, as Hugging Face has data sets.

  Those of Galaxy Zoo, such as mwalmsley/gz_evo, and any other of images and
  labels.
  """
  found = parquet.read(
    Path(catalog),
    id_column=id_column,
    label_column=label_column,
    tree=tree,
    classes=tuple(classes),
  )
  if skip_bad:
    found = embedded.without_bad_images(found)
  return _builder_of_files(found, place)


def _hdf5(
  layout: str,
  place: Place,
  *,
  catalog: str = "",
  classes: tuple[str, ...] = (),
):
  """HDF5 files in one of `hdf5.LAYOUTS`."""
  found = hdf5.read(Path(catalog), layout, tuple(classes))
  return _builder_of_files(found, place)


def _class_folders(place: Place, *, catalog: str = "", skip_bad: bool = False):
  """A folder of class folders of images."""
  path = Path(catalog)
  found = class_folders.read(path)
  if skip_bad:
    found = catalogs.without_bad_images(found)
  return builder_of(found, path, place.data_dir)


def _builder_of_files(
  found: embedded.Embedded, place: Place
) -> tfds.core.DatasetBuilder:
  config = galaxy_files_dataset_builder.GalaxyFilesConfig(
    name=f"{_stem(found.path)}-{embedded.fingerprint(found)}", galaxies=found
  )
  return galaxy_files_dataset_builder.Builder(
    config=config, data_dir=place.data_dir
  )


def _synthetic(
  place: Place,
  *,
  galaxies: Positive = 2000,
  class_fractions: tuple[Share, ...] = (0.45, 0.45, 0.1),
  tree: str = "",
):
  """A synthetic sky and its volunteers.

  Args:
    place: see `Place`.
    galaxies: galaxy_synthetic: how many.
    class_fractions: galaxy_synthetic: shares of smooth, featured, artifact.
    tree: gz2 ("") or gzd_5.
  """
  config = galaxy_synthetic_dataset_builder.GalaxySyntheticConfig(
    galaxies=galaxies,
    image_size=place.size,
    class_fractions=tuple(class_fractions),
    seed=place.seed,
    tree=tree or campaigns.GZ2.name,
  )
  return galaxy_synthetic_dataset_builder.Builder(
    config=config, data_dir=place.data_dir
  )


# (place, **settings) -> TFDS builder
READERS: Table[Callable[..., tfds.core.DatasetBuilder]] = Table(
  {
    "galaxy_zoo2/kaggle": partial(_zoo, galaxy_zoo2.Builder, "kaggle"),
    "galaxy_zoo2/hart16": _hart16,
    **{
      f"galaxy_zoo_decals/{name}": partial(
        _zoo, galaxy_zoo_decals.Builder, name
      )
      for name in ("volunteers_5", "volunteers_1_and_2")
    },
    "galaxy_catalog": _catalog,
    "galaxy_zoo_parquet": _parquet,
    **{name: partial(_hdf5, name) for name in hdf5.LAYOUTS},
    "image_folders": _class_folders,
    "galaxy_synthetic": _synthetic,
  }
)


# How the names of Galaxy Zoo's files and folders begin.
_FILES = re.compile("J|galaxy-zoo|gz2_|gz_decals|images|training_solutions")


def _listing(folder: Path) -> list[tuple[str, int, int]]:
  """Galaxy Zoo's files in a folder: names, sizes and times of change."""
  return sorted(
    (str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns)
    for top in folder.glob("*")  # none where there is no such folder
    if _FILES.match(top.name)
    for path in (top, *top.rglob("*"))
    for stat in [path.stat()]
  )
