"""Columns that nobody has named: tables as people have them."""

from collections.abc import Callable
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.data import builders
from gzjax.data.galaxy_catalog import guess_images, image_files, tables
from gzjax.data.galaxy_catalog.catalog import columns_from, read_catalog
from gzjax.data.galaxy_catalog.guess import (
  AUTO,
  find_images,
  guess,
  is_needed,
)
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.errors import UserError
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE, GZD_5
from tests.data.catalogs import CLASSES

N = 30
NUMBERS = np.arange(N)
OBJIDS = 587722981741363294 + NUMBERS
IAU = [f"J{i:03}.{97 * i % 100:02}+{i % 7}" for i in range(N)]
GIVEN = builders.READERS.settings("galaxy_catalog")


def pictures(folder: Path, names, pixel=range(N)) -> Path:
  """Writes an image for each galaxy, which tells it by its brightness."""
  for i, name in zip(pixel, names, strict=True):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (8 * i, 0, 0)).save(path)
  return folder


def labels(classes=CLASSES):
  return [classes[i % len(classes)] for i in range(N)]


def votes_of(tree, rng_seed=0):
  """Counts of a tree whose first question has the answers of `labels`."""
  rng = np.random.default_rng(rng_seed)
  counts = rng.integers(0, 5, (N, len(tree.answers)))
  counts[NUMBERS, NUMBERS % 3] += 20
  return counts


class Layout(NamedTuple):
  """What somebody has, and what should be found."""

  write: Callable[[Path], tuple[Path, Path]]  # -> the table, the images
  found: dict[str, Any]
  ids: Any
  classes: tuple[str, ...] = CLASSES
  label: Any = NUMBERS % 3


def _write(path, table, **options):
  pd.DataFrame(table).to_csv(path, index=False, **options)
  return path


def hart16(folder):
  table = {
    "dr7objid": OBJIDS,
    "ra": NUMBERS / 3,
    "dec": NUMBERS / 2 - 5,
    "gz2_class": [f"Sb{i}t" for i in range(N)],
    **dict(zip([f"{x}_count" for x in GZ2.stems], votes_of(GZ2).T)),
    **dict(zip([f"{x}_debiased" for x in GZ2.stems], votes_of(GZ2).T / 99)),
  }
  images = pictures(folder / "gz2", [f"images/{x}.jpg" for x in OBJIDS])
  return _write(folder / "hart.csv", table), images


def zoobot(folder):
  counts = votes_of(GZD_5).astype(float)
  for part in GZD_5.slices:
    counts[:, part] /= counts[:, part].sum(axis=1, keepdims=True).clip(1)
  files = [f"J{i % 3}/{x}.png" for i, x in enumerate(IAU)]
  table = {
    "iauname": IAU,
    "png_loc": files,
    **dict(zip([f"{x}_fraction" for x in GZD_5.answers], counts.round(6).T)),
    "redshift": NUMBERS / 100,
  }
  return _write(folder / "gz.csv", table), pictures(folder / "png", files)


def plain(folder):
  images = pictures(folder, [f"{i}.png" for i in NUMBERS])
  return _write(folder / "a.csv", {"class": labels(), "id": NUMBERS}), images


def counted(folder):
  votes = np.eye(3, dtype=int)[NUMBERS % 3] * 7
  table = {
    "filename": [f"{i}.jpeg" for i in NUMBERS],
    "votes_total": votes.sum(axis=1),
    **{f"votes_{name}": x for name, x in zip(CLASSES, votes.T)},
    "objID": OBJIDS,
    "n_sersic": NUMBERS % 4,
  }
  images = pictures(folder / "cut", table["filename"])
  return _write(folder / "votes.tsv", table, sep="\t"), images


def fits(folder):
  astropy_table = pytest.importorskip("astropy.table")
  table = astropy_table.Table(
    {
      "SPECOBJID": OBJIDS * 7,
      "RA": NUMBERS / 3,
      "DEC": -NUMBERS / 2,
      "PETROMAG_R": NUMBERS / 7,
      "MORPHOLOGY": labels(),
    }
  )
  table.write(folder / "sdss.fits")
  names = [f"spec-{x}.fits" for x in OBJIDS * 7]
  images = pictures(folder / "spec", [f"{name}.png" for name in names])
  for name in names:  # are not read here
    (images / f"{name}.png").rename(images / name)
  return folder / "sdss.fits", images


