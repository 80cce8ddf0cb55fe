"""Bad catalogues: one line that names the culprit and the mend."""

import gzip
import os

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.data import builders, dataset
from gzjax.data.bad_images import BadImageError
from gzjax.data.galaxy_catalog.catalog import (
  Columns,
  fingerprint,
  read_catalog,
  read_rows,
  reader,
  unlabelled,
  without_bad_images,
)
from gzjax.data.galaxy_catalog.fits_images import Stretch
from tests.data.catalogs import (
  CLASSES,
  add_columns,
  builder_of,
  edit,
  refusal,
  write_catalog,
)


def test_missing_catalogue(tmp_path):
  message = refusal(tmp_path / "nowhere.csv")
  assert message.startswith("catalog is ")
  assert "nowhere.csv" in message


def test_a_catalogue_that_is_no_table(tmp_path):
  path = tmp_path / "c.parquet"
  path.write_bytes(b"not parquet")
  assert "c.parquet cannot be read" in refusal(path)


@pytest.mark.parametrize("text", ["", "id_str,file_loc,label\n"])
def test_empty_catalogue(tmp_path, text):
  path = tmp_path / "c.csv"
  path.write_text(text)
  message = refusal(path)
  assert "c.csv" in message
  assert "no rows" in message or "cannot be read" in message


@pytest.mark.parametrize(
  ("column", "argument"),
  [
    ("id_str", "id_column"),
    ("file_loc", "file_column"),
    ("label", "label_column"),
  ],
)
def test_missing_column(tmp_path, column, argument):
  path = write_catalog(tmp_path, 6)
  pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
  message = refusal(path)
  assert f"no column {column!r}" in message
  assert message.endswith(f"as {argument}.")


def test_missing_image(tmp_path):
  path = write_catalog(tmp_path, 6)
  (tmp_path / "images" / "2.png").unlink()
  message = refusal(path)
  assert "row 3 (id 1002)" in message
  assert "images/2.png" in message


def test_missing_image_folder(tmp_path):
  path = write_catalog(tmp_path, 6)
  message = refusal(path, images=tmp_path / "elsewhere")
  assert message.startswith("images is ")
  assert "elsewhere" in message


def test_duplicate_ids(tmp_path):
  path = write_catalog(tmp_path, 6)
  edit(path, 4, "id_str", "1001")
  assert "row 5 (id 1001) repeats the id of row 2" in refusal(path)


def test_empty_id(tmp_path):
  path = write_catalog(tmp_path, 6)
  edit(path, 4, "id_str", "")
  assert "row 5: column 'id_str' is empty" in refusal(path)


def test_float_ids_in_parquet(tmp_path):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path)
  table["id_str"] = table["id_str"].astype(float)
  table.to_parquet(tmp_path / "c.parquet")
  assert "holds floats" in refusal(tmp_path / "c.parquet")


def test_label_outside_the_classes(tmp_path):
  path = write_catalog(tmp_path, 6)
  edit(path, 1, "label", "starfish")
  message = refusal(path)
  assert "row 2 (id 1001): label 'starfish'" in message
  assert "give other classes" in message


@pytest.mark.parametrize("value", [None, "nan", "NaN", " "])
def test_galaxies_may_have_no_label_but_not_all_of_them(tmp_path, value):
  path = write_catalog(tmp_path, 6)
  edit(path, 1, "label", value)
  frame = _read(path, Columns(given="label")).frame
  np.testing.assert_array_equal(frame["label"], [0, -1, 2, 0, 1, 2])
  np.testing.assert_array_equal(frame["given_label"], frame["label"])
  data = dataset.load(dataset.prepare(builder_of(path)), crop=0, size=6)
  np.testing.assert_array_equal(data.table["label"], frame["label"])
  for i in range(6):
    edit(path, i, "label", value)
  assert "has no label in any row (label)" in refusal(path)


@pytest.mark.parametrize("value", ["many", "-1", "nan", ""])
def test_votes_that_are_no_numbers(tmp_path, value):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path, dtype=str)
  for name in CLASSES:
    table[f"p_{name}"] = "3"
  table.loc[2, "p_featured"] = value
  table.to_csv(path, index=False)
  columns = Columns(votes=tuple(f"p_{name}" for name in CLASSES))
  message = refusal(path, columns)
  assert "row 3 (id 1002): column 'p_featured'" in message


