"""The HTML copy in a browser without a network: on wide and narrow screens, in light and dark, with its sliders."""

from __future__ import annotations

import re

import browser
import pytest
from browser import BUILD, CONTRAST, playwright
from exported import export

pytestmark = [*browser.MARKS, pytest.mark.slow]
LESSONS = ("00_start", "11_judges", "24_latent_swap")
PAGES = ("index", *LESSONS, "solutions/00_start", "figures/README", "swaplib/checkpoints/identity_demo")
TEXT = "main h1, main h2, main p, main li, main a, main td, main th, main pre, main pre span, main small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export(tmp_path_factory.mktemp("copy"), *LESSONS)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 390])
def test_pages_fit_the_screen_and_can_be_read(folder, width, theme):
    with browser.offline(folder / "index.html", color_scheme=theme) as page:
        browser.resize(page, width)
        for name in PAGES:
            page.goto((folder / f"{name}.html").as_uri())
            page.screenshot(path=BUILD / f"copy-{name.replace('/', '-')}-{width}-{theme}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            faint = page.locator(TEXT).evaluate_all(
                f"all => all.map(one => [({CONTRAST})(one), one.textContent]).filter(([much]) => much < 4.5)"
            )
            assert faint == [], name
            sizes = page.locator("main p, main li").evaluate_all(
                "all => all.map(one => getComputedStyle(one).fontSize)"
            )
            assert min(float(size.removesuffix("px")) for size in sizes) >= 14, name
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (theme == "light")
        assert page.asked == []
        assert page.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 390])
def test_axe_finds_nothing_serious(folder, width, theme):
    with browser.offline(folder / "index.html", color_scheme=theme) as page:
        browser.resize(page, width)
        for name in ("index", "00_start", "24_latent_swap"):  # figures, a strip, formulas, tables
            page.goto((folder / f"{name}.html").as_uri())
            assert browser.audit(page) == [], name


@pytest.mark.parametrize("width", [1000, 390])
def test_sliders_move(folder, width):
    with browser.offline(folder / "00_start.html") as page:
        browser.resize(page, width)
        slider, picture = page.get_by_role("slider").first, page.locator(".swaplib-strip img[data-live]").first
        before = picture.get_attribute("src")
        slider.press("Home")
        playwright.expect(picture).not_to_have_attribute("src", before)
        playwright.expect(picture).to_have_attribute("alt", re.compile("^synthetic picture: "))
        box = slider.bounding_box()
        assert box["x"] + box["width"] <= width
        page.screenshot(path=BUILD / f"copy-strip-{width}.png")


def test_formulas_take_the_room_of_formulas(folder):
    with browser.offline(folder / "24_latent_swap.html") as page:
        fraction = page.locator("math[display=block]").first.bounding_box()
        assert fraction["width"] > 200
        assert fraction["height"] > 25


def test_scripts_that_are_no_strips_do_not_run(folder):
    text = (folder / "00_start.html").read_text(encoding="utf-8")
    bad = folder / "bad.html"
    bad.write_text(text.replace("</main>", "<script>window.ran = true</script></main>"), encoding="utf-8")
    with browser.offline(bad) as page:
        assert page.evaluate("window.ran") is None
        assert page.locator(".swaplib-strip img[data-live]").first.is_visible()
