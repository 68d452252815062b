"""The studio in a real browser: JupyterLab serves a notebook, a slider is moved by keyboard, the picture follows."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import browser
import numpy as np
import pytest
from browser import BUILD, WATCH, playwright
from PIL import Image
from skimage import data

OPEN = """
from swaplib import families, studio
from swaplib.studio import pace

pace.SMOOTH = pace.CALM = 5.0  # a busy machine shows what a quiet one does
app = studio.Studio(families.load("rsgan"))
app
"""
ASK = """
import dataclasses, hashlib, json
screen = app.images["picture"]
print(json.dumps({
    "frame": hashlib.sha256(screen.value).hexdigest(), "right": screen.value == app.bench.frame(app.state),
    "stand": {name: app.bench.stand(app.state, studio.Slider("amounts", name)) for name in app.sliders},
    "rests": app._path_of == dataclasses.replace(app.state, along=1.0),
    "ahead": len(screen._sent), "error": str(app.last_error or ""),
}))
"""
BLOCK = """
import pathlib, time
while not pathlib.Path({path!r}).exists():
    time.sleep(0.1)
"""
STRIP = "studio.strip(app.family, 'face', app.state)"
pytestmark = browser.MARKS


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The notebook, its cell run and the widgets alive."""
    with (
        browser.lab([OPEN, STRIP], tmp_path_factory) as address,
        browser.opened(address, ".noUi-handle", "studio") as page,
    ):
        page.locator("img.swaplib-picture").evaluate(WATCH)
        yield page


def python(page) -> dict:
    """What the kernel holds."""
    return json.loads(browser.ask(page, ASK))


def handle(page, name: str):
    """The handle of a slider."""
    return page.get_by_role("slider", name=name, exact=True)


def on_screen(page) -> str:
    """The hash of the picture's file in the browser; nothing while there is none."""
    return page.locator("img.swaplib-picture").first.evaluate("""async image => {
        if (!image.src.startsWith("blob:")) return "";
        const bytes = await fetch(image.src).then(file => file.arrayBuffer(), () => null);
        if (bytes === null) return "";
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
        return [...digest].map(one => one.toString(16).padStart(2, "0")).join("");
    }""")


def stands(page) -> dict[str, float]:
    """Where the sliders stand that can be seen."""
    return dict(page.locator(".swaplib-app .noUi-handle:visible").evaluate_all(
        "all => all.map(one => [one.ariaLabel, Number(one.ariaValueText)])"
    ))  # fmt: skip


def at_rest(page) -> dict:
    """What the kernel holds once it has heard of every move and drawn everything, and the page shows that.

    A slider that moves on while the kernel is busy is told to it later, so being asked last isn't enough.
    """

    def agree(kernel: dict) -> bool:
        shown, told = stands(page), {name.replace("_", " "): at for name, at in kernel["stand"].items()}
        same = all(abs(shown[name] - told[name]) < 1e-6 for name in shown.keys() & told.keys())
        return kernel["rests"] and kernel["frame"] == on_screen(page) and same

    return browser.until(page, lambda: python(page), agree)


def look_ahead(page, frames: int) -> None:
    """Wait until so many frames have been drawn ahead."""
    browser.until(page, lambda: python(page)["ahead"] >= frames)


def unfold(page, name: str) -> None:
    """Open all groups of controls with such a heading that are closed."""
    closed = page.get_by_role("button", name=name).and_(page.locator(".swaplib-folded"))
    for left in reversed(range(closed.count())):
        closed.first.click()
        playwright.expect(closed).to_have_count(left)


def status(page, text: str):
    """The line that tells something."""
    return page.get_by_role("status").filter(has_text=text)


@pytest.mark.parametrize("width", [1280, 1000])
def test_picture_and_sliders_are_in_view_together(page, width):
    browser.resize(page, width)
    browser.scroll_to(page)
    handles = [handle(page, name) for name in ("all together", "face", "hair")]
    small = [page.locator(f"img.swaplib-{name}") for name in ("source", "target", "true-swap")]
    picture, *sliders = browser.in_view(page, page.locator("img.swaplib-picture"), *handles, *small)[:4]
    assert picture["width"] > 200
    assert all(picture["x"] + picture["width"] < slider["x"] for slider in sliders)
    heads = [page.get_by_role("button", name=f"edits of {part}") for part in ("face", "hair")]
    for head in heads:
        head.click()
        playwright.expect(head).to_have_attribute("aria-expanded", "true")
    last = page.get_by_role("slider", name="hair: ").last
    playwright.expect(last).to_be_visible()
    last.focus()  # the sliders scroll, the picture stays
    browser.in_view(page, page.locator("img.swaplib-picture"), last)
    page.screenshot(path=BUILD / f"studio-{width}.png")
    for head in heads:
        head.click()
        playwright.expect(head).to_have_attribute("aria-expanded", "false")
    playwright.expect(last).to_be_hidden()
    browser.resize(page, 1280)


