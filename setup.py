"""Puts configs/ into the wheel as gzjax.configs; all else: pyproject.toml."""

from setuptools import find_namespace_packages, setup

# A table of packages in pyproject.toml would have to name each one: what is
# found by itself lies where its name says.
setup(
  packages=[*find_namespace_packages(include=["gzjax*"]), "gzjax.configs"],
  package_dir={"gzjax.configs": "configs"},
)
