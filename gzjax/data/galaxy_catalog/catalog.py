"""Reading and checking a catalogue of galaxies: a table and its images."""

from collections.abc import Sequence
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax.data import archives
from gzjax.errors import UserError


class Columns(NamedTuple):
  """Which columns of the table hold what; names as they stand in it."""

  id: str = "id_str"
  file: str = "file_loc"
  label: str = "label"
  votes: tuple[str, ...] = ()  # one per class: then the label is the largest


def read_catalog(
  path: Path, images: Path, columns: Columns, classes: Sequence[str]
) -> pd.DataFrame:
  """Reads a CSV or parquet table and checks every row of it.

  Args:
    path: the table.
    images: the folder that the file column is relative to.
    columns: see `Columns`.
    classes: K names; the label column holds them, in any order.

  Returns:
    A frame with `id_str` (str), `file` (str, a path that exists), `label`
    (int64, an index of `classes`) and, if asked for, `votes` (f32[K] arrays).

  Raises:
    UserError: naming the file, column or row and the mend.
  """
  table = _read_table(path)
  if table.empty:
    raise UserError(f"{path} has no rows: give a catalogue with galaxies.")
  label_columns = columns.votes or (columns.label,)
  _check_columns(
    path, table, (columns.id, columns.file, *label_columns), columns
  )
  ids = _ids(path, table, columns)
  frame = pd.DataFrame({"id_str": ids})
  frame["file"] = _files(path, table, columns, ids, images)
  if columns.votes:
    votes = _votes(path, table, columns, ids, classes)
    frame["votes"] = list(votes)
    frame["label"] = votes.argmax(axis=1)
  else:
    frame["label"] = _labels(path, table, columns, ids, classes)
  return frame


def fingerprint(frame: pd.DataFrame, classes: Sequence[str]) -> str:
  """Twelve hex digits that name the rows, the labels and the image files."""
  digest = hashlib.sha256(repr(tuple(classes)).encode())
  digest.update(frame.to_csv(index=False).encode())
  sizes = [Path(file).stat().st_size for file in frame["file"]]
  digest.update(np.asarray(sizes, np.int64).tobytes())
  return digest.hexdigest()[:12]


def read_image(row: int, id_str: str, file: str) -> bytes:
  """The encoded image of a row; see `archives.whole_rgb`.

  Raises:
    UserError: if the file is not a whole image.
  """
  try:
    return archives.whole_rgb(Path(file).read_bytes())
  except Exception as error:  # Pillow's decoders raise many kinds
    raise UserError(
      f"row {row} (id {id_str}): {file} is not a whole image ({error}): fetch "
      "it again or take the row out of the catalogue."
    ) from error


def _read_table(path):
  if not path.is_file():
    raise UserError(
      f"there is no catalogue {path}: give the CSV or parquet file with "
      "--config.data.catalog=FILE."
    )
  try:
    if path.suffix == ".parquet":
      return pd.read_parquet(path)
    # Everything as text: ids of 18 digits must never become floats.
    return pd.read_csv(path, dtype=str, keep_default_na=False)
  except (ValueError, OSError) as error:
    raise UserError(
      f"{path} cannot be read as a table ({error}): give a CSV or parquet file."
    ) from error


def _check_columns(path, table, names, columns):
  missing = [name for name in names if name not in table.columns]
  if missing:
    flags = dict(
      zip((columns.id, columns.file, columns.label), ("id", "file", "label"))
    )
    flag = flags.get(missing[0], "vote")
    option = "vote_columns" if flag == "vote" else f"{flag}_column"
    raise UserError(
      f"{path} has no column {missing[0]!r} (it has {', '.join(table.columns)})"
      f": name the right one with --config.data.{option}=NAME."
    )


def _where(path, i, id_str):
  return f"{path}, row {i + 1} (id {id_str})"


def _ids(path, table, columns):
  if pd.api.types.is_float_dtype(table[columns.id]):
    raise UserError(
      f"{path}: column {columns.id!r} holds floats, which cannot hold ids of "
      "18 digits: store the ids as integers or text."
    )
  ids = table[columns.id].astype(str)
  empty = np.flatnonzero(table[columns.id].isna() | (ids.str.strip() == ""))
  if len(empty):
    raise UserError(
      f"{path}, row {empty[0] + 1}: column {columns.id!r} is empty: give every "
      "galaxy an id."
    )
  repeated = np.flatnonzero(ids.duplicated())
  if len(repeated):
    i = repeated[0]
    first = int(np.flatnonzero(ids == ids.iloc[i])[0])
    raise UserError(
      f"{_where(path, i, ids.iloc[i])} repeats the id of row {first + 1} "
      f"({len(repeated)} such rows): keep one row for each galaxy."
    )
  return ids


def _files(path, table, columns, ids, images):
  if not images.is_dir():
    raise UserError(
      f"there is no image folder {images}: give it with "
      "--config.data.images=FOLDER."
    )
  files = [str(images / str(name)) for name in table[columns.file]]
  missing = [i for i, file in enumerate(files) if not Path(file).is_file()]
  if missing:
    i = missing[0]
    raise UserError(
      f"{_where(path, i, ids.iloc[i])}: there is no image {files[i]} "
      f"({len(missing)} such rows): add the file, take the row out, or set "
      "--config.data.images to the folder that the file column starts from."
    )
  return files


def _labels(path, table, columns, ids, classes):
  column = table[columns.label]
  text = column.astype(str).str.strip()
  codes = pd.Index(classes).get_indexer(pd.Index(text))
  bad = np.flatnonzero(codes < 0)
  if len(bad):
    i = bad[0]
    where = _where(path, i, ids.iloc[i])
    if pd.isna(column.iloc[i]) or text.iloc[i].lower() in ("", "nan"):
      raise UserError(
        f"{where}: column {columns.label!r} is empty ({len(bad)} rows without "
        "a usable label): fill it in or take the row out."
      )
    raise UserError(
      f"{where}: label {text.iloc[i]!r} is none of the classes "
      f"{', '.join(classes)} ({len(bad)} such rows): correct the row or set "
      "--config.data.classes."
    )
  return codes


def _votes(path, table, columns, ids, classes):
  if len(columns.votes) != len(classes):
    raise UserError(
      f"data.vote_columns names {len(columns.votes)} columns for "
      f"{len(classes)} classes: give one for each of data.classes, in order."
    )
  votes = np.stack(
    [
      pd.to_numeric(table[name], errors="coerce").to_numpy(np.float32)
      for name in columns.votes
    ],
    axis=1,
  )
  usable = np.isfinite(votes) & (votes >= 0)
  bad = np.flatnonzero(~usable.all(axis=1))
  if len(bad):
    i = bad[0]
    name = columns.votes[int(np.argmin(usable[i]))]
    raise UserError(
      f"{_where(path, i, ids.iloc[i])}: column {name!r} is "
      f"{table[name].iloc[i]!r}, not a number of votes ({len(bad)} such rows): "
      "correct the row or take it out."
    )
  return votes
