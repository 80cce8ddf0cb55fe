"""The review page in Chromium: real keys, a real file among the downloads."""

import pandas as pd
import pytest

from tests.report.browsing import DESKTOP, visit
from tests.report.test_review_page import CLASSES, encoded, suspects, write

pytestmark = pytest.mark.browser

_PHONE = {"width": 390, "height": 844}
_PERSONS = ["verdict", "corrected_label", "note"]


@pytest.fixture
def page(context, tmp_path):
  page = visit(context, write(tmp_path / "review.html"))
  yield page
  assert page.faults == []
  own = [x for x in page.requests if not x.startswith(("data:", "blob:"))]
  assert set(own) == {(tmp_path / "review.html").as_uri()}


def press(page, *keys):
  for key in keys:
    page.keyboard.press(key)


def shown(page):
  return page.locator("#picture").get_attribute("alt").removeprefix("Galaxy ")


def counts(page):
  return page.locator("#counts").inner_text()


def exported(page, tmp_path, act=lambda page: press(page, "e")):
  with page.expect_download() as download:
    act(page)
  assert download.value.suggested_filename == "reviewed.csv"
  download.value.save_as(tmp_path / "reviewed.csv")
  return pd.read_csv(
    tmp_path / "reviewed.csv", dtype=str, keep_default_na=False
  )


def expected(**reviews):
  """The table, and what a person said of some rows: place=(three cells)."""
  table = suspects().drop(columns=["ra", "dec", "odder"]).astype(str)
  for row, cells in reviews.items():
    table.loc[int(row.removeprefix("row")), _PERSONS] = cells
  return table


def test_the_table_comes_back_as_it_was(page, tmp_path):
  pd.testing.assert_frame_equal(exported(page, tmp_path), expected())
  by_button = exported(page, tmp_path, lambda page: page.click("#export"))
  pd.testing.assert_frame_equal(by_button, expected())


def test_keys_give_verdicts_and_go_on(page, tmp_path):
  assert shown(page) == "007"
  press(page, "w")
  assert shown(page) == "</script>"
  press(page, "Enter")
  assert shown(page) == "a,b"
  press(page, "4", "u")
  # The fifth has its verdict already.
  assert shown(page) == "é\nx"
  press(page, "1")
  assert counts(page) == "3 wrong · 2 right · 1 unsure · 0 left"
  assert page.locator("#said").inner_text().endswith("last one: export.")
  table = expected(
    row0=["wrong", "", ""],
    row1=["wrong", CLASSES[1], ""],
    row2=["wrong", CLASSES[3], ""],
    row3=["unsure", "", ""],
    row5=["right", "", ""],  # the number of the given class
  )
  pd.testing.assert_frame_equal(exported(page, tmp_path), table)


def test_buttons_do_what_the_keys_do(page, tmp_path):
  for button in (
    "#suggested",
    "#wrong",
    "#classes button:nth-child(4)",
    "#right",
  ):
    page.click(button)
  assert shown(page) == "é\nx"
  # Enter is for the galaxy, not for the button that was clicked last.
  press(page, "Enter")
  table = expected(
    row0=["wrong", CLASSES[1], ""],
    row1=["wrong", "", ""],
    row2=["wrong", CLASSES[3], ""],
    row3=["right", "", ""],
    row5=["wrong", CLASSES[1], ""],
  )
  pd.testing.assert_frame_equal(exported(page, tmp_path), table)
  page.click("#clear")
  assert counts(page) == "3 wrong · 2 right · 0 unsure · 1 left"


def test_undo_goes_back_to_the_beginning_also_after_a_reload(page, tmp_path):
  press(page, "ArrowRight", "w", "s", "r")
  page.fill("#note", "late")
  press(page, "Escape", "ArrowLeft", "ArrowLeft", "u")
  page.reload()
  undone = [("z", 'say "x"'), ("Control+z", "é\nx"), ("z", 'say "x"')]
  for key, galaxy in undone:
    press(page, key)
    assert shown(page) == galaxy
  page.click("#undo")
  assert shown(page) == "a,b"
  press(page, "z", "z", "z")
  assert shown(page) == "</script>"
  assert page.locator("#said").inner_text() == "Nothing to undo."
  pd.testing.assert_frame_equal(exported(page, tmp_path), expected())


