"""The report in Chromium: sorted, unfolded, followed and printed."""

import re

import pytest

from tests.report import runs
from tests.report.browsing import DESKTOP, visit

pytestmark = pytest.mark.browser

_PHONE = {"width": 400, "height": 800}
# What is as wide as a sheet of A4 less its margins, in CSS pixels.
_PAPER = {"width": 702, "height": 1000}
_TOO_WIDE = """() => [...document.querySelectorAll("table, svg, img, pre")]
  .filter((x) => x.getBoundingClientRect().right > innerWidth + 1)
  .map((x) => x.outerHTML.slice(0, 80))"""
_HIDDEN = """() => [...document.querySelectorAll(".wide, .figure, .panels")]
  .filter((x) => x.scrollWidth > x.clientWidth + 1
    && getComputedStyle(x).overflowX !== "visible")
  .map((x) => x.innerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  return runs.write(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def page(context, path):
  page = visit(context, path)
  yield page
  assert page.faults == []
  own = [x for x in page.requests if not x.startswith("data:")]
  assert {x.split("#")[0] for x in own} == {path.as_uri()}


def methods(page):
  return page.locator(".board tbody:last-of-type th").all_inner_texts()


def head(page, name):
  return page.locator(".board thead th", has_text=re.compile(f"^{name}$"))


@pytest.mark.fault("F")
def test_a_click_on_a_head_sorts_and_another_turns_it_round(page):
  assert methods(page) == ["finetune", "scrub", "npo", "noisy"]
  cost = head(page, "cost vs retrain")
  cost.locator("button").click()
  assert cost.get_attribute("aria-sort") == "ascending"
  assert methods(page) == ["noisy", "scrub", "npo", "finetune"]
  cost.locator("button").press("Enter")
  assert cost.get_attribute("aria-sort") == "descending"
  assert methods(page) == ["finetune", "scrub", "npo", "noisy"]
  # Where more is better the best comes first; what is on top stays there.
  corrected = head(page, "corrected accuracy")
  corrected.locator("button").click()
  assert cost.get_attribute("aria-sort") == "none"
  assert methods(page) == ["scrub", "npo", "finetune", "noisy"]
  head(page, "method").locator("button").click()
  assert methods(page) == ["finetune", "noisy", "npo", "scrub"]
  apart = page.locator(".board .apart th").all_inner_texts()
  assert apart == ["constant", "original", "retrain"]


def test_numbers_sort_as_numbers_and_what_is_missing_comes_last(
  context, tmp_path
):
  rows = [runs.row(name) for name in runs.NAMES]
  for row, seconds in zip(rows[3:], (9.0, None, 10.0, -1.0), strict=True):
    row["wall_seconds"] = seconds
  page = visit(context, runs.write(tmp_path / "run", rows=rows))
  page.locator(".all").check()
  for expected in (
    ["noisy", "finetune", "npo", "scrub"],
    ["npo", "finetune", "noisy", "scrub"],
  ):
    head(page, "wall seconds").locator("button").click()
    assert methods(page) == expected
  assert page.faults == []


def test_all_columns_come_on_demand_and_say_what_they_mean(page):
  heads = page.locator(".board thead th")
  assert heads.locator("visible=true").count() == 6
  page.locator(".all").check()
  assert heads.count() == heads.locator("visible=true").count() > 12
  gap = head(page, "gap to retrain")
  assert "distance to retraining" in gap.get_attribute("title")
  page.get_by_text("What the columns mean").click()
  assert page.locator("dl dt").first.is_visible()


def test_the_contents_lead_to_their_places_and_stay(page):
  links = page.locator("nav a")
  for i in range(links.count()):
    links.nth(i).click()
    place = page.locator(links.nth(i).get_attribute("href"))
    top = place.bounding_box()["y"]
    bar = page.locator("nav").bounding_box()
    assert bar["y"] == 0 or page.evaluate("scrollY") == 0
    at_end = page.evaluate(
      "scrollY + innerHeight >= document.documentElement.scrollHeight - 1"
    )
    assert bar["height"] - 1 <= top
    assert at_end or top < 120


@pytest.mark.parametrize("size", [_PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_but_tables_and_figures_is_wider_than_the_screen(page, size):
  page.set_viewport_size(size)
  page.evaluate("document.querySelectorAll('details').forEach(x => x.open = 1)")
  page.locator(".all").check()
  width = "document.documentElement.scrollWidth"
  assert page.evaluate(width) == size["width"]


@pytest.mark.fault("F")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_dark_as_the_system(browser, path, scheme):
  context = browser.new_context(color_scheme=scheme)
  page = visit(context, path)
  shades = page.evaluate(
    """() => ["body", "svg", ".best"].map((x) => {
      const style = getComputedStyle(document.querySelector(x));
      return [x === "svg" ? style.fill : style.color, style.backgroundColor];
    }).flat().slice(0, 3)
    .map((x) => x.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3)"""
  )
  text, ground, drawn = shades
  assert (text > ground) == (scheme == "dark")
  assert text == drawn
  assert page.faults == []
  context.close()


def test_paper_cuts_no_table(context, path, tmp_path):
  """All is unfolded, as wide as a page, and no row or figure is divided."""
  page = visit(context, path)
  page.evaluate("document.querySelectorAll('details').forEach(x => x.open = 1)")
  page.locator(".all").check()
  page.evaluate(
    "document.querySelectorAll('td').forEach(x => x.append('w'.repeat(60)))"
  )
  page.set_viewport_size(_PAPER)
  assert len(page.evaluate(_HIDDEN)) > 3
  page.emulate_media(media="print")
  assert page.evaluate(_TOO_WIDE) == []
  assert page.evaluate(_HIDDEN) == []
  assert page.locator("nav").is_hidden()
  assert page.locator(".board thead th:visible").count() == 6
  flow = "x => getComputedStyle(x).overflowX"
  assert page.locator(".wide").first.evaluate(flow) == "visible"
  inside = "x => getComputedStyle(x).breakInside"
  for name in (".board tbody tr", "svg", ".galaxy"):
    assert page.locator(name).first.evaluate(inside) == "avoid"
  page.pdf(path=tmp_path / "report.pdf", format="A4")
  assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
  assert page.faults == []
