"""The report says what the files say, the conclusion first."""

import base64
import hashlib
import html
import re

import numpy as np
import pandas as pd
import pytest

from gzjax.report import (
  cells,
  galleries,
  page,
  systems_page,
  templates,
  words,
)
from tests.report import runs

MISSING = [None, np.nan, pd.NA]


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_cell_is_replaced_and_others_are_not(missing):
  assert cells.or_else(missing, "test") == "test"
  assert cells.or_else("", "test") == "test"
  assert cells.or_else("forget", "test") == "forget"
  assert cells.number(missing, "%.2f") == "not finite"
  assert cells.number(0.0, "%.2f") == "0.00"
  assert systems_page.cell("four_accuracy", missing) == ""


def _write_predictions(folder, **predicted):
  (folder / "evaluate").mkdir()
  for name, labels in predicted.items():
    pd.DataFrame({"predicted": labels}).to_parquet(
      folder / "evaluate" / f"{name}.parquet"
    )


def test_galaxies_that_changed_are_named_by_set_or_split(tmp_path):
  """A label is None where the network says no number; pandas makes it NaN."""
  split = pd.DataFrame(
    {
      "id_str": ["a", "b", "c", "d"],
      "split": ["test", "train", "test", "train"],
      "set": [None, "forget", None, "retain"],
      "flipped": [False, True, False, False],
      "true_label": ["x", "x", "y", "y"],
      "train_label": ["x", "y", "y", "y"],
    }
  )
  split.to_parquet(tmp_path / "split.parquet")
  _write_predictions(
    tmp_path, original=["x", "y", None, "y"], noisy=["y", "x", "x", None]
  )
  found = galleries.Galleries(
    tmp_path,
    pd.read_parquet(tmp_path / "split.parquet"),
    lambda name: runs.encoded(9),
  ).changed(4, "noisy")
  assert [(card.id_str, *card.lines) for card in found] == [
    ("b", "network y → x", "given y, forget", "was flipped, true x"),
    ("a", "network x → y", "given x, test", "not flipped"),
    ("c", "network not finite → x", "given y, test", "not flipped"),
    ("d", "network y → not finite", "given y, retain", "not flipped"),
  ]


def test_a_class_that_no_galaxy_has_counts_none():
  split = pd.DataFrame(
    {
      "split": ["train", "train", "test"],
      "true_label": ["x", "y", "x"],
      "flipped": [True, False, False],
    }
  )
  counts = page._counts(split, ["x", "y", "z"])
  assert counts.loc["all"].tolist() == [2, 1, 0, 3, 1]
  assert counts.loc["validation"].tolist() == [0, 0, 0, 0, 0]


def test_tables_leave_missing_numbers_out_and_name_what_heads_head():
  table = pd.DataFrame({"f1": [0.5, np.nan]}, index=["<a>", "b"])
  text = cells.to_html(table)
  assert "0.500" in text
  assert "nan" not in text.lower()
  assert text.count('<th scope="col"') == 2
  assert '<th scope="row">&lt;a&gt;</th>' in text
  assert not re.search("<th(>| (?!scope))", text)


@pytest.mark.fault("A12")
def test_the_filter_of_the_templates_knows_nan():
  number = templates.template("page.html.jinja").environment.filters["number"]
  assert number(np.nan, "%.3f") == "not finite"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  path = runs.write(tmp_path_factory.mktemp("run") / "run")
  return path.read_text(encoding="utf-8")


def _text(page):
  """What a reader sees, as one line."""
  page = re.sub(r"<(script|style|svg).*?</\1>", " ", page, flags=re.DOTALL)
  return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.mark.fault("F")
def test_the_conclusion_comes_first(report):
  first = re.search(r"<ol.*?</ol>", report, re.DOTALL)
  assert report.index("</h1>") < first.start() < report.index("<h2")
  done, use, sure = re.findall(r"<li>(.*?)</li>", first[0])
  assert done == (
    "resnet learned 40 galaxies, of which 4 (10.0%) had been given a wrong "
    "label on purpose; 4 methods unlearned these and it was trained again "
    "without them."
  )
  assert use == "Use scrub: it forgot."
  assert sure.startswith(
    "On 30 test galaxies, which decided nothing, scrub is right for 96.7% "
    "(95% interval 83.3% to 99.4%), the original for 100.0% (95% interval "
    "88.6% to 100.0%); the intervals overlap"
  )


def test_intervals_that_are_apart_are_said_to_be():
  rows = [
    runs.row("original", intervals={"test_accuracy": (0.2, 0.4)}),
    runs.row("scrub", intervals={"test_accuracy": (0.5, 0.7)}),
  ]
  split = pd.DataFrame({"split": ["train", "test"], "set": ["forget", None]})
  choice = {"method": "scrub", "sentence": "Use scrub."}
  done, _, sure = words.of_run("net", split, rows, choice)
  assert "the intervals do not overlap" in sure
  assert done == (
    "net learned 1 galaxies with their labels as they are, of which 1 (100.0%) "
    "are to be forgotten; 1 method unlearned these."
  )
  *_, sure = words.of_run("net", split, rows, {**choice, "method": "original"})
  assert "original is right for" in sure
  assert "overlap" not in sure


