"""Our templates: values -> text of a page that allows no script but its own."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gzjax.files import write_text
from gzjax.report import cells


def render(workdir: Path, name: str, **values: Any) -> None:
  """Writes the `report.html` that one of our templates makes of the values."""
  script = part("table.js.jinja")
  text = template(name).render(
    **values, script=script, script_hash=source_of(script)
  )
  write_text(workdir / "report.html", text)


def part(name: str) -> Markup:
  """A script or a style, as it stands in the page."""
  return Markup(template(name).render())


def template(name: str) -> jinja2.Template:
  """One of our templates."""
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("gzjax.report"), autoescape=True
  )
  environment.filters["number"] = cells.number
  environment.filters["words"] = cells.words
  return environment.get_template(name)


def source_of(text: str) -> str:
  """By which the page's policy allows this script or style, and no other."""
  digest = hashlib.sha256(text.encode()).digest()
  return f"'sha256-{base64.b64encode(digest).decode()}'"
