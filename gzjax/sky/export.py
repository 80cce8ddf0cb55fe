"""Writes a synthetic sky in the layout of the Kaggle Galaxy Zoo challenge.

    python -m gzjax.sky.export --folder=practice --galaxies=20000

For practice with every tool that reads the challenge's files, and for tests
against a truth that real galaxies do not have.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
import inspect
import io
import os
from pathlib import Path
import shutil
import sys
import zipfile

from absl import app, flags
import numpy as np
import pandas as pd
from PIL import Image

from gzjax.errors import UserError
from gzjax.morphology import trees
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE
from gzjax.progress import progress
from gzjax.sky import render, volunteers
from gzjax.sky.scene import CLASSES, sample_labels
from gzjax.threads import bounded_map

IMAGES = "images_training_rev1"
SOLUTIONS = "training_solutions_rev1"
_FIRST_ID, _MOST_IDS = 100_000, 900_000  # all numbers of six digits


def export_kaggle(
  folder: str | Path,
  *,
  galaxies: int,
  seed: int = 0,
  class_fractions: Sequence[float] = (0.43, 0.56, 0.01),
  size: int = 424,
  rendered: int = 160,
  zipped: bool = False,
) -> None:
  """Writes pictures, solutions and the truth.

  In `folder`: `images_training_rev1/<GalaxyID>.jpg`,
  `training_solutions_rev1.csv` (cumulative fractions of simulated votes, with
  the challenge's quirk that "Is there anything odd?" sums to 1) and
  `truth.parquet` (class, parameters of the scene, votes and shares). The folder
  gets its name when all of it is written. `class_fractions` are the shares of
  `scene.CLASSES`. Pictures are rendered with an edge of `rendered` pixels and
  enlarged to `size`; `zipped` writes the challenge's two zip files in place of
  the images and the table.

  Raises:
    UserError: if the folder exists or cannot be written, or there are more
      galaxies than ids.
  """
  folder = Path(folder).absolute()
  _check(folder, galaxies, class_fractions, size, rendered)
  part = folder.with_name(f".{folder.name}.{os.getpid()}")
  try:
    part.mkdir(parents=True)
    label = sample_labels(seed, galaxies, class_fractions)
    ids = galaxy_ids(seed, galaxies)
    scenes, votes = volunteers.vote_all(seed, label)
    truth = _truth(ids, label, scenes, votes)
    _write_solutions(part, ids, votes.counts, zipped)
    rows = np.arange(galaxies)
    pictures = render.pictures(seed, rows, label, rendered, field=2.0)
    _write_images(part, ids, pictures, size, zipped)
    truth.to_parquet(part / "truth.parquet", index=False)
    part.rename(folder)
  except OSError as error:
    raise UserError(
      f"cannot write {folder} ({error.strerror}): choose another --folder."
    ) from error
  finally:
    shutil.rmtree(part, ignore_errors=True)


def galaxy_ids(seed: int, count: int) -> np.ndarray:
  """Six-digit ids in increasing order, i64[count], all different."""
  rng = np.random.default_rng(seed)
  return _FIRST_ID + np.sort(rng.choice(_MOST_IDS, count, replace=False))


def kaggle_fractions(counts: np.ndarray) -> np.ndarray:
  """Votes f32[N,37] to the challenge's cumulative fractions, f32[N,37].

  Where nobody was asked whether anything is odd, nothing is.
  """
  shares = trees.conditional(GZ2, counts)
  odd = GZ2.question("something-odd")
  unasked = shares[:, GZ2.slices[odd]].sum(axis=1) == 0
  shares[unasked, GZ2.index("something-odd_no")] = 1
  return trees.joint(GZ2_KAGGLE, shares)


def _check(folder, galaxies, shares, size, rendered):
  if folder.exists():
    raise UserError(
      f"{folder} exists: choose another --folder, or delete it first."
    )
  if not 1 <= galaxies <= _MOST_IDS:
    raise UserError(
      f"--galaxies={galaxies} is not possible: ask for 1 to {_MOST_IDS} "
      "galaxies."
    )
  # Of words that are no numbers, which became NaN, nothing is true.
  if len(shares) != len(CLASSES) or not (min(shares) >= 0 and sum(shares) > 0):
    raise UserError(
      "--class_fractions needs a number, the share, for each of "
      f"{', '.join(CLASSES)}: try --class_fractions=0.43,0.56,0.01."
    )
  if min(size, rendered) < 8:
    raise UserError(
      f"--size={size} and --rendered={rendered}: both must be 8 or more pixels."
    )


def _truth(ids, label, scenes, votes):
  columns = {"GalaxyID": ids, "label": np.asarray(CLASSES)[label]}
  columns |= scenes._asdict()
  for kind, values in votes._asdict().items():
    for answer, column in zip(GZ2.answers, values.T):
      columns[f"{answer}_{kind}"] = column
  return pd.DataFrame(columns)


def _write_images(folder, ids, pictures, size, zipped):
  encoded = bounded_map(partial(_jpeg, size=size), pictures)
  drawn = progress(encoded, len(ids), "drawing galaxies")
  if not zipped:
    (folder / IMAGES).mkdir()
  with _writer(folder, IMAGES, zipped) as write:
    for number, data in zip(ids, drawn):
      write(f"{IMAGES}/{number}.jpg", data)


def _jpeg(image: np.ndarray, size: int) -> bytes:
  picture = Image.fromarray(image)
  picture = picture.resize((size, size), Image.Resampling.BICUBIC)
  buffer = io.BytesIO()
  # About 13 kB a picture, as the challenge's.
  picture.save(buffer, "JPEG", quality=80, subsampling="4:2:0")
  return buffer.getvalue()


@contextmanager
def _writer(
  folder: Path, stem: str, zipped: bool, compression: int = zipfile.ZIP_STORED
) -> Iterator[Callable[[str, bytes], object]]:
  """Gives `write(name, data)`: to a file in `folder`, or in its `stem`.zip."""
  if zipped:
    with zipfile.ZipFile(folder / f"{stem}.zip", "w") as archive:
      # A fixed date, so that the same sky is the same file.
      yield lambda name, data: archive.writestr(
        zipfile.ZipInfo(name), data, compression
      )
  else:
    yield lambda name, data: (folder / name).write_bytes(data)


def _write_solutions(folder, ids, counts, zipped):
  columns = list(GZ2_KAGGLE.kaggle_columns())
  table = pd.DataFrame(kaggle_fractions(counts), columns=columns)
  table.insert(0, "GalaxyID", ids)
  text = table.to_csv(index=False, float_format="%.6f")
  with _writer(folder, SOLUTIONS, zipped, zipfile.ZIP_DEFLATED) as write:
    write(f"{SOLUTIONS}.csv", text.encode())


def _define_flags():
  flags.DEFINE_string("folder", None, "To be made.", required=True)
  flags.DEFINE_integer("galaxies", 20_000, "How many.")
  flags.DEFINE_integer("seed", 0, "Names the sky.")
  flags.DEFINE_list(
    "class_fractions",
    ["0.43", "0.56", "0.01"],
    f"Shares of {', '.join(CLASSES)}.",
  )
  flags.DEFINE_integer("size", 424, "Edge of the pictures in pixels.")
  flags.DEFINE_integer("rendered", 160, "Edge before they are enlarged.")
  flags.DEFINE_bool("zipped", False, "Write the challenge's zip files.")


def _run(_):
  names = inspect.signature(export_kaggle).parameters
  settings = {name: getattr(flags.FLAGS, name) for name in names}
  shares = pd.to_numeric(settings.pop("class_fractions"), errors="coerce")
  export_kaggle(**settings, class_fractions=shares)


if __name__ == "__main__":
  _define_flags()
  try:
    app.run(_run, flags_parser=flags.FLAGS)
  except (flags.Error, UserError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
