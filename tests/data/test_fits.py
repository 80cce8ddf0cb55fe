"""FITS and VOTable tables, and FITS images."""

import gzip
import sys
import warnings

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.data import bad_images, dataset
from gzjax.data.galaxy_catalog.catalog import Columns, read_catalog
from gzjax.data.galaxy_catalog.fits_images import (
  DEFAULT,
  Stretch,
  asinh_rgb,
  read_fits_image,
)
from gzjax.data.galaxy_catalog.images import read_image
from gzjax.errors import SettingError, UserError
from gzjax.morphology.campaigns import GZ2
from tests.data.catalogs import CLASSES, builder_of, refusal, write_catalog

fits = pytest.importorskip("astropy.io.fits")
astropy_table = pytest.importorskip("astropy.table")
visualization = pytest.importorskip("astropy.visualization")

ENDINGS = (".fits", ".fit", ".fits.gz", ".vot", ".xml", ".vot.gz")
FIRST_ID = 587722981741363294


def _sky(shape, seed=0):
  """A galaxy on a noisy sky, in the fluxes of some survey."""
  y, x = np.indices(shape[-2:])
  galaxy = np.exp(-np.hypot(y - 9, x - 14) / 4)
  colour = np.array([1.0, 0.7, 0.4])[: shape[0], None, None]
  noise = np.random.default_rng(seed).normal(0, 0.01, shape)
  return 3e-3 * (galaxy * (colour if len(shape) == 3 else 1) + noise + 7)


def _write(path, data, **header):
  fits.PrimaryHDU(data, fits.Header(header)).writeto(path, overwrite=True)
  return path


def test_bands_and_extensions_are_chosen(tmp_path):
  """g, r, i and z in one cube, and a band in each HDU."""
  flux = _sky((3, 24, 30))
  wanted = read_fits_image(_write(tmp_path / "rgb.fits", flux), DEFAULT)
  red, green, blue = flux
  cube = np.stack([blue, green, red, 5 * red])
  four = _write(tmp_path / "griz.fits", cube)
  found = read_fits_image(four, Stretch(planes="bgr-"))
  np.testing.assert_array_equal(found, wanted)
  words = r"^fits_planes is 'rgb', and .*griz.* the colours of its .* 'bgr-'"
  with pytest.raises(SettingError, match=words):
    read_fits_image(four, DEFAULT)
  path = tmp_path / "bands.fits"
  units = [fits.ImageHDU(x, name=n) for x, n in zip(cube, "GRIZ", strict=True)]
  fits.HDUList([fits.PrimaryHDU(), *units]).writeto(path)
  for names in (("I", "r", "G"), ("3", "2", "1"), (3, 2, 1)):
    found = read_fits_image(path, Stretch(extensions=names))
    np.testing.assert_array_equal(found, wanted)
  one = read_fits_image(path, Stretch(extensions=("R",)))
  np.testing.assert_array_equal(
    one, read_fits_image(_write(tmp_path / "r.fits", green), DEFAULT)
  )
  with pytest.raises(UserError, match=r"each of I, R, Y \(it has 1 G, 2 R"):
    read_fits_image(path, Stretch(extensions=("I", "R", "Y")))
  with pytest.raises(SettingError, match="fits_extensions is"):
    Stretch(extensions=("I", "R"))


def _named(read, paths):
  def one(i):
    with bad_images.naming(f"row {i + 1}", str(paths[i]), "fetch it again"):
      return read(paths[i])

  return one


def test_a_setting_that_is_wrong_of_all_is_told_once(tmp_path):
  cube = np.stack([*_sky((3, 24, 30)), _sky((24, 30))])
  paths = [_write(tmp_path / f"{i}.fits", cube) for i in range(20)]
  read = _named(lambda path: read_fits_image(path, DEFAULT), paths)
  for look in (bad_images.which, lambda *x: [*bad_images.read_all(*x)]):
    with pytest.raises(SettingError, match="all 20 images") as caught:
      look(read, range(20), 20)
    message = str(caught.value)
    assert message.startswith(f"fits_planes is 'rgb', and {paths[0]} holds")
    assert "'bgr-'" in message
    assert str(paths[1]) not in message
  # Where one is another image, it is the others that are bad.
  _write(paths[3], _sky((3, 24, 30)))
  with pytest.raises(bad_images.BadImagesError, match="19 of 20 images"):
    list(bad_images.read_all(read, range(20), 20))
  assert bad_images.which(read, range(20), 20).sum() == 19