def test_the_browser_keeps_the_review_of_each_run(context, page, tmp_path):
  press(page, "w", "r", "n")
  page.keyboard.type("half a no")
  page.reload()
  assert counts(page) == "1 wrong · 2 right · 0 unsure · 3 left"
  assert shown(page) == "a,b"
  assert page.locator("#note").input_value() == "half a no"
  other = visit(context, write(tmp_path / "other.html", run="another"))
  assert counts(other) == "0 wrong · 1 right · 0 unsure · 5 left"
  # The same run, made again with fewer galaxies, and another window of it.
  fewer = write(tmp_path / "fewer.html", suspects().tail(4))
  again = visit(context, fewer)
  assert counts(again) == "0 wrong · 1 right · 0 unsure · 3 left"
  press(again, "u")
  page.locator("#counts", has_text="1 unsure").wait_for()
  assert counts(page) == "1 wrong · 2 right · 1 unsure · 2 left"
  # What was said of the others is in the table, too.
  table = exported(again, tmp_path).set_index("id_str")
  said = table["verdict"].value_counts()
  assert said[["wrong", "right", "unsure"]].tolist() == [1, 2, 1]
  assert table.loc["007", "verdict"] == "wrong"
  assert other.faults == again.faults == []


def test_a_label_is_not_wrong_and_itself_right(context, tmp_path):
  """Where the given label is suggested there is no suggestion to follow."""
  table = suspects()
  table.loc[0, "suggested_label"] = table.loc[0, "given_label"]
  page = visit(context, write(tmp_path / "review.html", table))
  assert page.locator("#suggested").is_hidden()
  press(page, "Enter", "s")
  assert counts(page) == "0 wrong · 1 right · 0 unsure · 5 left"
  press(page, "u")
  assert page.locator("#suggested").is_visible()
  assert page.faults == []


def test_what_is_typed_into_the_note_is_no_key(page, tmp_path):
  press(page, "n")
  typed = 'wrong? "u", r'
  page.keyboard.type(typed)
  press(page, "Enter")
  page.keyboard.type("ze1 ")
  press(page, "ArrowLeft", "ArrowRight", "Escape", "r")
  table = expected(row0=["right", "", f"{typed}\nze1 "])
  pd.testing.assert_frame_equal(exported(page, tmp_path), table)
  press(page, "ArrowLeft", "z", "z")
  assert page.locator("#note").input_value() == ""


def test_filters_by_pair_and_by_verdict(page):
  pair, kind = page.locator("#pair"), page.locator("#kind")
  names = pair.locator("option").all_inner_texts()
  assert names[:2] == [
    "all pairs (5 of 6 left)",
    f"smooth → {CLASSES[1]} (3 of 3 left)",
  ]
  pair.focus()
  pair.select_option(index=1)
  press(page, "w")  # for the list that has the focus
  assert counts(page).startswith("0 wrong")
  press(page, "Escape", "ArrowRight", "ArrowRight", "ArrowRight")
  assert shown(page) == "é\nx"
  assert page.locator("#place").inner_text() == "3 of 3"
  press(page, "r")
  assert shown(page) == "007"
  press(page, "u", "u")
  # Others have no verdict yet, but not in this filter.
  assert shown(page) == "</script>"
  press(page, "z", "z")
  pair.select_option(index=0)
  kind.focus()
  kind.select_option("right")
  assert shown(page) == "=1+1"
  press(page, "Escape", "ArrowRight")
  assert shown(page) == "é\nx"
  kind.focus()
  kind.select_option("unsure")
  assert page.locator("#none").is_visible()
  assert page.locator("#galaxy").is_hidden()
  press(page, "Escape", "w")
  assert counts(page).startswith("0 wrong")
  page.click("#all")
  assert page.locator("#galaxy").is_visible()


