"""The studio in a real browser: JupyterLab serves a notebook, a slider is moved by keyboard, the picture follows."""

from __future__ import annotations

import statistics

import browser
import pytest
from browser import BUILD, WATCH, playwright

CELL = """
from swaplib import families, studio

app = studio.Studio(families.load("rsgan"))
app
"""
pytestmark = browser.MARKS


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The notebook, its cell run and the widgets alive."""
    with browser.lab([CELL], tmp_path_factory) as address, browser.opened(address, ".noUi-handle", "studio") as page:
        yield page


def test_a_slider_moved_by_keyboard_changes_the_picture(page):
    picture, path = page.locator("img.swaplib-picture"), page.locator("img.swaplib-path")
    before = picture.get_attribute("src"), path.get_attribute("src")
    page.locator(".noUi-handle").first.focus()
    picture.evaluate(WATCH)
    delays = []
    for _ in range(30):
        count = page.evaluate("window.changes.length")
        start = page.evaluate("performance.now()")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(f"window.changes.length > {count}", polling=5)
        delays.append(page.evaluate("window.changes.at(-1)") - start)
    assert picture.get_attribute("src") != before[0]
    page.wait_for_function("old => document.querySelector('img.swaplib-path').src != old", arg=before[1])
    page.screenshot(path=BUILD / "studio.png")
    delays.sort()
    print(f"key press to new frame: median {statistics.median(delays):.0f} ms, 95th percentile {delays[28]:.0f} ms")
    # A bound for a busy machine; an idle one takes about 60 ms.
    assert statistics.median(delays) < 1000


def test_buttons_work_by_keyboard_and_errors_show_in_the_page(page):
    handle = page.locator(".noUi-handle").first
    assert handle.get_attribute("aria-valuenow") != "1.0"
    reset = page.get_by_title("reset face", exact=True)
    reset.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.noUi-handle').getAttribute('aria-valuenow') == '1.0'")
    page.get_by_label("from", exact=True).first.select_option("photograph")
    page.get_by_label("path", exact=True).first.fill("nowhere.jpg")
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("status").filter(has_text="there is no file nowhere.jpg")).to_be_visible()
    page.get_by_label("from", exact=True).first.select_option("rendered")
    playwright.expect(page.get_by_role("status").filter(has_text="ms a frame")).to_be_visible()