def test_as_many_vote_columns_as_classes(tmp_path):
  path = write_catalog(tmp_path, 6)
  table = pd.read_csv(path, dtype=str).assign(a="1", b="2")
  table.to_csv(path, index=False)
  message = refusal(path, Columns(votes=("a", "b")))
  assert "2 columns for 3 classes" in message


def test_a_good_catalogue_is_read(tmp_path):
  path = write_catalog(tmp_path, 6)
  frame = read_catalog(path, path.parent, Columns(), CLASSES).frame
  np.testing.assert_array_equal(frame["label"], [0, 1, 2, 0, 1, 2])


def _read(path, columns=None):
  return read_catalog(path, path.parent, columns or Columns(), CLASSES)


def test_empty_file_name(tmp_path):
  path = write_catalog(tmp_path, 6)
  edit(path, 4, "file_loc", "")
  assert "row 5 (id 1004): column 'file_loc' is empty" in refusal(path)


@pytest.mark.parametrize(
  "ids",
  [("007", "587722981741363294"), ("NA", "null", "1e5", "J1+2")],
)
def test_ids_stay_as_they_are_written(tmp_path, ids):
  path = write_catalog(tmp_path, 6)
  path.write_text(
    "id_str,file_loc,label\n"
    + "\n".join(f"{name},images/0.png,smooth" for name in ids)
  )
  assert list(_read(path).frame["id_str"]) == list(ids)


def test_absolute_paths(tmp_path):
  path = write_catalog(tmp_path, 6)
  wanted = _read(path).frame
  assert wanted["file"].iloc[2] == "images/2.png"
  table = pd.read_csv(path, dtype=str)
  table["file_loc"] = [str(tmp_path / name) for name in table["file_loc"]]
  table.to_csv(path, index=False)
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  found = read_catalog(path, elsewhere, Columns(), CLASSES).frame
  assert list(found["file"]) == list(table["file_loc"])
  pd.testing.assert_frame_equal(
    found.drop(columns="file"), wanted.drop(columns="file")
  )


@pytest.mark.parametrize(
  ("column", "prefix", "pattern", "files"),
  [
    ("file_loc", "old/", "{file}", [f"{i}.png" for i in range(3)]),
    ("", "", "{id}.png", ["1000.png", "1001.png", "1002.png"]),
    (
      "label",
      "",
      "{id}_{file}.png",
      [f"{1000 + i}_{x}.png" for i, x in enumerate(CLASSES)],
    ),
    ("", "", "*/{id}.png", ["a/1000.png", "b/1001.png", "a/1002.png"]),
  ],
)
def test_patterns_of_the_files(tmp_path, column, prefix, pattern, files):
  path = write_catalog(tmp_path, 3)
  for i, file in enumerate(files):
    place = tmp_path / "pictures" / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes((tmp_path / "images" / f"{i}.png").read_bytes())
    edit(path, i, "file_loc", f"old/{i}.png")
  columns = Columns(file=column, file_prefix=prefix, file_pattern=pattern)
  found = read_catalog(path, tmp_path / "pictures", columns, CLASSES).frame
  assert list(found["file"]) == files
  assert list(found["path"]) == [str(tmp_path / "pictures" / x) for x in files]
  place.unlink()
  message = refusal(path, columns, tmp_path / "pictures")
  assert f"row 3 (id 1002): there is no image {tmp_path}" in message


def test_any_column_is_a_part_of_a_pattern(tmp_path):
  path = write_catalog(tmp_path, 3)
  folders = ["a", "b", "c"]
  add_columns(path, {"subfolder": folders})
  for i, folder in enumerate(folders):
    (tmp_path / "sky" / folder).mkdir(parents=True)
    image = tmp_path / "images" / f"{i}.png"
    image.rename(tmp_path / "sky" / folder / f"{1000 + i}.png")
  for pattern in ("{subfolder}/{id}.png", "{subfolder}/{id_str}.png"):
    columns = Columns(file="", file_pattern=pattern)
    found = read_catalog(path, tmp_path / "sky", columns, CLASSES).frame
    assert list(found["file"]) == ["a/1000.png", "b/1001.png", "c/1002.png"]
  columns = Columns(file="", file_pattern="{subfoldr}/{id}.png")
  message = refusal(path, columns, tmp_path / "sky")
  assert "{subfoldr} is no column of" in message
  edit(path, 1, "subfolder", None)
  columns = Columns(file="", file_pattern="{subfolder}/{id}.png")
  message = refusal(path, columns, tmp_path / "sky")
  assert "row 2 (id 1001): column 'subfolder' is empty" in message


