"""Values of tables as people read them, and plain tables of them.

What is missing is None in JSON and, by the version of pandas, None, NaN or NA
in a table. NaN counts as true and prints as "nan", so no cell is asked for its
truth or written without a look.
"""

import re
from typing import Any

import pandas as pd


def or_else(value: Any, other: Any) -> Any:
  """The value, or `other` where it is missing or empty text."""
  return other if pd.isna(value) or value == "" else value


def number(value: Any, form: str, missing: str = "not finite") -> str:
  """A number in a %-format; `missing` where there is none."""
  return missing if pd.isna(value) else form % value


def words(name: Any) -> str:
  """The name of a column as people read it."""
  return str(name).replace("_", " ")


def plain_table(table: pd.DataFrame, css: str | None = None) -> str:
  """A table of numbers as HTML, of a class of the style sheet."""
  return to_html(table.rename(columns=words), classes=css, index=False)


def to_html(table: pd.DataFrame, form: str = "{:.3f}", **options: Any) -> str:
  """A table with numbers in this form, see `pd.DataFrame.to_html`.

  Each head says whether it is that of a column or of a row.
  """
  text = table.to_html(border=0, float_format=form.format, na_rep="", **options)
  head, body = text.split("<tbody>")
  return "<tbody>".join(
    re.sub(r"<th(?=[ >])", f'<th scope="{scope}"', half)
    for half, scope in ((head, "col"), (body, "row"))
  )
