"""Nonsense that nobody thought of: one line, or a result that makes sense."""

import copy
import io

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
import ml_collections
import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.audit import review
from gzjax.data import builders, images
from gzjax.data.galaxy_catalog import guess, tables
from gzjax.data.galaxy_catalog.catalog import columns_from, read_catalog
from gzjax.errors import UserError
from gzjax.pipeline import checks, defaults

pytestmark = pytest.mark.slow

# Examples share a folder, which each fills anew; a busy machine is no fault.
often = settings(
  max_examples=150,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _line(do, *names):
  """What `do` finds; None for an error of one line that says a name."""
  try:
    return do()
  except UserError as error:
    assert "\n" not in str(error)
    assert any(name in str(error) for name in names), str(error)


def _changed(whole, changes):
  content = bytearray(whole)
  for where, value in changes:
    content[where % len(content)] = value
  return bytes(content)


CHANGES = st.lists(
  st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8
)
SUFFIXES = (".csv", ".csv.gz", ".parquet", ".fits", ".vot")
TABLE = pd.DataFrame(
  {
    "id_str": [str(587730000000000000 + i) for i in range(20)],
    "label": ["smooth", "featured"] * 10,
    "ra": np.linspace(0, 359, 20),
  }
)


@pytest.fixture(scope="module")
def files():
  """The table in each format."""
  from astropy.table import Table

  found = {}
  for suffix in SUFFIXES:
    buffer = io.BytesIO()
    if suffix == ".parquet":
      TABLE.to_parquet(buffer)
    elif suffix.startswith(".csv"):
      zipped = "gzip" if suffix.endswith("gz") else None
      TABLE.to_csv(buffer, index=False, compression=zipped)
    else:
      kind = {".fits": "fits", ".vot": "votable"}[suffix]
      Table.from_pandas(TABLE).write(buffer, format=kind)
    found[suffix] = buffer.getvalue()
  return found


@pytest.mark.parametrize("suffix", SUFFIXES)
@often
@given(changes=CHANGES, keep=st.integers(0, 3000))
def test_a_damaged_table_is_a_table_or_a_line(
  tmp_path, files, suffix, changes, keep
):
  path = tmp_path / f"table{suffix}"
  path.write_bytes(_changed(files[suffix], changes)[: keep or None])
  table = _line(lambda: tables.read_text(path), path.name)
  if table is not None:
    assert len(table) and table.columns.is_unique


@often
@given(content=st.binary(min_size=1), suffix=st.sampled_from(SUFFIXES))
def test_any_bytes_are_a_table_or_a_line(tmp_path, content, suffix):
  path = tmp_path / f"table{suffix}"
  path.write_bytes(content)
  table = _line(lambda: tables.read_text(path), path.name)
  if table is not None:
    assert len(table) and table.columns.is_unique


NAMES = st.sampled_from(
  (
    *("id", "objid", "id_str", "file", "label", "class", "ra", "dec", "split"),
    *("smooth_count", "artifact_fraction", "t01_smooth_a01_count", "x", "é"),
  )
)
CELLS = st.one_of(
  st.sampled_from(["", "nan", "smooth", "featured", "train", "1", "1.0"]),
  st.integers(-1, 10**18).map(str),
  st.floats(allow_nan=True).map(str),
  st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
)


@st.composite
def tables_of_text(draw, names, cells):
  columns = draw(st.lists(names, min_size=1, max_size=6, unique=True))
  count = draw(st.integers(1, 8))
  column = st.lists(cells, min_size=count, max_size=count)
  return pd.DataFrame({name: draw(column) for name in columns}, dtype=str)


@often
@given(table=tables_of_text(NAMES, CELLS))
def test_any_table_is_a_catalogue_or_a_line(tmp_path, table):
  """Whose galaxies are the rows, in their order."""
  path = tmp_path / "catalog.csv"
  table.to_csv(path, index=False)
  (tmp_path / "images").mkdir(exist_ok=True)
  Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.png")
  usual = builders.READERS.settings("galaxy_catalog")

  def read():
    found = guess.guess(path, tmp_path / "images", usual)
    columns = columns_from(found.settings)
    classes = found.settings["classes"]
    return read_catalog(path, tmp_path / "images", columns, classes)

  catalog = _line(read, "catalog")
  if catalog is not None:
    assert len(catalog.frame) == len(table)
    assert catalog.frame["id_str"].is_unique


IDS = [f"g{i}" for i in range(5)]
SUSPECTS = pd.DataFrame({"id_str": IDS, "given_label": ["smooth"] * 5})


@often
@given(
  table=tables_of_text(
    st.sampled_from(
      ["id_str", "verdict", "corrected_label", "note", "given_label", "x"]
    ),
    st.one_of(
      st.sampled_from([*IDS, "wrong", "right", "unsure", "Wrong ", ""]),
      st.sampled_from(["smooth", "featured", "artifact", "#"]),
      st.text(max_size=5),
    ),
  )
)
@example(pd.DataFrame({"id_str": ["g0", "g0"]}))
def test_any_review_is_one_or_a_line(table):
  """Each verdict of the table is taken up, and no other."""
  found = _line(
    lambda: review.read(
      table, SUSPECTS, ("smooth", "featured"), "reviewed.csv"
    ),
    "reviewed.csv",
  )
  if found is None:
    return
  assert found["id_str"].is_unique and set(found["id_str"]) <= set(IDS)
  assert set(found["verdict"]) <= {"wrong", "right", "unsure"}
  assert set(found["corrected_label"]) <= {"", "smooth", "featured"}
  if "verdict" in table:
    said = table["verdict"].str.strip() != ""
    assert len(found) == table.loc[said, "id_str"].str.strip().nunique()


KEYS = [key for key, _ in defaults.flat(defaults.get_config().to_dict())]
VALUES = st.recursive(
  st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
  lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.tuples(inner), st.tuples(inner, inner)
  ),
  max_leaves=4,
)
USUAL = defaults.get_config().to_dict()


@often
@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1))
def test_any_config_is_one_or_a_line(changes):
  values = copy.deepcopy(USUAL)
  for name, value in changes.items():
    section, _, key = name.rpartition(".")
    (checks.get(values, section) if section else values)[key] = value
  parts = [name.rpartition(".")[2] for name in changes]
  _line(
    lambda: checks.check_config(ml_collections.ConfigDict(values)),
    *changes,
    *parts,
  )


KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")


@pytest.mark.parametrize("kind", KINDS)
@often
@given(changes=CHANGES, in_header=st.booleans())
def test_a_damaged_image_is_an_image_or_an_error(kind, changes, in_header):
  """Of a class that the reader of all images waits for; never a warning."""
  buffer = io.BytesIO()
  pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
  Image.fromarray(pixels).save(buffer, kind)
  whole = buffer.getvalue()
  if in_header:
    changes = [(where % 64, value) for where, value in changes]
  try:
    found = images.to_square(images.whole_rgb(_changed(whole, changes)), 0, 8)
  except Exception as error:
    assert not isinstance(error, (MemoryError, RecursionError))
    return
  assert found.shape == (8, 8, 3) and found.dtype == np.uint8