def test_a_pattern_that_tells_no_files_apart(tmp_path):
  path = write_catalog(tmp_path, 3)
  for pattern in ("galaxy.png", "{file}.png", ""):
    message = refusal(path, Columns(file="", file_pattern=pattern))
    assert message.startswith(f"file_pattern is {pattern!r}: give one with")
  for folder in "ab":
    (tmp_path / "images" / folder).mkdir()
    for i in range(3):
      (tmp_path / "images" / folder / f"{1000 + i}.png").touch()
  columns = Columns(file="", file_pattern="*/{id}.png")
  message = refusal(path, columns, tmp_path / "images")
  assert "row 1 (id 1000): */1000.png is in the folders a and b (3" in message


def test_the_wrong_folder_is_named_not_all_its_files(tmp_path):
  path = write_catalog(tmp_path, 3)
  message = refusal(path, images=tmp_path / "images")
  assert message.startswith(f"images is '{tmp_path}/images': there is none of")
  assert "such as images/0.png" in message


def test_images_that_moved_are_the_same_data_set(tmp_path):
  path = write_catalog(tmp_path, 3)
  before = fingerprint(_read(path))
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "images").rename(tmp_path / "elsewhere" / "images")
  found = read_catalog(path, tmp_path / "elsewhere", Columns(), CLASSES)
  assert fingerprint(found) == before


@pytest.mark.parametrize(
  "names", [("ra", "dec"), ("RAJ2000", "DEJ2000"), ("alpha", "delta")]
)
def test_sky_positions(tmp_path, names):
  path = write_catalog(tmp_path, 3)
  ra, dec = ["0", "184.95123456789", ""], ["-90", "2.5", ""]
  add_columns(path, dict(zip(names, (ra, dec))))
  assert "ra" not in _read(path).frame
  frame = _read(path, Columns(ra=names[0], dec=names[1])).frame
  assert frame["ra"].dtype == np.float64
  np.testing.assert_array_equal(frame["ra"], [0, 184.95123456789, np.nan])
  np.testing.assert_array_equal(frame["dec"], [-90, 2.5, np.nan])


def test_one_position_column_alone_is_none(tmp_path):
  path = write_catalog(tmp_path, 3)
  add_columns(path, {"ra": ["1", "2", "3"]})
  message = refusal(path, Columns(ra="ra"))
  assert "no column for dec" in message
  assert "dec_column" in message


@pytest.mark.parametrize(
  ("column", "value"),
  [
    ("ra", "-1"),
    ("ra", "361"),
    ("dec", "91"),
    ("ra", "12:30:01"),
    ("dec", "x"),
  ],
)
def test_a_place_that_is_not_on_the_sky(tmp_path, column, value):
  path = write_catalog(tmp_path, 3)
  add_columns(path, {"ra": ["1", "2", "3"], "dec": ["1", "2", "3"]})
  edit(path, 1, column, value)
  message = refusal(path, Columns(ra="ra", dec="dec"))
  assert f"row 2 (id 1001): column {column!r} is {value!r}" in message
  assert "degrees" in message


def test_splits_of_the_table(tmp_path):
  path = write_catalog(tmp_path, 7)
  names = ["Train", "training", "val", "valid", "dev", " validation", "TEST"]
  add_columns(path, {"part": names})
  split = _read(path, Columns(split="part")).frame["split"]
  assert list(split) == ["train"] * 2 + ["validation"] * 4 + ["test"]
  assert "split" not in _read(path).frame


