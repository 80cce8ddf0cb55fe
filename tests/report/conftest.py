"""A browser for the tests of pages."""

import shutil

import pytest

from tests.report.browsing import DESKTOP

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser():
  playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: '.[browser]'"
  )
  found = next(filter(None, map(shutil.which, _NAMES)), None)
  if found is None:
    pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed")
  with playwright.sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=found, args=_OPTIONS)
    yield browser
    browser.close()


@pytest.fixture
def context(browser):
  context = browser.new_context(viewport=DESKTOP)
  yield context
  context.close()
