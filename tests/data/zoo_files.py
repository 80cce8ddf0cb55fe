"""Tiny downloads in the layouts of Galaxy Zoo's own files."""

import io
from pathlib import Path
import zipfile

import numpy as np
import pandas as pd
from PIL import Image

from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE
from gzjax.morphology.trees import Tree, conditional, joint

KAGGLE_IMAGES = "images_training_rev1"
KAGGLE_TABLE = "training_solutions_rev1.csv"


def pixels(i: int) -> np.ndarray:
  """The pixels of galaxy i, u8[32,32,3]."""
  return np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)


def encoded(i: int, kind: str) -> bytes:
  """The image of galaxy i as JPEG or PNG."""
  buffer = io.BytesIO()
  Image.fromarray(pixels(i)).save(buffer, kind)
  return buffer.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
  """A zip with what macOS adds to it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in files.items():
      archive.writestr(name, data)
      folder, _, stem = name.rpartition("/")
      archive.writestr(f"__MACOSX/{folder}/._{stem}", b"no image")
  return path


def kaggle_table(count: int, id_name: str = "GalaxyID") -> pd.DataFrame:
  """Solutions as text: ids from 100008, fractions that obey the tree."""
  rng = np.random.default_rng(1)
  shares = conditional(GZ2_KAGGLE, rng.random((count, 37)))
  fractions = joint(GZ2_KAGGLE, shares)
  table = pd.DataFrame(fractions, columns=list(GZ2_KAGGLE.kaggle_columns()))
  table = table.map(lambda value: f"{value:.6f}")
  table.insert(0, id_name, [str(100008 + i) for i in range(count)])
  return table


def kaggle_images(table: pd.DataFrame) -> dict[str, bytes]:
  """The content of the zip of images."""
  return {
    f"{KAGGLE_IMAGES}/{galaxy}.jpg": encoded(i, "JPEG")
    for i, galaxy in enumerate(table.iloc[:, 0])
  }


def write_kaggle(folder: Path, count: int) -> pd.DataFrame:
  """The challenge's two zips; returns the table."""
  table = kaggle_table(count)
  write_zip(folder / f"{KAGGLE_IMAGES}.zip", kaggle_images(table))
  write_zip(
    folder / "training_solutions_rev1.zip",
    {KAGGLE_TABLE: table.to_csv(index=False).encode()},
  )
  return table


def write_kaggle_table(folder: Path, table: pd.DataFrame) -> None:
  """Puts an unpacked table in the place of the zipped one."""
  (folder / "training_solutions_rev1.zip").unlink(missing_ok=True)
  table.to_csv(folder / KAGGLE_TABLE, index=False)


def hart16_id(i: int) -> str:
  """The SDSS id of galaxy i: as a float it would be that of another."""
  return str(587722981741363294 + i)


def hart16_table(count: int) -> pd.DataFrame:
  """All 231 columns of Hart et al. (2016); every third row is `extra`."""
  rng = np.random.default_rng(2)
  columns = {
    "dr7objid": [hart16_id(i) for i in range(count)],
    "ra": rng.uniform(0, 360, count),
    "dec": rng.uniform(-10, 70, count),
    "rastring": ["00:00:00.0"] * count,
    "decstring": ["+00:00:00.0"] * count,
    "sample": np.where(np.arange(count) % 3 == 2, "extra", "original"),
    "gz2_class": ["SBc2m"] * count,
    "total_classifications": rng.integers(20, 60, count),
    "total_votes": rng.integers(100, 400, count),
  }
  for stem in GZ2.stems:
    columns[f"{stem}_count"] = rng.integers(0, 50, count)
    for name in ("weight", "fraction", "weighted_fraction", "debiased"):
      columns[f"{stem}_{name}"] = rng.random(count)
    columns[f"{stem}_flag"] = rng.integers(0, 2, count)
  return pd.DataFrame(columns)


def write_hart16(folder: Path, count: int) -> pd.DataFrame:
  """Zenodo's zip and mapping and the table; image i is called 7 + i.jpg."""
  table = hart16_table(count)
  write_zip(
    folder / "images_gz2.zip",
    {f"images/{7 + i}.jpg": encoded(i, "JPEG") for i in range(count)},
  )
  mapping = pd.DataFrame(
    {
      "objid": table["dr7objid"],
      "sample": table["sample"],
      "asset_id": 7 + np.arange(count),
    }
  )
  # The real mapping has galaxies that the table has not, in another order.
  more = pd.DataFrame(
    {"objid": ["588000000000000001"], "sample": ["original"], "asset_id": [1]}
  )
  mapping = pd.concat([more, mapping[::-1]])
  mapping.to_csv(folder / "gz2_filename_mapping.csv", index=False)
  table.to_csv(folder / "gz2_hart16.csv.gz", index=False)
  return table


def decals_name(i: int) -> str:
  """The IAU name of galaxy i."""
  return f"J{i % 24:02d}5612.79-005001.{i}"


def decals_table(tree: Tree, count: int) -> pd.DataFrame:
  """The columns of the release; nobody was asked beyond the first question."""
  rng = np.random.default_rng(3)
  columns = {
    "iauname": [decals_name(i) for i in range(count)],
    "ra": rng.uniform(0, 360, count),
    "dec": rng.uniform(-10, 30, count),
    "redshift": rng.random(count),
  }
  for question in tree.questions:
    columns[f"{question.name}_total-votes"] = rng.integers(0, 50, count)
    for answer in question.answers:
      name = f"{question.name}_{answer}"
      columns[name] = rng.integers(0, 20, count)
      columns[f"{name}_fraction"] = rng.random(count)
      columns[f"{name}_debiased"] = rng.random(count)
  table = pd.DataFrame(columns)
  debiased = [name for name in table if name.endswith("_debiased")]
  table.loc[0, debiased[3:]] = np.nan
  return table


def decals_file(i: int) -> str:
  """Where the image of galaxy i lies below its part."""
  name = decals_name(i)
  return f"{name[:4]}/{name}.png"


def write_decals(folder: Path, tree: Tree, stem: str, count: int):
  """The table, and two of the four zips, which share the images."""
  table = decals_table(tree, count)
  folder.mkdir(parents=True, exist_ok=True)
  table.to_csv(folder / f"{stem}.csv", index=False)
  for part in (1, 3):
    name = f"gz_decals_dr5_png_part{part}"
    write_zip(
      folder / f"{name}.zip",
      {
        f"{name}/{decals_file(i)}": encoded(i, "PNG")
        for i in range(part // 2, count, 2)
      },
    )
  return table


def prepare(builder, folder: Path):
  """Builds from the files of `folder`."""
  import tensorflow_datasets as tfds

  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=folder)
  )
  return builder