def _write_table(path, table):
  """Writes as TOPCAT does: big-endian FITS, or VOTable, perhaps gzipped."""
  plain = path.with_suffix("") if path.suffix == ".gz" else path
  is_fits = ".fit" in plain.name
  table.write(plain, format="fits" if is_fits else "votable", overwrite=True)
  if path.suffix == ".gz":
    path.write_bytes(gzip.compress(plain.read_bytes()))


@pytest.fixture(params=ENDINGS)
def survey(tmp_path, request):
  """A table of 6 galaxies in a format of astronomy, and its votes."""
  write_catalog(tmp_path, 6)
  counts = np.random.default_rng(0).integers(0, 30, (6, 37)).astype(np.int16)
  table = astropy_table.Table(
    {
      "objid": FIRST_ID + np.arange(6),
      "file": [f"images/{i}.png" for i in range(6)],
      "kind": list(np.resize(CLASSES, 6)),
      "RA": astropy_table.MaskedColumn(
        [184.95123456789, 1.0, 2.0, 3.0, 4.0, 5.0],
        mask=[False, True, *[False] * 4],
        unit="deg",
      ),
      "DEC": np.linspace(-1, 1, 6),
      "covariance": np.ones((6, 2, 2)),
    }
  )
  for name, column in zip(GZ2.kaggle_columns(), counts.T):
    table[name] = column
  path = tmp_path / f"survey{request.param}"
  _write_table(path, table)
  return path, table, counts


COLUMNS = Columns("objid", "file", "kind", tree="gz2", ra="RA", dec="DEC")


def test_tables_of_astronomy(survey):
  path, _, counts = survey
  frame = read_catalog(path, path.parent, COLUMNS, CLASSES).frame
  assert list(frame["id_str"]) == [str(FIRST_ID + i) for i in range(6)]
  np.testing.assert_array_equal(frame["label"], [0, 1, 2, 0, 1, 2])
  np.testing.assert_array_equal(np.stack(frame["counts"]), counts)
  np.testing.assert_array_equal(
    frame["ra"], [184.95123456789, np.nan, 2, 3, 4, 5]
  )
  assert frame["ra"].dtype == np.dtype("=f8")
  np.testing.assert_array_equal(frame["dec"], np.linspace(-1, 1, 6))


def test_names_of_a_votable_are_its_columns_not_the_ids(tmp_path):
  write_catalog(tmp_path, 1)
  path = tmp_path / "c.vot"
  fields = "".join(
    f'<FIELD ID="col{i}" name="{name}" datatype="char" arraysize="*"/>'
    for i, name in enumerate(("id_str", "file_loc", "label"))
  )
  cells = "<TD>7</TD><TD>images/0.png</TD><TD>artifact</TD>"
  path.write_text(
    '<?xml version="1.0"?><VOTABLE version="1.3" '
    'xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
    f"{fields}<DATA><TABLEDATA><TR>{cells}</TR></TABLEDATA></DATA>"
    "</TABLE></RESOURCE></VOTABLE>"
  )
  frame = read_catalog(path, tmp_path, Columns(), CLASSES).frame
  assert frame["id_str"][0] == "7"
  assert frame["label"][0] == 2


@pytest.mark.parametrize("name", ["objid", "Class3.2"])
def test_masked_cells_are_empty_cells(survey, name):
  path, table, _ = survey
  table = astropy_table.Table(table, masked=True)
  table["kind"][2] = ""
  _write_table(path, table)
  frame = read_catalog(path, path.parent, COLUMNS, CLASSES).frame
  np.testing.assert_array_equal(frame["label"], [0, 1, -1, 0, 1, 2])
  table[name].mask = np.arange(6) == 3
  _write_table(path, table)
  message = refusal(path, COLUMNS)
  assert "row 4" in message
  assert f"column {name!r} is" in message


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_that_is_none(tmp_path, ending):
  path = tmp_path / f"c{ending}"
  path.write_bytes(b"not a table")
  assert f"c{ending} cannot be read as a table" in refusal(path)


def test_a_fits_file_without_a_table(tmp_path):
  path = _write(tmp_path / "c.fits", np.zeros((4, 4)))
  assert "it holds no table" in refusal(path)