@pytest.mark.parametrize(
  ("value", "wanted"),
  [("holdout", "is 'holdout', none of train"), ("", "is empty")],
)
def test_a_split_that_is_none(tmp_path, value, wanted):
  path = write_catalog(tmp_path, 6)
  add_columns(path, {"part": ["train", "val", "test"] * 2})
  edit(path, 4, "part", value)
  message = refusal(path, Columns(split="part"))
  assert "row 5 (id 1004): column 'part'" in message
  assert wanted in message


def test_all_three_splits_must_occur(tmp_path):
  path = write_catalog(tmp_path, 6)
  add_columns(path, {"part": ["train", "test"] * 3})
  message = refusal(path, Columns(split="part"))
  assert "no galaxy into validation" in message
  assert "split_column" in message


def test_crops(tmp_path):
  path = write_catalog(tmp_path, 3, size=16)
  add_columns(path, {"width": ["6", "15.6", "40"]})
  catalog = _read(path, Columns(crop="width"))
  assert list(catalog.frame["crop"]) == [6, 16, 40]
  (note,) = catalog.notes
  assert "clipped: 1, first" in note
  assert "row 3 (id 1002)" in note


@pytest.mark.parametrize("value", ["0", "-3", "", "nan", "inf", "wide"])
def test_a_crop_that_is_none(tmp_path, value):
  path = write_catalog(tmp_path, 3)
  add_columns(path, {"width": ["6", "7", "8"]})
  edit(path, 1, "width", value)
  message = refusal(path, Columns(crop="width"))
  assert "row 2 (id 1001): column 'width'" in message


def test_rows_with_bad_images_are_left_out_if_that_is_asked_for(tmp_path):
  path = write_catalog(tmp_path, 4)
  add_columns(path, {"width": ["6", "7", "8", "9"]})
  for name in ("1", "2"):
    (tmp_path / "images" / f"{name}.png").write_text("hello")
  found = _read(path, Columns(crop="width"))
  assert found.notes == ()
  kept = without_bad_images(found)
  assert list(kept.frame["id_str"]) == ["1000", "1003"]
  assert kept.left_out == {"the image cannot be used": 2}
  assert without_bad_images(kept) == kept
  assert fingerprint(kept) != fingerprint(found)
  with pytest.raises(
    BadImageError, match=r"row 2 \(id 1001\): .*1\.png is not"
  ):
    reader(found)(1)
  assert reader(kept)(1) == reader(found)(3)


@pytest.mark.parametrize("field", ["crop", "ra", "dec", "split"])
def test_missing_optional_column(tmp_path, field):
  path = write_catalog(tmp_path, 3)
  message = refusal(path, Columns()._replace(**{field: "nowhere"}))
  assert "no column 'nowhere'" in message
  assert message.endswith(f"as {field}_column.")


def test_the_fingerprint_knows_all_that_is_recorded(tmp_path):
  path = write_catalog(tmp_path, 3)
  add_columns(
    path,
    {
      **{"ra": ["1", "2", "3"], "dec": ["1", "2", "3"]},
      **{"width": ["6", "7", "8"], "part": ["train", "val", "test"]},
      **{"smooth-or-featured_smooth": ["1", "2", "999998"]},
      "smooth-or-featured_featured-or-disk": ["1", "2", "3"],
      "smooth-or-featured_artifact": ["1", "2", "3"],
    },
  )
  columns = Columns(
    **{"tree": "gzd_5", "crop": "width", "split": "part"}, ra="ra", dec="dec"
  )

  def mark():
    return fingerprint(_read(path, columns))

  known = {mark(), fingerprint(_read(path, columns._replace(crop="")))}
  known.add(fingerprint(_read(path, columns._replace(tree="gz2"))))
  for column, value in {
    **{"id_str": "77", "label": "smooth", "file_loc": "images/0.png"},
    **{"ra": "2.0000000001", "dec": "", "width": "9"},
  }.items():
    edit(path, 1, column, value)
    known.add(mark())
  # One vote of many, which a rounded number may not show.
  edit(path, 2, "smooth-or-featured_smooth", "999999")
  known.add(mark())
  edit(path, 1, "part", "train")
  edit(path, 0, "part", "val")
  known.add(mark())
  image = tmp_path / "images" / "2.png"
  os.utime(image, ns=(0, image.stat().st_mtime_ns + 1))
  known.add(mark())
  stretch = Stretch(white=99.0)
  known.add(
    fingerprint(read_catalog(path, tmp_path, columns, CLASSES, stretch))
  )
  more = (*CLASSES, "none of these")
  known.add(fingerprint(read_catalog(path, tmp_path, columns, more)))
  assert len(known) == 14
  one, two = (
    fingerprint(_read(path, columns._replace(tree=tree)))
    for tree in ("gz2", "gz2_kaggle")
  )
  assert one != two
  assert mark() in known