@pytest.mark.fault("F")
def test_suspects_come_early_and_each_picture_once(report):
  assert report.index('id="galaxy-0"') < report.index('id="table"')
  assert 'href="audit/review.html"' in report
  pictures = re.findall(r'src="(data:image/png[^"]*)"', report)
  # Six suspects; of what changed besides none is left but galaxy 70.
  assert len(pictures) == len(set(pictures)) == 7
  card = re.search(r'id="galaxy-0">.*?</figure>', report, re.DOTALL)[0]
  assert "g&lt;0&gt;" in card
  lines = re.findall(r"<br>([^<\n]*)", card)
  assert lines == [
    "label featured → smooth",
    "network featured → smooth",
    "very probably wrong (99%), forget",
    "was flipped, true smooth",
  ]
  # What the network says of it is further down, without the picture.
  assert '<a href="#galaxy-0">shown above</a>' in report


def test_labels_to_forget_come_first_once_there_are_networks(tmp_path):
  """Those that look most suspicious first in either part."""
  runs.write(tmp_path / "run")
  split = pd.read_parquet(tmp_path / "run" / "split.parquet")
  split["set"] = [None, "retain", "forget", "forget"] * 20
  found = galleries.Galleries(
    tmp_path / "run", split, lambda _: runs.encoded(1)
  )
  cards = found.suspects(42, "scrub")
  assert [card.row for card in cards[:3]] == [2, 3, 6]
  assert [card.row for card in cards[-2:]] == [0, 1]
  assert [card.lines[2].split(", ")[1] for card in cards[-3:]] == [
    *("forget", "train", "retain")
  ]
  assert [card.row for card in found.suspects(3, None)] == [0, 1, 2]


def test_pictures_are_those_that_were_recorded(report):
  encoded = page.figures.encoded_uri(runs.encoded(0), "0")
  assert f'class="coarse" src="{encoded}"' in report


def test_what_collapsed_stands_aside_with_its_cause(report):
  cost = re.search(r'<section id="cost">.*?</section>', report, re.DOTALL)[0]
  figure, aside = cost.split("Not in the figure")
  assert ">noisy</text>" not in figure
  assert ">scrub</text>" in figure
  assert f"Cause: {runs.CAUSE}" in aside
  assert "noisy &lt;does&gt; so" in aside


def test_data_and_run_are_told(report):
  text = _text(report)
  for words_of in (
    "2 no &lt;label&gt;",
    "sky/1, 16 px",
    "cpu; jax 0.10",
    "scrub 1.5 1.0 15.0",
  ):
    assert words_of in text, words_of
  assert "broken" not in text


def test_no_script_runs_but_its_own(report):
  policy = re.search('Content-Security-Policy" content="([^"]*)"', report)[1]
  parts = dict(part.split(maxsplit=1) for part in policy.split("; "))
  (script,) = re.findall("<script>(.*?)</script>", report, re.DOTALL)
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
  assert parts["default-src"] == "'none'"
  assert html.unescape(parts["script-src"]) == f"'sha256-{digest.decode()}'"
  assert not re.search(r'(src|href)="(http|//)', report)


def test_no_id_is_there_twice_and_each_head_says_of_what(report):
  ids = re.findall(r'[ <]id="([^"]*)"', report)
  assert len(ids) == len(set(ids)) > 30
  assert "<svg" in report
  assert not re.search(r"<th(?=[ >])(?![^>]*scope=)", report)


def test_every_link_of_the_contents_has_its_place(report):
  contents = re.search("<nav.*?</nav>", report, re.DOTALL)[0]
  links = re.findall('href="#([a-z]*)"', contents)
  assert links == [
    *("short", "galaxies", "cost", "table", "methods", "network", "data"),
    "run",
  ]
  for place in links:
    assert len(re.findall(f'id="{place}"', report)) == 1


def test_a_run_that_was_only_audited_has_no_table(tmp_path):
  path = runs.write(tmp_path / "run", audited=True)
  text = path.read_text(encoding="utf-8")
  assert "No network has unlearned anything yet" in text
  assert "About 5 of 80 labels look wrong" in text
  assert "network featured" not in text
  contents = re.search("<nav.*?</nav>", text, re.DOTALL)[0]
  assert "#table" not in contents


def test_without_retraining_there_is_no_figure_of_cost(tmp_path):
  rows = [
    runs.row(x, gap_to_retrain=None, cost_vs_retrain=None)
    for x in runs.NAMES
    if x != "retrain"
  ]
  text = runs.write(tmp_path / "run", rows=rows).read_text(encoding="utf-8")
  assert "No retraining was run" in text
  assert "Cost of each method" not in text


@pytest.mark.fault("F")
def test_of_matrices_that_are_the_same_one_is_shown(report):
  folded = re.search(r"Of the others</summary>.*?</details>", report, re.DOTALL)
  assert folded[0].count("Confusion matrix of") == 2  # a name and a title
  assert 'aria-label="Confusion matrix of finetune, npo, noisy"' in folded[0]
  shown = report[: folded.start()]
  for name in ("original", "retrain", "scrub"):
    assert f'aria-label="Confusion matrix of {name}"' in shown


@pytest.mark.fault("F")
def test_each_colour_of_words_stands_out_in_either_scheme():
  css = str(templates.part("colours.css.jinja"))
  light, dark = (
    dict(re.findall(r"--([a-z-]+): (#\w+);", half))
    for half in css.split("@media")
  )
  assert light.keys() == dark.keys()
  for colours in (light, dark):
    for name in ("text", "soft", "accent", "wrong", "right", "unsure"):
      for ground in ("page", "card"):
        assert _contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def _contrast(one, other):
  low, high = sorted(_luminance(x) for x in (one, other))
  return (high + 0.05) / (low + 0.05)


def _luminance(colour):
  digits = colour.removeprefix("#")
  digits = digits if len(digits) == 6 else "".join(2 * x for x in digits)
  parts = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
  linear = np.where(
    parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
  )
  return linear @ (0.2126, 0.7152, 0.0722)
