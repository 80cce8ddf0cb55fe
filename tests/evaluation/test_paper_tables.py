"""The scoreboard as Markdown and LaTeX: every number, mean and interval."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gzjax.evaluation import paper_tables
from gzjax.evaluation.scoreboard import COLUMNS

RUNS = {"original": (0.80, 0.82, 0.87), "neggrad_plus": (0.90, 0.91, 0.95)}


def _row(method, seed, accuracy):
  """Of a run in which nothing was retrained."""
  empty = ("js_to_retrain", "gap_to_retrain", "cost_vs_retrain")
  row = {name: 0.5 for name in COLUMNS if name not in empty}
  return row | {
    **{"method": method, "seed": seed, "test_accuracy": accuracy},
    "verdict": "ok",
  }


def _rows(seeds):
  return [
    _row(method, seed, runs[seed])
    for method, runs in RUNS.items()
    for seed in range(seeds)
  ]


def _cells(text, line):
  return [x.strip() for x in text.splitlines()[line].strip("|").split("|")]


@pytest.mark.parametrize("seeds", [1, 3])
def test_markdown_has_a_line_a_method(seeds):
  text = paper_tables.markdown(_rows(seeds))
  names = _cells(text, 0)
  assert names == [
    name.replace("_", " ")
    for name in COLUMNS
    if name != "seed" and name in _row("", 0, 0)
  ]
  for line, (method, runs) in enumerate(RUNS.items(), 2):
    found = dict(zip(names, _cells(text, line), strict=True))
    assert found["method"] == method
    assert found["verdict"] == "ok"
    numbers = [float(x) for x in found["test accuracy"].split("±")]
    wanted = [np.mean(runs[:seeds])]
    if seeds > 1:
      low, high = stats.t.interval(0.95, 2, np.mean(runs), stats.sem(runs))
      wanted.append((high - low) / 2)
    np.testing.assert_allclose(numbers, wanted, atol=5e-4)
  assert ("Mean over 3 random seeds" in text) == (seeds == 3)


def test_latex_is_the_same_table():
  rows = _rows(3)
  text = paper_tables.latex(rows)
  body = re.search(r"\\midrule\n(.*)\\bottomrule", text, re.DOTALL)[1]
  lines = [x.strip().removesuffix(r"\\") for x in body.splitlines()]
  cells = [
    [x.strip().replace(r"$\pm$", "±") for x in line.split("&")]
    for line in lines
  ]
  markdown = paper_tables.markdown(rows)
  wanted = [_cells(markdown, line) for line in (2, 3)]
  assert [[x.replace(r"\_", "_") for x in line] for line in cells] == wanted
  assert r"neggrad\_plus" in text
  assert r"95\% interval" in text
  columns = re.search(r"begin{tabular}{(.*)}", text)[1]
  assert columns == "l" + "r" * (len(wanted[0]) - 2) + "l"


def test_a_number_that_one_method_lacks_is_empty():
  rows = _rows(3)
  for row in rows[3:]:
    row["cost_vs_retrain"] = 0.25
  text = paper_tables.markdown(rows)
  column = _cells(text, 0).index("cost vs retrain")
  assert _cells(text, 2)[column] == ""
  assert _cells(text, 3)[column] == "0.250 ±0.000"


def test_pandas_reads_the_markdown_back(tmp_path):
  path = tmp_path / "scoreboard.md"
  path.write_text(paper_tables.markdown(_rows(1)))
  table = pd.read_csv(
    path, sep="|", skiprows=[1], nrows=2, skipinitialspace=True
  )
  assert [x.strip() for x in table["method "]] == list(RUNS)
  assert [float(x) for x in table["test accuracy "]] == [0.8, 0.9]