def test_gzipped_csv_and_a_truncated_one(tmp_path):
  path = write_catalog(tmp_path, 60)
  data = gzip.compress(path.read_bytes())
  packed = tmp_path / "c.csv.gz"
  packed.write_bytes(data)
  pd.testing.assert_frame_equal(_read(packed).frame, _read(path).frame)
  packed.write_bytes(data[:-60])
  assert "c.csv.gz cannot be read as a table" in refusal(packed)


def test_records_hold_what_the_table_has(tmp_path):
  path = write_catalog(tmp_path, 3, size=16)
  add_columns(
    path,
    {
      **{"ra": ["359.123456789012", "2", ""], "dec": ["1", "-2", ""]},
      **{"width": ["6", "16", "40"], "part": ["train", "val", "test"]},
    },
  )
  columns = Columns(crop="width", split="part", ra="ra", dec="dec")
  builder = builder_of(path, columns)
  dataset.prepare(builder)
  assert "clipped: 1, first" in builder.info.metadata["notes"][0]
  rows = list(builder.as_data_source("full"))
  whole = [
    np.asarray(Image.open(tmp_path / "images" / f"{i}.png")) for i in range(3)
  ]
  np.testing.assert_array_equal(rows[0]["image"], whole[0][5:11, 5:11])
  np.testing.assert_array_equal(rows[1]["image"], whole[1])
  np.testing.assert_array_equal(rows[2]["image"], whole[2])
  assert [row["file"] for row in rows] == [
    f"images/{i}.png".encode() for i in range(3)
  ]
  assert [row["split"] for row in rows] == [b"train", b"validation", b"test"]
  np.testing.assert_array_equal(
    [row["ra"] for row in rows], [359.123456789012, 2, np.nan]
  )
  np.testing.assert_array_equal([row["dec"] for row in rows], [1, -2, np.nan])


def test_galaxies_without_labels(tmp_path):
  path = write_catalog(tmp_path, 4, size=16)
  edit(path, 1, "label", "starfish")  # not read, and no mistake
  add_columns(path, {"ra": ["north"] * 4, "width": [6, 16, 40, 16]})
  columns = Columns(crop="width")
  rows = read_rows(path, columns)
  found = unlabelled(rows, path.parent, columns)
  assert "clipped: 1, first in row 3" in found.notes[0]
  builder = builders.builder_of(found, path, str(tmp_path / "tfds"))
  data = dataset.load(dataset.prepare(builder), crop=0, size=6)
  assert set(data.table) == {"id_str", "file"}
  assert list(data.table["id_str"]) == ["1000", "1001", "1002", "1003"]
  assert data.classes == ()
  assert data.votes is None
  whole = np.asarray(Image.open(tmp_path / "images" / "0.png"))
  np.testing.assert_array_equal(data.image[0], whole[5:11, 5:11])


@pytest.mark.parametrize("kind", ["jpg", "tiff", "webp", "png"])
def test_formats_of_images(tmp_path, kind):
  path = write_catalog(tmp_path, 3, kind, size=16)
  builder = builder_of(path)
  found = dataset.load(dataset.prepare(builder), crop=0, size=16)
  wanted = np.asarray(Image.open(tmp_path / "images" / f"1.{kind}"))
  np.testing.assert_array_equal(found.image[1], wanted)


def test_an_oblong_image_is_cut_to_a_square(tmp_path):
  path = write_catalog(tmp_path, 3)
  pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
  Image.fromarray(pixels).save(tmp_path / "images" / "0.png")
  add_columns(path, {"width": ["15", "16", "16"]})
  builder = builder_of(path, Columns(crop="width"))
  dataset.prepare(builder)
  image = builder.as_data_source("full")[0]["image"]
  np.testing.assert_array_equal(image, pixels[:, 5:15])
