"""Small data sets with their images inside, for tests."""

import io
import json

import numpy as np
from PIL import Image
import pyarrow as pa
import pyarrow.parquet
import pytest

from gzjax.morphology import campaigns

SUMMARIES = ("smooth_round", "barred_spiral", "")


def encoded(number: int, kind: str = "JPEG") -> bytes:
  """An image of 16 pixels, another one for each number."""
  pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, kind)
  return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
  return np.asarray(Image.open(io.BytesIO(data)))


def images(first: int, count: int) -> pa.Array:
  """The column of the images of galaxies from `first` on."""
  rows = [
    {"bytes": encoded(i), "path": f"{i}.jpg"}
    for i in range(first, first + count)
  ]
  kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  return pa.array(rows, kind)


def counts(tree, campaign, asked, empty) -> dict[str, np.ndarray]:
  """Columns of votes of a campaign on two questions, of the galaxies `asked`.

  `empty` stands where nobody was asked.
  """
  columns = {}
  for question in tree.questions[:2]:
    stem = f"{question.name}-{campaign}"
    whole = np.zeros(len(asked))
    for k, answer in enumerate(question.answers):
      votes = np.where(asked, np.arange(len(asked)) % 7 + 3 * k + 1, empty)
      columns[f"{stem}_{answer}"] = votes
      columns[f"{stem}_{answer}_fraction"] = np.float32(votes / 10)
      whole += np.nan_to_num(votes)
    columns[f"{stem}_total-votes"] = np.int32(whole)
  return columns


def write_evo(folder, count: int = 10, empty: float = np.nan, shards: int = 3):
  """gz_evo in small: shards of train and one of test, `count` galaxies each.

  Galaxies of GZ2, of GZD-5 and of GZD-8 in turn.
  """
  (folder / "data").mkdir(parents=True)
  names = [f"train-{i:05}-of-{shards:05}" for i in range(shards)]
  for number, name in enumerate([*names, "test-00000-of-00001"]):
    first = number * count
    turn = np.arange(first, first + count) % 3
    table = {
      "image": images(first, count),
      "id_str": [f"5877{i:014}" for i in range(first, first + count)],
      "dataset_name": np.array(["gz2", "gz_decals", "gz_decals"])[turn],
      "ra": first + np.arange(count) / 7,
      "dec": -first / 9 - np.arange(count) / 9,
      **counts(campaigns.GZ2, "gz2", turn == 0, empty),
      **counts(campaigns.GZD_5, "dr5", turn == 1, empty),
      **counts(campaigns.GZD_5, "dr8", turn == 2, empty),
      "summary": np.array(SUMMARIES)[turn],
    }
    path = folder / "data" / f"{name}.parquet"
    # Row groups that do not fit what is read at once.
    pa.parquet.write_table(pa.table(table), path, row_group_size=7)
  return folder


def write_labels(path, labels, names=None, **columns):
  """A table of images and numbers of classes, which `names` explains."""
  table = pa.table(
    {"image": images(0, len(labels)), "label": labels, **columns}
  )
  if names:
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    note = json.dumps({"info": {"features": features}})
    table = table.replace_schema_metadata({"huggingface": note})
  pa.parquet.write_table(table, path)
  return path


def galaxy10(count: int = 150, size: int = 16) -> dict[str, np.ndarray]:
  """What Galaxy10_DECals.h5 has, of fewer and smaller galaxies."""
  rng = np.random.default_rng(0)
  return {
    "images": rng.integers(0, 256, (count, size, size, 3), np.uint8),
    "ans": (np.arange(count) % 10).astype(np.uint8),
    "ra": rng.uniform(0, 360, count),
    "dec": rng.uniform(-90, 90, count),
    "redshift": np.where(np.arange(count) % 5, 0.1, np.nan),
    "pxscale": np.full(count, 0.262),
  }


def write_hdf5(path, columns):
  """A file of arrays; returns its path."""
  h5py = pytest.importorskip("h5py")
  with h5py.File(path, "w") as file:
    for name, values in columns.items():
      file[name] = values
  return path


def write_folders(folder, names, first=0):
  """PNGs of 16 pixels in class folders: their paths and pixels."""
  written = {}
  for number, name in enumerate(names, first):
    pixels = np.random.default_rng(number).integers(
      0, 256, (16, 16, 3), np.uint8
    )
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    written[name] = pixels
  return written