def test_a_truncated_table(tmp_path):
  path = tmp_path / "c.fits"
  astropy_table.Table({"id_str": np.arange(5000)}).write(path)
  path.write_bytes(path.read_bytes()[:9000])
  assert "c.fits cannot be read as a table" in refusal(path)


def test_without_astropy_one_line_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "astropy.io.fits", None)
  monkeypatch.setitem(sys.modules, "astropy.io.votable", None)
  for name in ("c.fits", "c.vot"):
    (tmp_path / name).write_bytes(b"")
    message = refusal(tmp_path / name)
    assert f"{name} can only be read with astropy" in message
    assert "pip install 'gzjax[astro]'" in message


@pytest.mark.parametrize("planes", [1, 3])
def test_the_stretch_is_luptons(planes):
  flux = _sky((planes, 30, 40))
  found = asinh_rgb(flux, DEFAULT)
  light = flux - np.median(flux, axis=(1, 2), keepdims=True)
  white = np.percentile(light.clip(min=0).mean(axis=0), 99.7)
  # Astropy makes its curve go through 10% at a tenth of the stretch, ours goes
  # through 100% at white: the same curve by other parameters.
  softening = 10 * np.sinh(0.1 * np.arcsinh(10))
  with np.errstate(invalid="ignore"):  # it divides dark pixels by 0
    wanted = visualization.make_lupton_rgb(
      *np.broadcast_to(light.clip(min=0), (3, 30, 40)),
      Q=softening,
      stretch=softening * white / 10,
    )
  assert wanted.std() > 20
  np.testing.assert_allclose(found.astype(int), wanted.astype(int), atol=1)


def test_sky_is_black_and_white_is_white():
  flux = np.full((1, 20, 20), 5.0)
  flux[0, :4] = 6.0
  flux[0, 10, 10] = 0.0
  found = asinh_rgb(flux, DEFAULT)
  assert (found[:4] == 255).all()
  assert (found[4:] == 0).all()


def test_one_bright_pixel_on_nothing():
  flux = np.zeros((1, 50, 50))
  flux[0, 20, 30] = 1e-9
  found = asinh_rgb(flux, DEFAULT)
  assert found[20, 30, 0] == 255
  assert found.sum() == 3 * 255
  assert not asinh_rgb(np.ones((1, 5, 5)), DEFAULT).any()


def test_softening_shows_faint_light():
  flux = _sky((1, 30, 40))
  faint = [
    asinh_rgb(flux, Stretch(softening=q)).mean() for q in (0.01, 1, 10, 100)
  ]
  assert faint == sorted(faint)
  assert faint[0] < faint[-1] / 2


@pytest.mark.parametrize("ending", [".fits", ".fit", ".fits.gz"])
def test_grey_images_stand_upright(tmp_path, ending):
  flux = _sky((30, 40))
  path = _write(tmp_path / f"x{ending}", flux)
  found = read_fits_image(path, DEFAULT)
  assert found.shape == (30, 40, 3)
  # FITS counts its rows from the bottom.
  assert found[29 - 9, 14, 0] == 255
  assert found[9, 14, 0] < 100
  np.testing.assert_array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize(
  ("planes", "order"), [("rgb", [0, 1, 2]), ("gbr", [1, 2, 0])]
)
def test_planes_are_colours(tmp_path, planes, order):
  flux = _sky((3, 30, 40))
  path = _write(tmp_path / "x.fits", flux[order])
  found = read_fits_image(path, Stretch(planes))
  red, green, blue = found.mean(axis=(0, 1))
  assert red > green > blue
  np.testing.assert_array_equal(found, asinh_rgb(flux, DEFAULT)[::-1])


def test_pixels_without_a_value_become_sky(tmp_path):
  flux = _sky((3, 30, 40))
  flux[:, :3] = np.nan
  flux[1, 20, 20] = np.inf
  found = read_fits_image(_write(tmp_path / "x.fits", flux), DEFAULT)[::-1]
  assert not found[:3].any()
  assert found[20, 20, 1] == 0
  assert found[9, 14, 0] > 200


def test_big_endian_unsigned_and_extra_axes(tmp_path):
  counts = np.rint(1e7 * _sky((30, 40))).astype(np.uint16)
  path = _write(tmp_path / "x.fits", counts[None, None])
  assert fits.getheader(path)["NAXIS"] == 4
  assert fits.getheader(path)["BZERO"] == 32768
  np.testing.assert_array_equal(
    read_fits_image(path, DEFAULT),
    asinh_rgb(counts[None].astype(float), DEFAULT)[::-1],
  )