def test_the_overview_leads_to_a_galaxy(page):
  press(page, "w", "g")
  tiles = page.locator(".tile")
  assert tiles.count() == 6
  assert page.locator(".tile .verdict.wrong").count() == 1
  press(page, "r")  # of none
  tiles.nth(3).click()
  assert page.locator("#sheet").is_hidden()
  assert shown(page) == 'say "x"'
  press(page, "g", "Escape")
  assert page.locator("#galaxy").is_visible()
  assert counts(page) == "1 wrong · 1 right · 0 unsure · 4 left"


def test_a_key_that_is_held_down_or_has_another_meaning_does_nothing(page):
  page.keyboard.down("w")
  page.keyboard.down("w")
  page.keyboard.up("w")
  assert counts(page).startswith("1 wrong")
  press(page, "Control+u", "Alt+r", "?", "r")
  assert page.locator("#keys").is_visible()
  press(page, "Escape")
  assert page.locator("#keys").is_hidden()
  page.click("#help")
  page.click("#keys button")
  assert page.locator("#keys").is_hidden()
  press(page, "b", "9", "x")
  assert counts(page) == "1 wrong · 1 right · 0 unsure · 4 left"


def test_a_galaxy_is_shown_with_all_that_is_known(page):
  text = page.locator("#galaxy").inner_text()
  assert "The label is very probably wrong (over 99%)." in text
  assert "100% of its nearest neighbours have another label" in text
  groups = page.locator("#neighbours h3").all_inner_texts()
  roles = [f"{CLASSES[1]} (suggested)", "smooth (given)"]
  assert groups == ["Same look, labelled", *roles, CLASSES[3]]
  assert "odder than 99% of galaxies" in text
  link = page.locator("#more a").get_attribute("href")
  assert link.startswith("https://www.legacysurvey.org/viewer?ra=185.25")
  size = "[picture.naturalWidth, picture.naturalHeight]"
  assert page.evaluate(size) == [24, 24]
  press(page, "ArrowRight")
  assert page.locator("#more a").count() == 0


def test_without_a_memory_it_goes_on_and_says_so(context, tmp_path):
  refuse = "Storage.prototype.setItem = () => { throw new Error('full'); };"
  page = visit(context, write(tmp_path / "review.html"), script=refuse)
  assert page.locator("#warning").is_hidden()
  press(page, "w", "r", "z", "u")
  assert page.locator("#warning").is_visible()
  assert counts(page) == "1 wrong · 1 right · 1 unsure · 3 left"
  table = expected(row0=["wrong", "", ""], row1=["unsure", "", ""])
  pd.testing.assert_frame_equal(exported(page, tmp_path), table)
  assert page.faults == []


@pytest.mark.parametrize("size", [_PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_is_wider_than_the_screen(browser, tmp_path, size):
  long = ["smooth-or-featured_featured-or-disk" * 2, "x" * 90, *"abcdefghijk"]
  table = suspects().assign(
    given_label=long[0], suggested_label=long[1], file="folder/" * 40
  )
  path = write(
    tmp_path / "review.html",
    table,
    classes=long,
    image=lambda name: encoded(9, size=424),
  )
  context = browser.new_context(viewport=size, has_touch=size is _PHONE)
  page = visit(context, path)
  width = "document.documentElement.scrollWidth"
  assert page.evaluate(width) == size["width"]
  for name in ("suggested", "wrong", "right", "unsure", "previous", "next"):
    box = page.locator(f"#{name}").bounding_box()
    assert min(box["width"], box["height"]) >= 40
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size["width"]
  press(page, "w", "g")
  assert page.evaluate(width) == size["width"]
  assert page.faults == []
  context.close()


def test_no_suspects_is_a_page_too(context, tmp_path):
  page = visit(context, write(tmp_path / "x.html", suspects().head(0)))
  press(page, "w", "z", "ArrowRight", "g", "g")
  assert page.locator("#none").is_visible()
  assert page.faults == []
