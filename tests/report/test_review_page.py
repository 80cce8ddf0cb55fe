"""What the review page holds, without a browser."""

import base64
import hashlib
from html.parser import HTMLParser
import io
import json

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.errors import SettingError
from gzjax.report import review_page
from gzjax.report.review_page import Neighbour

CLASSES = ["smooth", 'disk "edge-on"', "</script><b>&amp;", "Ω, other"]


def encoded(shade, kind="PNG", size=24):
  """A picture of one colour, as a file."""
  file = io.BytesIO()
  Image.new("RGB", (size, size), (shade, 0, 90)).save(file, kind)
  return file.getvalue()


def suspects():
  """Six rows with all that may break a page or a table."""
  label = CLASSES
  return pd.DataFrame(
    {
      "id_str": ["007", "</script>", "a,b", 'say "x"', "=1+1", "é\nx"],
      "file": ["a.png", "b&amp;.png", "", "c d.png", "'", "\u2028"],
      "split": ["train", "test", "validation", "train", "train", "test"],
      "given_label": [label[i] for i in (0, 0, 1, 2, 3, 0)],
      "suggested_label": [label[i] for i in (1, 1, 2, 3, 0, 1)],
      "probability_wrong": [0.998, 0.93, 0.7, 0.5, 0.2, 0.001],
      "label_score": [0.002, 0.07, 0.3, 0.5, 0.8, 0.999],
      "is_label_issue": [True, True, True, False, False, False],
      "neighbours": [1.0, 0.9, 0.5, 0.2, 0.1, 0.0],
      "votes_smooth": [3, 40, 0, 1, 2, 3],
      "votes_Ω, other": [30, 4, 1, 0, 2, 0],
      "verdict": ["", "", "", "", "right", ""],
      "corrected_label": "",
      "note": ["", "", "", "", 'old, "note"', ""],
      "ra": [185.25, np.nan, 361, 10, 10, None],
      "dec": [-3.5, 10, 10, np.nan, 91, None],
      "odder": [1.0, 0.955, 0.95, 0.949, np.nan, None],
    }
  )


def neighbours(name):
  near = [("n1", CLASSES[1]), ("n2", CLASSES[0]), ("n3", CLASSES[3])]
  return [Neighbour(*who, encoded(200)) for who in near if name != "a,b"]


def write(path, table=None, **changes):
  """A page with a picture of its own for each galaxy."""
  table = suspects() if table is None else table
  shades = {name: 10 * i for i, name in enumerate(table["id_str"])}
  options = {
    "run": "digest",
    "classes": CLASSES,
    "total": 1234,
    "wrong": (56.6, 40.2, 71.0),
    "image": lambda name: encoded(shades[name]),
    "neighbours": neighbours,
  }
  review_page.write(path, table, **{**options, **changes})
  return path


class Elements(HTMLParser):
  """The text of script and style, the policy, and all the other text."""

  def __init__(self, text):
    super().__init__()
    self.inside, self.text, self.policy = "", {"": ""}, ""
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    found = dict(attrs)
    self.policy = found.get("content") if "http-equiv" in found else self.policy
    if tag in ("script", "style"):
      self.inside = found.get("type", tag)
      self.text[self.inside] = ""

  def handle_endtag(self, tag):
    self.inside = ""

  def handle_data(self, data):
    self.text[self.inside] += data


def read(path):
  page = Elements(path.read_text(encoding="utf-8"))
  return page, json.loads(page.text["application/json"])


def test_every_cell_arrives_as_text_and_places_stay_behind(tmp_path):
  table = suspects()
  _, data = read(write(tmp_path / "audit" / "review.html", table))
  kept_back = ("ra", "dec", "odder")
  assert data["columns"] == [x for x in table if x not in kept_back]
  kept = table[data["columns"]].astype(str)
  assert data["rows"] == kept.to_numpy().tolist()
  assert data["classes"] == CLASSES


def test_the_oddest_are_said_to_be_like_no_other(tmp_path):
  _, data = read(write(tmp_path / "review.html"))
  said = [galaxy["odd"] for galaxy in data["galaxies"]]
  words = "like no other: odder than {}% of galaxies"
  assert said == [words.format(x) for x in (99, 95, 95)] + [""] * 3