def test_a_slider_moved_by_keyboard_changes_the_picture(page):
    at_rest(page)
    picture, path = page.locator("img.swaplib-picture"), page.locator("img.swaplib-path")
    before = picture.get_attribute("src"), path.get_attribute("src")
    delays = [browser.press(handle(page, "face"), "ArrowLeft") for _ in range(30)]
    playwright.expect(picture).not_to_have_attribute("src", before[0])
    playwright.expect(path).not_to_have_attribute("src", before[1])
    page.screenshot(path=BUILD / "studio.png")
    delays.sort()
    print(f"key press to new frame: median {statistics.median(delays):.0f} ms, 95th percentile {delays[28]:.0f} ms")


def test_frames_drawn_ahead_are_shown_while_the_kernel_is_busy(page, tmp_path):
    at_rest(page)
    look_ahead(page, 60)
    browser.start(page, BLOCK.format(path=str(tmp_path / "go on")))
    delays = [browser.press(handle(page, "face"), key) for key in ["ArrowRight"] * 10 + ["ArrowLeft"] * 4]
    shown = on_screen(page)
    assert page.evaluate("window.running"), "the kernel has drawn none of them"
    (tmp_path / "go on").touch()
    browser.finish(page)
    delays.sort()
    print(f"key press to kept frame: median {statistics.median(delays):.0f} ms, 95th percentile {delays[12]:.0f} ms")
    kernel = at_rest(page)
    assert kernel["right"]
    assert kernel["error"] == ""
    assert shown == kernel["frame"], "what the browser kept is what the kernel draws"


def test_no_stale_frame_stays(page):
    look_ahead(page, 60)
    moves = (("hair", "Right"), ("face", "Left"), ("face", "Right"), ("hair", "Left"), ("face", "Left"))
    for name, way in moves:
        for _ in range(5):
            handle(page, name).press(f"Arrow{way}")
        assert at_rest(page)["right"]
    for key in ["ArrowLeft", "ArrowRight"] * 20 + ["ArrowLeft"]:  # too fast for the kernel
        handle(page, "face").press(key)
    page.get_by_role("button", name="all from source").click()
    page.get_by_role("button", name="plain swap").click()
    assert at_rest(page)["right"]


def test_buttons_work_by_keyboard_and_errors_show_in_the_page(page):
    slider = handle(page, "face")
    for _ in range(10):
        slider.press("ArrowLeft")
    playwright.expect(slider).not_to_have_attribute("aria-valuenow", "1.0")
    at_rest(page)
    page.get_by_title("reset face", exact=True).press("Enter")
    playwright.expect(slider).to_have_attribute("aria-valuenow", "1.0")
    unfold(page, "faces and your own photographs")
    page.get_by_label("from", exact=True).first.select_option("photograph")
    path = page.get_by_label("path", exact=True).first
    path.fill("nowhere.jpg")
    path.press("Enter")
    playwright.expect(status(page, "there is no file nowhere.jpg")).to_be_visible()
    page.get_by_label("from", exact=True).first.select_option("rendered")
    playwright.expect(status(page, "ms a frame")).to_be_visible()


def test_everything_has_a_name_and_can_be_read(page):
    for name in ("edits of", "faces and", "save and"):
        unfold(page, name)
    source = page.get_by_label("from", exact=True).first
    source.select_option("upload")
    upload = page.get_by_role("button", name="upload a source")
    upload.wait_for()
    assert upload.evaluate("button => button.scrollWidth <= button.clientWidth"), "the whole text is to be read"
    source.select_option("photograph")
    path = page.get_by_label("path", exact=True).first
    path.wait_for()
    assert path.bounding_box()["width"] > 130
    path.fill("nowhere.jpg")
    path.press("Enter")
    wrong = page.locator(".swaplib-wrong")
    wrong.wait_for()
    told = browser.named(page)
    assert {"face", "hair: Gray Hair", "all together"} <= {name for role, name in told if role == "slider"}
    pictures = [name for role, name in told if role == "image"]
    assert len(pictures) == 5
    assert sum(name.startswith("synthetic picture: ") for name in pictures) == 3
    for theme in ("Dark", "Light"):
        browser.use_theme(page, theme)
        assert browser.audit(page, ".swaplib-app") == []
        assert wrong.evaluate(browser.CONTRAST) >= 4.5
        assert page.locator(".swaplib-fold").first.evaluate(browser.CONTRAST) >= 4.5
    source.select_option("rendered")
    playwright.expect(status(page, "ms a frame")).to_be_visible()
    assert page.locator(".swaplib-told").evaluate(browser.CONTRAST) >= 4.5


