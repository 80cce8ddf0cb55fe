"""The examples run and print what they promise."""

import runpy

import jax
import pytest

from gzjax import sharding
from gzjax.unlearning import METHODS
from tests.command_line import ROOT


@pytest.fixture
def rows(monkeypatch, capsys):
  """An example's name -> the cells of its scoreboard, by method."""
  mesh = sharding.make_mesh(jax.devices()[:1])
  monkeypatch.setattr(sharding, "make_mesh", lambda: mesh)
  # What an example registers is gone after the test.
  monkeypatch.setattr(METHODS, "_rows", dict(METHODS))

  def run(name):
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    (rule,) = (i for i, line in enumerate(lines) if line.startswith("──"))
    cells = [line.split() for line in lines[rule + 1 :]]
    return {row[0]: row for row in cells if row[0] in METHODS}

  return run


FORGET = 2  # the column of the share of wrong labels that are given


def test_own_arrays(rows):
  found = rows("own_arrays")
  assert list(found) == ["original", "retrain", "negative_learning", "ssd"]
  given = {name: float(row[FORGET]) for name, row in found.items()}
  assert given["original"] > 0.9
  assert given["retrain"] < 0.2
  assert given["retrain"] <= given["negative_learning"] < given["original"]


def test_own_method(rows):
  found = rows("own_method")
  assert list(found) == ["original", "finetune", "nudge"]
  # To teach that labels are wrong forgets more than to leave them out.
  assert float(found["nudge"][FORGET]) < float(found["finetune"][FORGET])