def test_missing_cells_are_empty(tmp_path):
  table = suspects().assign(margin=np.nan, note=None)
  _, data = read(write(tmp_path / "review.html", table))
  found = pd.DataFrame(data["rows"], columns=data["columns"])
  assert set(found["margin"]) == set(found["note"]) == {""}


def test_pictures_are_the_files_themselves_each_once(tmp_path):
  table = suspects()
  files = {name: encoded(i, "JPEG") for i, name in enumerate(table["id_str"])}
  _, data = read(write(tmp_path / "x.html", table, image=files.__getitem__))
  pictures = data["pictures"]
  assert len(pictures) == 7  # the neighbours all look the same
  for name, galaxy in zip(table["id_str"], data["galaxies"], strict=True):
    head, _, body = pictures[galaxy["picture"]].partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == files[name]
    expected = neighbours(name)
    assert [x[:2] for x in galaxy["neighbours"]] == [
      list(near[:2]) for near in expected
    ]
    for near, (_, _, index) in zip(expected, galaxy["neighbours"], strict=True):
      assert base64.b64decode(pictures[index].split(",")[1]) == near.image


def test_only_its_own_script_and_style_may_run(tmp_path):
  page, _ = read(write(tmp_path / "review.html"))
  policy = dict(part.split(maxsplit=1) for part in page.policy.split("; "))
  assert policy["default-src"] == "'none'"
  assert policy["img-src"] == "data:"
  for name, kind in (("script-src", "module"), ("style-src", "style")):
    digest = hashlib.sha256(page.text[kind].encode()).digest()
    assert policy[name] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_it_says_how_many_are_shown_and_how_many_are_wrong(tmp_path):
  def said(**changes):
    page, _ = read(write(tmp_path / "review.html", **changes))
    return " ".join(page.text[""].split())

  text = said(total=12345, wrong=(1056.6, 940.2, 1171.0))
  assert "The 6 most suspicious of 12,345 labels" in text
  assert "About 1,057 are wrong (95% interval 940\u20131,171)." in text
  text = said(total=6, wrong=None)
  assert "All 6 labels, the most suspicious first." in text
  assert "are wrong (" not in text


@pytest.mark.parametrize(
  "probability, words",
  [
    (1.0, "very probably wrong (over 99%)"),
    (0.9949, "very probably wrong (99%)"),
    (0.895, "very probably wrong (90%)"),
    (0.894, "probably wrong (89%)"),
    ("0.66", "probably wrong (66%)"),
    (0.654, "may be wrong (65%)"),
    (0.33, "may be wrong (33%)"),
    (0.32, "probably right (32%)"),
    (0.004, "probably right (under 1%)"),
    ("", "probability unknown"),
    (np.nan, "probability unknown"),
    (None, "probability unknown"),
    (pd.NA, "probability unknown"),
  ],
)
def test_probabilities_in_words(probability, words):
  assert review_page.probability_words(probability) == words


def test_only_known_places_have_a_link(tmp_path):
  _, data = read(write(tmp_path / "review.html"))
  first, *others = [galaxy["survey"] for galaxy in data["galaxies"]]
  assert first == (
    "https://www.legacysurvey.org/viewer?ra=185.250000&dec=-3.500000"
    "&layer=ls-dr9&zoom=16"
  )
  assert others == [None] * 5
  bare = suspects().drop(columns=["ra", "dec"])
  _, data = read(write(tmp_path / "review.html", bare))
  assert all(galaxy["survey"] is None for galaxy in data["galaxies"])
  assert review_page.survey_link("1.5", "2").endswith(
    "ra=1.500000&dec=2.000000&layer=ls-dr9&zoom=16"
  )


def test_what_is_not_a_table_of_suspects_is_named(tmp_path):
  path = tmp_path / "review.html"
  with pytest.raises(SettingError, match="table lacks verdict, note: give"):
    write(path, suspects().drop(columns=["note", "verdict"]))
  with pytest.raises(SettingError, match="table has galaxy '007' twice"):
    write(path, suspects().iloc[[0, 1, 0]])
  with pytest.raises(SettingError, match="galaxy '007' is neither JPEG nor"):
    write(path, image=lambda name: b"BM")
  assert not list(tmp_path.iterdir())


def test_no_suspects_is_a_page_too(tmp_path):
  _, data = read(write(tmp_path / "review.html", suspects().head(0)))
  assert data["rows"] == data["galaxies"] == data["pictures"] == []
