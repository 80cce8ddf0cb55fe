"""What the package says about itself to pip and to those who cite it."""

from pathlib import Path
import tomllib

from packaging.requirements import Requirement
import pytest
import yaml

import gzjax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_is_of_this_version():
  cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  assert cited["title"] == PROJECT["name"]
  assert str(cited["version"]) == gzjax.__version__
  assert cited["license"] == PROJECT["license"]
  found = "\n".join(
    path.read_text() for path in (ROOT / "gzjax/data").glob("*/CITATIONS.bib")
  )
  for paper in cited["references"]:
    assert paper["doi"] in found


@pytest.mark.parametrize("name", ["jax", "tensorflow-datasets"])
def test_packages_with_private_parts_in_use_have_an_upper_bound(name):
  needed = [Requirement(line) for line in PROJECT["dependencies"]]
  (bounds,) = [need.specifier for need in needed if need.name == name]
  assert any(bound.operator == "<" for bound in bounds)


def test_cleanlab_is_for_the_tests_alone():
  extras = PROJECT["optional-dependencies"]
  using = {name for name in extras if "cleanlab" in " ".join(extras[name])}
  assert using == {"oracle"}
  assert "cleanlab" not in " ".join(PROJECT["dependencies"])
  for path in (ROOT / "gzjax").rglob("*.py"):
    assert "cleanlab" not in path.read_text(), path
