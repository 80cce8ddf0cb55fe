"""Values of tables as people read them.

What is missing is None in JSON and, by the version of pandas, None, NaN or NA
in a table. NaN counts as true and prints as "nan", so no cell is asked for its
truth or written without a look.
"""

from typing import Any

import pandas as pd


def or_else(value: Any, other: Any) -> Any:
  """The value, or `other` where it is missing or empty text."""
  return other if pd.isna(value) or value == "" else value


def number(value: Any, form: str, missing: str = "not finite") -> str:
  """A number in a %-format; `missing` where there is none."""
  return missing if pd.isna(value) else form % value