def numbered(folder):
  """Classes by their numbers: floats, because two of them are missing."""
  label = pd.Series(NUMBERS % 3 + 9).where(NUMBERS > 1)
  table = {"source_id": OBJIDS, "target": label, "split": "all"}
  pd.DataFrame(table).to_parquet(folder / "t.parquet")
  names = [f"gaia_{x}_g.webp" for x in OBJIDS]
  return folder / "t.parquet", pictures(folder / "g", names)


def zeros(folder):
  """Leading zeros, semicolons, and the folder in front of the files."""
  table = {
    "Galaxy ID": [f"{i:05}" for i in NUMBERS],
    "Image": [f"cutouts/{i:05}.png" for i in NUMBERS],
    "Morph. Type": labels(),
  }
  images = pictures(folder / "cutouts", [f"{i:05}.png" for i in NUMBERS])
  return _write(folder / "m.csv", table, sep=";"), images


def moved(folder):
  """Paths on another computer, in folders of folders."""
  files = [f"{i % 3}/{i % 2}/{x}.png" for i, x in enumerate(IAU)]
  table = {
    "name": IAU,
    "file_loc": [f"/home/ann/old/pictures/{x}" for x in files],
    "label": labels(),
  }
  return _write(folder / "m.csv", table), pictures(folder / "new", files)


def sorted_by_class(folder):
  """A folder for each class, as for torchvision's ImageFolder."""
  files = [f"{name}/{x}.png" for name, x in zip(labels(), OBJIDS)]
  table = {"objid": OBJIDS, "kind": labels(), "z": NUMBERS / 9}
  return _write(folder / "m.csv", table), pictures(folder / "by_class", files)


def in_folders(folder):
  """The column has the names only, in which folder nobody knows."""
  names = [f"{i}.png" for i in NUMBERS]
  table = {"uid": OBJIDS, "photo": names, "label_str": labels()}
  files = [f"{'abc'[i % 3]}/{name}" for i, name in enumerate(names)]
  return _write(folder / "m.csv", table), pictures(folder / "i", files)


def two_columns(folder):
  files = [f"{name}.jpg" for name in IAU]
  table = {"file": files, "galaxy_type": labels()}
  return _write(folder / "m.csv", table), pictures(folder / "i", files)