@pytest.fixture
def two(tmp_path) -> Path:
    """A photograph of two faces."""
    path = tmp_path / "two.png"
    Image.fromarray(np.hstack([data.astronaut()[:300, 80:380]] * 2)).save(path)
    return path


def test_photographs_are_dropped_pasted_and_shown_with_their_crops(page, two):
    unfold(page, "faces and your own photographs")
    dropped = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        list(two.read_bytes()),
    )
    page.locator("img.swaplib-target").dispatch_event("drop", {"dataTransfer": dropped})
    shown = page.locator("img.swaplib-target-photograph")
    playwright.expect(shown).to_have_attribute(
        "alt", "target's photograph dropped.png, with an outline around face 0 of 2"
    )
    face = page.get_by_label("face", exact=True).last
    before = shown.get_attribute("src")
    face.select_option("1")
    playwright.expect(status(page, "number 1 was taken")).to_be_visible()
    playwright.expect(shown).not_to_have_attribute("src", before)
    page.get_by_role("button", name="undo").click()
    playwright.expect(face).to_have_value("0, the largest")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async bytes => navigator.clipboard.write([
            new ClipboardItem({ "image/png": new Blob([new Uint8Array(bytes)], { type: "image/png" }) }),
        ])""",
        list(two.read_bytes()),
    )
    page.get_by_label("from", exact=True).first.select_option("upload")
    page.get_by_role("button", name="upload a source").press("Control+V")
    pasted = page.locator("img.swaplib-source-photograph")
    playwright.expect(pasted).to_be_visible()
    playwright.expect(pasted).to_have_attribute("alt", re.compile("^source's photograph image.png"))
    browser.named(page)
    for theme in ("Dark", "Light"):
        browser.use_theme(page, theme)
        assert page.locator(".swaplib-hint:visible").first.evaluate(browser.CONTRAST) >= 4.5
    page.screenshot(path=BUILD / "studio-photographs.png")
    for role in ("source", "target"):
        page.get_by_title(f"reset {role}: as it was at first").click()
    playwright.expect(pasted).to_be_hidden()
    playwright.expect(shown).to_be_hidden()


def test_families_change_in_the_page_and_can_be_undone(page):
    browser.scroll_to(page)
    picture, family = page.locator("img.swaplib-picture"), page.get_by_label("family", exact=True)
    before = at_rest(page)["frame"]
    family.select_option("e4s, demo")
    handle(page, "eyebrows").wait_for()
    playwright.expect(handle(page, "face")).to_have_count(0)
    kernel = at_rest(page)
    assert kernel["right"]
    assert kernel["error"] == ""
    assert kernel["frame"] != before
    playwright.expect(status(page, "ms a frame")).to_be_visible()
    playwright.expect(picture).to_have_attribute("alt", re.compile("^synthetic picture: e4s takes from the source"))
    page.get_by_role("button", name="undo").press("Enter")
    handle(page, "face").wait_for()
    assert at_rest(page)["frame"] == before
    playwright.expect(family).to_have_value("rsgan, as opened")
    page.get_by_role("button", name="what hair changes").click()
    told = status(page, "hair alone, in percent of what all parts change together")
    playwright.expect(told).to_be_visible(timeout=2000 * browser.PATIENCE)  # the heat map is measured there and then


def test_a_strip_moves_in_the_notebook(page):
    browser.run_cell(page, 1)
    slider, picture = page.locator(".swaplib-strip input"), page.locator(".swaplib-strip img[data-live]")
    slider.wait_for()
    before = picture.get_attribute("src")
    slider.press("Home")
    playwright.expect(picture).not_to_have_attribute("src", before)
    playwright.expect(slider).to_have_value("0")


def test_saved_and_read_without_its_kernel_a_notebook_shows_the_last_still(page):
    still, shown = page.locator(".swaplib-still img"), page.locator(".swaplib-app").first
    playwright.expect(still).to_be_hidden()
    at_rest(page)
    before = still.get_attribute("src")
    handle(page, "hair").press("End")
    assert at_rest(page)["stand"]["hair"] == 1
    playwright.expect(still).not_to_have_attribute("src", before)
    after = still.get_attribute("src")
    playwright.expect(shown).to_be_visible()
    page.evaluate("""async () => {
        await jupyterapp.commands.execute("docmanager:save");
        const { sessions } = jupyterapp.serviceManager;
        await sessions.shutdownAll();
    }""")
    page.reload()
    browser.connect(page)  # to a new kernel, which knows none of the widgets
    playwright.expect(still).to_be_visible()
    playwright.expect(still).to_have_attribute("src", after)
    failed = page.get_by_text("Error displaying widget")
    failed.wait_for(state="attached")
    playwright.expect(failed).to_be_hidden()
    browser.scroll_to(page, ".swaplib-still")
    page.screenshot(path=BUILD / "studio-without-kernel.png")
