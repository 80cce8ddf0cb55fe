"""Tables: settings, their words, and what is refused."""

from functools import partial
from typing import Literal

import pytest

from gzjax.errors import SettingError, UserError, naming
from gzjax.registry import Positive, Table, arguments


def _warm(what, *, degrees: Positive = 20, unit: Literal["C", "K"] = "C"):
  """Warms.

  Args:
    what: anything.
    degrees: of the room, in
      the unit.
    unit: of degrees.

  Raises:
    Nothing: ever.
  """
  return what, degrees, unit


def _cool(what, *, degrees: Positive = 20):
  return what, degrees


def _all_of_them(*, rooms: int = 1):
  """Common.

  Args:
    rooms: how many.
  """


@pytest.fixture
def table():
  return Table(
    {"warm": _warm, "house": partial(_warm, "house"), "cool": _cool},
    common=_all_of_them,
  )


def test_settings_are_the_keyword_only_arguments(table):
  wanted = {"degrees": 20, "unit": "C", "rooms": 1}
  assert table.settings("warm") == table.settings("house") == wanted
  assert table.settings("cool") == {"degrees": 20, "rooms": 1}
  assert table.all_settings() == wanted
  section = {"degrees": 3, "unit": "K", "rooms": 2, "colour": "red"}
  assert table.take("cool", section) == {"degrees": 3, "rooms": 2}


def test_meanings_are_those_of_the_docstring(table):
  wanted = {
    "degrees": "of the room, in the unit",
    "unit": "of degrees",
    "rooms": "how many",
  }
  assert table.meanings("house") == wanted
  # Without words of its own a row has those of the others.
  assert table.meanings("cool")["degrees"] == wanted["degrees"]
  assert arguments(_cool) == {}


@pytest.mark.parametrize(
  ("name", "row", "words"),
  [
    ("warm", _cool, "there is a row 'warm' already"),
    ("new", lambda *, x: x, "the setting 'x' needs a default"),
    ("new", lambda *, degrees=3: degrees, "'degrees' is 20 in other rows"),
  ],
)
def test_a_bad_row_is_refused(table, name, row, words):
  with pytest.raises(ValueError, match=words):
    table.register(name, row)
  assert "new" not in table


def test_rows_of_sections_of_their_own_have_defaults_of_their_own():
  table = Table({"cool": _cool}, shares_section=False)
  table.register("new", lambda *, degrees=3: degrees)
  assert table.settings("new") == {"degrees": 3}


def test_mistakes_name_the_argument_and_the_choices(table):
  with pytest.raises(ValueError, match=r"^how is 'dry': choose one of warm, h"):
    table.pick("how", "dry")
  with pytest.raises(ValueError, match=r"^degrees is 0: give a number from 1"):
    table.check("cool", {"degrees": 0})
  with pytest.raises(ValueError, match=r"^unit is 'F': choose one of C, K"):
    table.check("warm", {"unit": "F"})
  table.check("cool", {"unit": "F"})  # no setting of its own
  assert table.pick("how", "cool") is _cool


def test_the_pipeline_names_the_section():
  with pytest.raises(UserError, match=r"^room\.degrees is 0"), naming("room"):
    raise SettingError("degrees is 0")
  with pytest.raises(UserError, match=r"^no table"), naming("room"):
    raise UserError("no table")