def test_the_first_image_may_stand_in_an_extension(tmp_path):
  flux = _sky((30, 40))
  table = fits.table_to_hdu(astropy_table.Table({"a": [1]}))
  path = tmp_path / "x.fits"
  fits.HDUList(
    [fits.PrimaryHDU(), table, fits.ImageHDU(flux), fits.ImageHDU(0 * flux)]
  ).writeto(path)
  np.testing.assert_array_equal(
    read_fits_image(path, DEFAULT), asinh_rgb(flux[None], DEFAULT)[::-1]
  )


def test_a_tile_compressed_image(tmp_path):
  counts = np.rint(1e7 * _sky((30, 40))).astype(np.int32)
  path = tmp_path / "x.fits.fz"
  fits.CompImageHDU(counts).writeto(path)
  np.testing.assert_array_equal(
    read_fits_image(path, DEFAULT),
    asinh_rgb(counts[None].astype(float), DEFAULT)[::-1],
  )


@pytest.mark.parametrize(
  ("data", "wanted"),
  [
    (None, "holds no image"),
    (np.ones((2, 8, 8)), "shape (2, 8, 8)"),
    (np.ones(8), "shape (8,)"),
    (np.full((8, 8), np.nan), "without a single finite pixel"),
    (
      np.stack([np.ones((8, 8)), np.full((8, 8), np.nan), np.ones((8, 8))]),
      "without a single finite pixel",
    ),
  ],
)
def test_images_that_cannot_be_shown(tmp_path, data, wanted):
  path = _write(tmp_path / "x.fits", data)
  with pytest.raises(UserError) as caught:
    read_image(5, "17", str(path))
  message = str(caught.value)
  assert message.startswith("row 5 (id 17): ")
  assert "x.fits" in message
  assert wanted in message
  assert "\n" not in message


@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
@pytest.mark.parametrize("how", ["truncated", "text", "empty"])
def test_damaged_images(tmp_path, ending, how):
  path = _write(tmp_path / f"x{ending}", _sky((300, 400)))
  data = path.read_bytes()
  path.write_bytes(
    {"truncated": data[: len(data) // 2], "text": b"hello", "empty": b""}[how]
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    with pytest.raises(UserError) as caught:
      read_image(5, "17", str(path))
  message = str(caught.value)
  assert message.startswith("row 5 (id 17): ")
  assert f"x{ending}" in message


@pytest.mark.parametrize(
  ("settings", "wanted"),
  [
    ({"planes": "rgg"}, "fits_planes is 'rgg'"),
    ({"white": 0.0}, r"fits_white is 0\.0"),
    ({"white": 101.0}, r"fits_white is 101\.0"),
    ({"softening": 0.0}, r"fits_softening is 0\.0"),
  ],
)
def test_a_stretch_that_is_none(settings, wanted):
  with pytest.raises(SettingError, match=f"^{wanted}"):
    Stretch(**settings)


def test_records_of_fits_images(tmp_path):
  path = write_catalog(tmp_path, 3)
  flux = _sky((3, 30, 40))
  _write(tmp_path / "images" / "0.fits", flux)
  _write(tmp_path / "images" / "1.fits.gz", flux[0])
  table = pd.read_csv(path, dtype=str)
  table["file_loc"] = ["images/0.fits", "images/1.fits.gz", "images/2.png"]
  table["width"] = ["20", "99", "8"]
  table.to_csv(path, index=False)
  builder = builder_of(path, Columns(crop="width"))
  dataset.prepare(builder)
  first, second, third = (
    row["image"] for row in builder.as_data_source("full")
  )
  wanted = asinh_rgb(flux, DEFAULT)[::-1]
  np.testing.assert_array_equal(first, wanted[5:25, 10:30])
  wanted = asinh_rgb(flux[:1], DEFAULT)[::-1]
  np.testing.assert_array_equal(second, wanted[:, 5:35])
  wanted = np.asarray(Image.open(tmp_path / "images" / "2.png"))
  np.testing.assert_array_equal(third, wanted[4:12, 4:12])
  (note,) = builder.info.metadata["notes"]
  assert "clipped: 1, first" in note
  assert "row 2" in note