def assets(folder):
  """The files are called after another name than the id."""
  table = {
    "Unnamed: 0": NUMBERS,
    "objid": OBJIDS,
    "asset_id": NUMBERS[::-1] + 7,
    "sample": ["a", "b"] * (N // 2),
    "volunteers_say": labels(),
  }
  names = [f"{x}.jpg" for x in NUMBERS[::-1] + 7]
  images = pictures(folder / "assets", names)
  pictures(folder / "assets", [f"{x}.txt.png" for x in OBJIDS[:3]], range(3))
  return _write(folder / "m.csv", table), images


def with_votes(folder):
  """Labels, the votes for them in another order, and a split."""
  votes = np.eye(3, dtype=int)[NUMBERS % 3] * 7 + 1
  order = [2, 0, 1]
  table = {
    "id_str": IAU,
    "image": [f"{i}.png" for i in NUMBERS],
    "label": labels(),
    "Set": (["train", "val", "TEST"] * 2 * N)[4 : N + 4],
    **{f"{CLASSES[k].title()} votes": votes[:, k] for k in order},
  }
  images = pictures(folder / "i", [f"{i}.png" for i in NUMBERS])
  return _write(folder / "m.csv", table), images


def kaggle(folder):
  counts = votes_of(GZ2_KAGGLE).astype(float)
  first = counts[:, :3] / counts[:, :3].sum(axis=1, keepdims=True)
  table = {"GalaxyID": OBJIDS // 10**6 * 1000 + NUMBERS}
  table |= {f"Class1.{k + 1}": x for k, x in enumerate(first.round(6).T)}
  files = [f"images_training/{x}.jpg" for x in table["GalaxyID"]]
  return _write(folder / "solutions.csv", table), pictures(folder, files)


def of_a_hub(folder):
  """Images inside the table, too, which no column is guessed from."""
  table = {
    "image": [{"bytes": bytes(9), "path": f"{i}.png"} for i in NUMBERS],
    "id": [f"g{i}" for i in NUMBERS],
    "is_merger": NUMBERS % 2 == 1,
  }
  pd.DataFrame(table).to_parquet(folder / "hub.parquet")
  names = [f"g{i}.png" for i in NUMBERS]
  return folder / "hub.parquet", pictures(folder / "i", names)


TREE = {"label_column": "", "vote_columns": (), "classes": ()}
LAYOUTS = {
  "hart16": Layout(
    hart16,
    {
      **{**TREE, "tree": "gz2", "vote_form": "counts"},
      **{"id_column": "dr7objid", "file_pattern": "images/{id}.jpg"},
      **{"ra_column": "ra", "dec_column": "dec"},
    },
    OBJIDS,
    (),
  ),
  "zoobot": Layout(
    zoobot,
    {
      **{**TREE, "tree": "gzd_5", "vote_form": "fractions"},
      **{"id_column": "iauname", "file_column": "png_loc"},
    },
    IAU,
    (),
  ),
  "plain": Layout(
    plain,
    {"id_column": "id", "file_pattern": "{id}.png", "label_column": "class"},
    NUMBERS,
  ),
  "counted": Layout(
    counted,
    {
      **{"id_column": "objID", "file_column": "filename", "label_column": ""},
      "vote_columns": tuple(f"votes_{name}" for name in CLASSES),
    },
    OBJIDS,
  ),
  "fits": Layout(
    fits,
    {
      **{"id_column": "SPECOBJID", "label_column": "MORPHOLOGY"},
      **{"file_pattern": "spec-{id}.fits", "file_column": ""},
      **{"ra_column": "RA", "dec_column": "DEC"},
    },
    OBJIDS * 7,
  ),
  "numbered": Layout(
    numbered,
    {
      **{"id_column": "source_id", "label_column": "target"},
      **{"file_pattern": "gaia_{id}_g.webp", "split_column": ""},
    },
    OBJIDS,
    ("9", "10", "11"),
    np.where(NUMBERS > 1, NUMBERS % 3, -1),
  ),
  "zeros": Layout(
    zeros,
    {
      **{"id_column": "Galaxy ID", "label_column": "Morph. Type"},
      **{"file_column": "Image", "file_prefix": "cutouts/"},
    },
    [f"{i:05}" for i in NUMBERS],
  ),
  "moved": Layout(
    moved,
    {
      **{"id_column": "name", "file_column": "file_loc"},
      "file_prefix": "/home/ann/old/pictures/",
    },
    IAU,
  ),
  "sorted_by_class": Layout(
    sorted_by_class,
    {"file_column": "", "file_pattern": "*/{id}.png", "label_column": "kind"},
    OBJIDS,
  ),
  "in_folders": Layout(
    in_folders,
    {
      **{"id_column": "uid", "label_column": "label_str"},
      **{"file_column": "photo", "file_pattern": "*/{file}"},
    },
    OBJIDS,
  ),
  "two_columns": Layout(
    two_columns,
    {"id_column": "file", "file_column": "file", "file_pattern": "{file}"},
    [f"{name}.jpg" for name in IAU],
  ),
  "assets": Layout(
    assets,
    {
      **{"id_column": "objid", "label_column": "volunteers_say"},
      **{"file_column": "asset_id", "file_pattern": "{file}.jpg"},
    },
    OBJIDS,
  ),
  "with_votes": Layout(
    with_votes,
    {
      **{"label_column": "label", "split_column": "Set"},
      "vote_columns": tuple(f"{name.title()} votes" for name in CLASSES),
    },
    IAU,
  ),
  "kaggle": Layout(
    kaggle,
    {
      **{**TREE, "vote_form": "fractions", "id_column": "GalaxyID"},
      "file_pattern": "images_training/{id}.jpg",
    },
    OBJIDS // 10**6 * 1000 + NUMBERS,
    (),
  ),
  "of_a_hub": Layout(
    of_a_hub,
    {"id_column": "id", "label_column": "is_merger", "file_column": ""},
    [f"g{i}" for i in NUMBERS],
    ("False", "True"),
    NUMBERS % 2,
  ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_tables_as_people_have_them(tmp_path, name):
  layout = LAYOUTS[name]
  path, images = layout.write(tmp_path)
  found = guess(path, images, GIVEN)
  settings = found.settings
  assert {key: settings[key] for key in layout.found} == layout.found
  assert not is_needed(settings)
  assert found.galaxies == N
  frame = read_catalog(
    path, images, columns_from(settings), settings["classes"]
  ).frame
  assert list(frame["id_str"]) == [str(x) for x in layout.ids]
  if settings["file_pattern"].endswith(".fits"):
    assert all(Path(x).is_file() for x in frame["path"])
  else:
    red = [np.asarray(Image.open(x))[0, 0, 0] for x in frame["path"]]
    np.testing.assert_allclose(red, 8 * NUMBERS, atol=4)
  assert settings["classes"] == layout.classes
  if layout.classes:
    np.testing.assert_array_equal(frame["label"], layout.label)
    sizes = np.bincount(frame["label"][frame["label"] >= 0])
    assert found.classes == dict(zip(layout.classes, sizes, strict=True))
  else:
    assert found.classes == {}
    form = settings["vote_form"]
    first = np.stack(frame[form])[:, :3].argmax(axis=1)
    np.testing.assert_array_equal(first, NUMBERS % 3)


def _table(folder, **columns):
  """A table of usual names, with these columns besides or in their place."""
  usual = {"id": IAU, "file": [f"{i}.png" for i in NUMBERS], "class": labels()}
  table = {key: x for key, x in {**usual, **columns}.items() if x is not None}
  images = pictures(folder / "cutouts", usual["file"])
  return _write(folder / "mine.csv", table), images


def _found(place, **given):
  return guess(*place, {**GIVEN, **given})


def _because(found, key):
  return next(x.because for x in found.findings if x.key == key)


@pytest.mark.parametrize(
  ("given", "wanted"),
  [
    ({"id_column": "file"}, {"id_column": "file", "file_column": "file"}),
    ({"label_column": "seen"}, {"classes": ("yes", "no")}),
    ({"label_column": "seen", "classes": ("no", "yes")}, {}),
    ({"classes": ("artifact", "smooth", "featured")}, {}),
    ({"file_column": "other"}, {"file_prefix": "x/"}),
    ({"file_column": "other", "file_prefix": "x/"}, {"file_pattern": "{file}"}),
    ({"file_column": "", "id_column": "n"}, {"file_pattern": "{id}.png"}),
    ({"file_pattern": "{file}.png"}, {"file_column": "n"}),
    ({"file_pattern": "{id}.png"}, {"file_column": "", "file_prefix": ""}),
    (
      {"vote_columns": ("p_a", "p_b")},
      {"label_column": "", "classes": ("a", "b"), "tree": ""},
    ),
    (
      {"label_column": "", "vote_columns": ("p_a", "n")},
      {"classes": ("p_a", "n")},
    ),
    ({"tree": "gzd_5"}, {"label_column": "class", "vote_form": "counts"}),
    ({"tree": "gzd_1_2", "label_column": ""}, {"classes": ()}),
    ({"split_column": ""}, {"ra_column": "RAJ2000"}),
    ({"ra_column": "", "dec_column": ""}, {"split_column": "subset"}),
    ({"ra_column": "n"}, {"dec_column": "DEJ2000"}),
  ],
)
def test_what_is_given_stays(tmp_path, given, wanted):
  counts = votes_of(GZD_5)[:, :3].T
  place = _table(
    tmp_path,
    n=NUMBERS,
    seen=["yes", "yes", "no"] * (N // 3),
    other=[f"x/{i}.png" for i in NUMBERS],
    p_a=NUMBERS,
    p_b=NUMBERS[::-1],
    RAJ2000=NUMBERS,
    DEJ2000=NUMBERS,
    subset=["train", "validation", "test"] * (N // 3),
    **dict(zip(GZD_5.answers, counts)),
  )
  settings = _found(place, **given).settings
  wanted = {**given, **wanted}
  assert {key: settings[key] for key in wanted} == wanted


def test_nothing_is_looked_for_where_all_is_given(tmp_path):
  settings = _found(_table(tmp_path)).settings
  assert not is_needed(settings)
  assert is_needed({**settings, "classes": ()})
  found = guess(*_table(tmp_path), settings)
  assert found.findings == ()
  assert found.settings == settings


@pytest.mark.parametrize(
  ("columns", "key", "value", "also"),
  [
    ({"objid": OBJIDS}, "id_column", "objid", "also id"),
    (
      {"Image": [f"{i}.png" for i in NUMBERS]},
      *("file_column", "file", "also Image"),
    ),
    ({"type": labels("ab")}, "label_column", "class", "also type"),
    (
      {"class": None, "bulge": labels("ab"), "says": labels("xyz"), "bars": 1},
      *("label_column", "bulge", "also says"),
    ),
    (
      {"class": None, "truncated": labels("ab"), "says": labels("xyz")},
      *("label_column", "truncated", "also says"),  # which is no run
    ),
    (
      {"class": None, "bars": NUMBERS % 2, "says": labels("xyz")},
      *("label_column", "says", "also bars"),  # words before numbers
    ),
    (
      {"file": None, "id": NUMBERS},
      *("file_pattern", "{id}.png", "also {file}.jpg"),
    ),
  ],
)
def test_what_would_do_as_well_is_told(tmp_path, columns, key, value, also):
  place = _table(tmp_path, **columns)
  pictures(place[1], [f"{i}.jpg" for i in NUMBERS])
  found = _found(place)
  assert found.settings[key] == value
  assert also in _because(found, key)


@pytest.mark.parametrize(
  ("columns", "key", "words"),
  [
    ({"RA": ["12:30:01"] * N, "Dec": NUMBERS}, "ra_column", "'12:30:01', not"),
    ({"ra": 1, "dec": 2}, "ra_column", "usual name"),
    ({"ra": 1}, "ra_column", "no column for dec"),
    ({"split": ["train", "test"] * 15}, "split_column", "into validation"),
    ({"fold": NUMBERS % 5}, "split_column", "is '0', none of train"),
    (
      dict(zip(GZD_5.answers[:3], np.full((3, N), "x"))),
      *("tree", "column 'smooth-or-featured_smooth' is 'x'"),
    ),
  ],
)
def test_what_is_not_used_is_told(tmp_path, columns, key, words):
  assert words in _because(_found(_table(tmp_path, **columns)), key)


def test_what_is_not_used_is_told_once_and_without_the_table(tmp_path):
  place = _table(tmp_path, ra=1)
  found = _found(place)
  because = _because(found, "ra_column")
  assert because.startswith("not used: the table has no column for dec")
  assert str(place[0]) not in because
  assert not _because(found, "dec_column")


@pytest.mark.parametrize(
  "columns",
  [
    {"p_x": NUMBERS / 7, "p_y": NUMBERS},  # fluxes, perhaps
    {"p_x": NUMBERS},
    {"votes_x": "a", "votes_y": "b"},
    {"z": NUMBERS / 2 % 2},
    {"survey": labels("ab")},
    {"BAND_1": labels("ab")},
    {"rare": [0, 0] + [1] * (N - 2)},
    {"constant": 1},
    {"type": IAU},
    {"type": ""},
  ],
)
def test_what_is_no_label(tmp_path, columns):
  place = _table(tmp_path, **{"class": None}, **columns)
  with pytest.raises(
    UserError, match=r"mine\.csv has no column of labels, 2 t"
  ):
    _found(place)


@pytest.mark.parametrize(
  ("columns", "given", "words"),
  [
    (
      {"id": labels(), "file": None},
      {},
      ["row 4 (id smooth) repeats the id of row 1 (27 such rows)"],
    ),
    (
      {"id": None, "file": "a.png"},
      {},
      ["no column that is different", "class"],
    ),
    ({"id": None, "file": None, "x": NUMBERS / 8}, {}, ["has no column that"]),
    ({}, {"id_column": "name"}, ["no column 'name' (it has id, file, class)"]),
    ({}, {"file_column": "pic"}, ["no column 'pic'", "as file_column"]),
    ({}, {"label_column": "kind"}, ["no column 'kind'", "as label_column"]),
    ({}, {"label_column": "id"}, ["'id' has 30 different values", "2 to 20"]),
    (
      {"type": IAU, "class": None},
      {},
      ["(it has id, file, type; 'type' has 30 different values)"],
    ),
    (
      {"class": None, **dict(zip(GZD_5.answers[:2], votes_of(GZD_5).T))},
      {},
      ["only some of the columns of the question 'smooth-or-featured'"],
    ),
    (
      {"class": None, **dict(zip(GZD_5.answers, (votes_of(GZD_5) - 1).T))},
      {},
      ["row 1 (id J000.00+0)", "'-1', not a number of votes"],
    ),
    (
      {"file": [f"{x}.jpg" for x in IAU]},
      {},
      ["images is ", "no file in it is called", "0.png", "J000.00+0.jpg"],
    ),
    ({"file": None}, {}, ["as 0.png, rows such as id J000", "file_pattern"]),
  ],
)
def test_mistakes_name_the_table_and_the_mend(tmp_path, columns, given, words):
  place = _table(tmp_path, **columns)
  with pytest.raises(UserError) as caught:
    _found(place, **given)
  message = str(caught.value)
  for word in words:
    assert word in message
  assert "\n" not in message
  assert len(message) < 600


def test_folders_without_the_images(tmp_path):
  path, images = _table(tmp_path)
  with pytest.raises(
    UserError, match=r"^images is .*: there is no such folder"
  ):
    guess(path, images / "gone", GIVEN)
  (tmp_path / "empty").mkdir()
  with pytest.raises(UserError, match=r"^images is .*: there is no file in it"):
    guess(path, tmp_path / "empty", GIVEN)


def test_images_of_the_folder_come_before_those_elsewhere(tmp_path):
  files = [str(tmp_path / "old" / f"{i}.png") for i in range(len(IAU))]
  path, images = _table(tmp_path, file=files)
  shutil.copytree(images, tmp_path / "old")
  found = guess(path, images, GIVEN)
  assert found.settings["file_prefix"] == f"{tmp_path / 'old'}/"
  (tmp_path / "new").mkdir()
  found = guess(path, tmp_path / "new", GIVEN)
  assert found.settings["file_prefix"] == ""
  assert "all are files elsewhere" in _because(found, "file_column")


def test_some_missing_images_are_for_the_reader_to_tell(tmp_path):
  path, images = _table(tmp_path)
  for i in range(10):
    (images / f"{i}.png").unlink()
  found = guess(path, images, GIVEN)
  assert found.settings["file_column"] == "file"
  assert "67% are files in cutouts" in _because(found, "file_column")


@pytest.mark.parametrize(
  ("text", "names", "wanted"),
  [
    (
      "7",
      ["7.png", "17.png", "70.png", "a7.png"],
      {"{file}.png", "a{file}.png"},
    ),
    ("07", ["7.png", "07.png", "007.png"], {"{file}.png"}),
    ("ab", ["ab.png", "abc.png", "ab1.png"], {"{file}.png", "{file}1.png"}),
    ("J1+2.5", ["J1+2x5.png", "J1+2.5_g.png"], {"{file}_g.png"}),
    ("ab", ["ab/x.png", "x/ab_ab.png"], {"x/{file}_ab.png", "x/ab_{file}.png"}),
  ],
)
def test_texts_in_the_names_of_files(text, names, wanted):
  lines = "\n".join(x if "/" in x else f"/{x}" for x in names)
  found = guess_images._matches(text, lines)
  assert {folder + name for folder, name in found} == wanted


def test_usual_columns_of_another_table(tmp_path):
  """Of galaxies to predict: as in the run, where the table has such columns."""
  path, images = _table(tmp_path, objid=OBJIDS)
  nothing = dict.fromkeys(("id_column", "file_column", "file_pattern"), "")
  run = {"id_column": "id", "file_column": "picture"}
  found = find_images(path, images, nothing, run)
  assert (found["id_column"], found["file_column"]) == ("id", "file")
  run = {"id_column": AUTO, "file_column": ""}
  found = find_images(path, images, nothing, run)
  assert (found["id_column"], found["file_pattern"]) == ("objid", "{file}")
  named = {**nothing, "file_pattern": "{id}.png"}
  assert find_images(path, images, named, run)["file_column"] == ""


def test_endings_of_tables():
  for name in ("a.csv", "B.CSV.GZ", "a.tsv", "a.parquet", "a.fit", "a.vot.gz"):
    assert tables.is_table(Path(name))
  for name in ("train", "a.txt", "a.json", "csv", "a.csv.bak"):
    assert not tables.is_table(Path(name))


def test_whole_numbers_have_no_point(tmp_path):
  table = pd.DataFrame({"a": [1.0, np.nan], "b": [1.5, 2.0], "c": [True, None]})
  rows = TableRows(tmp_path, table, pd.Series(["x", "y"]))
  assert list(rows.text("a")) == ["1", ""]
  assert list(rows.text("b")) == ["1.5", "2.0"]
  assert list(rows.text("c")) == ["True", ""]
  naming = image_files.Naming("a", pattern="{id}-{file}.png")
  assert image_files.names(rows, naming) == ["x-1.png", "y-.png"]
