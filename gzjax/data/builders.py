"""The builder of each kind of data set."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from gzjax.data import galaxy_zoo2, galaxy_zoo_decals
from gzjax.data.galaxy_catalog import (
  catalog,
  fits_images,
  galaxy_catalog_dataset_builder,
)
from gzjax.data.galaxy_catalog.fits_images import Stretch
from gzjax.data.galaxy_synthetic import galaxy_synthetic_dataset_builder
from gzjax.errors import UserError
from gzjax.morphology import campaigns


def catalog_builder(
  path: Path,
  images: Path,
  columns: catalog.Columns,
  classes: tuple[str, ...],
  data_dir: str | None,
  stretch: Stretch = fits_images.DEFAULT,
) -> tfds.core.DatasetBuilder:
  """The builder of a catalogue; the fingerprint of its content is its name.

  Raises:
    UserError: see `catalog.read_catalog`.
  """
  return builder_of(
    catalog.read_catalog(path, images, columns, classes, stretch),
    path,
    data_dir,
  )


def builder_of(
  found: catalog.Catalog, path: Path, data_dir: str | None
) -> tfds.core.DatasetBuilder:
  """The builder of a catalogue that was checked.

  Args:
    found: its content.
    path: the table that it was read from; the builder is called like it.
    data_dir: TFDS folder; None is TFDS's own default.
  """
  config = galaxy_catalog_dataset_builder.GalaxyCatalogConfig(
    name=f"{path.name.partition('.')[0]}-{catalog.fingerprint(found)}",
    catalog=found,
  )
  return galaxy_catalog_dataset_builder.Builder(
    config=config, data_dir=data_dir
  )


def synthetic_builder(
  *,
  galaxies: int,
  image_size: int,
  class_fractions: tuple[float, ...],
  seed: int,
  data_dir: str | None,
  tree: str = campaigns.GZ2.name,
) -> tfds.core.DatasetBuilder:
  """The builder of a synthetic sky.

  Args:
    galaxies: how many.
    image_size: edge of the pictures in pixels.
    class_fractions: shares of `scene.CLASSES`.
    seed: names the sky.
    data_dir: TFDS folder; None is TFDS's own default.
    tree: through which the volunteers vote, a key of `volunteers.CAMPAIGNS`.

  Raises:
    UserError: for any other tree.
  """
  config = galaxy_synthetic_dataset_builder.GalaxySyntheticConfig(
    galaxies=galaxies,
    image_size=image_size,
    class_fractions=class_fractions,
    seed=seed,
    tree=tree,
  )
  return galaxy_synthetic_dataset_builder.Builder(
    config=config, data_dir=data_dir
  )


def zoo_builder(
  name: str,
  manual_dir: str | None,
  *,
  verify: bool,
  samples: tuple[str, ...],
  data_dir: str | None,
) -> tfds.core.DatasetBuilder:
  """The builder of files of Galaxy Zoo; their fingerprint is in its name.

  Otherwise a data set that was made from a part of the files would be taken for
  that of all.

  Args:
    name: such as galaxy_zoo2/kaggle.
    manual_dir: folder of the files that the user downloaded; None is TFDS's
      own default.
    verify: whether published checksums are compared.
    samples: of Hart et al. (2016): original, extra, stripe82.
    data_dir: TFDS folder; None is TFDS's own default.

  Raises:
    UserError: for an unknown name, or a folder without the files.
  """
  family, _, config_name = name.partition("/")
  configs = {
    f"{k}/{c}": config
    for k, builder in _ZOO.items()
    for c, config in builder.builder_configs.items()
  }
  if name not in configs:
    raise UserError(
      f"data.builder is {name!r}: choose one of {', '.join(configs)}, "
      "galaxy_catalog or galaxy_synthetic."
    )
  folder = Path(manual_dir) if manual_dir else _default_manual_dir(data_dir)
  files = _listing(folder)
  if not files:
    raise UserError(
      f"there are none of Galaxy Zoo's files in the folder {folder}: "
      f"{_ZOO[family].MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )
  changes = {"samples": samples} if config_name == "hart16" else {}
  known = repr((files, changes)).encode()
  config = dataclasses.replace(
    configs[name],
    name=f"{config_name}-{hashlib.sha256(known).hexdigest()[:12]}",
    verify=verify,
    **changes,
  )
  return _ZOO[family](config=config, data_dir=data_dir)


_ZOO: dict[str, Any] = {
  "galaxy_zoo2": galaxy_zoo2.Builder,
  "galaxy_zoo_decals": galaxy_zoo_decals.Builder,
}


# How the names of their files and folders begin.
_FILES = (
  "J",
  "galaxy-zoo",
  "gz2_",
  "gz_decals",
  "images",
  "training_solutions",
)


def _default_manual_dir(data_dir: str | None) -> Path:
  root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  return root / "downloads" / "manual"


def _listing(folder: Path) -> list[tuple[str, int, int]]:
  """Galaxy Zoo's files in a folder: names, sizes and times of change."""
  if not folder.is_dir():
    return []
  found = [
    path
    for top in folder.iterdir()
    if top.name.startswith(_FILES)
    for path in (top, *top.rglob("*"))
  ]
  return sorted(
    (str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns)
    for path, stat in ((path, path.stat()) for path in found)
  )
