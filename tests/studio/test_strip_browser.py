"""Strips in a real browser with the network off: by keyboard, by touch, without scripts, in an exported notebook."""

from __future__ import annotations

import random
import re
import statistics

import browser
import nbformat
import pytest
from browser import BUILD, WATCH, playwright
from nbconvert import HTMLExporter

from swaplib import families, studio
from swaplib.studio import Pick, State
from swaplib.studio.strip import read_script

pytestmark = browser.MARKS
PAIR = State(Pick(number=2), Pick(number=3))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Two strips on one page, and one of them in a notebook that was exported as the workbook is."""
    family, folder = families.load("landmarks", "smoke"), tmp_path_factory.mktemp("strips")
    strips = [studio.strip(family, parts, PAIR) for parts in (["texture", "shape"], "surround")]
    (folder / "strips.html").write_text(f"<!doctype html><meta charset=utf-8>{strips[0].html}<hr>{strips[1].html}")
    shown = nbformat.v4.new_output("execute_result", {"text/html": strips[1].html, "text/plain": "Strip"})
    cell = nbformat.v4.new_code_cell("strip", outputs=[shown], execution_count=1)
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    (folder / "notebook.html").write_text(page)
    return folder


def pictures(page) -> list[str]:
    return [image.get_attribute("src") for image in page.locator(".moving img[data-live]").all()]


def test_keys_move_the_frames_of_their_own_strip(pages):
    with browser.offline(pages / "strips.html") as page:
        first, second = page.get_by_role("slider", name="from the target to the source").all()
        at_end = pictures(page)
        assert first.input_value() == "10"
        assert first.get_attribute("aria-valuetext") == "1.00"
        page.locator(".moving img[data-live]").first.evaluate(WATCH)
        delays = [browser.press(first, "ArrowLeft") for _ in range(10)]
        assert first.input_value() == "0"
        playwright.expect(page.locator("output").first).to_have_text("0.00")
        moved = pictures(page)
        assert moved[0] != at_end[0]
        assert moved[1] != at_end[1]
        assert moved[2] == at_end[2]
        assert page.locator(".moving img[data-live]").first.get_attribute("alt") == "synthetic picture: texture, 0.00"
        page.screenshot(path=BUILD / "strip.png")
        first.press("End")
        assert pictures(page) == at_end
        second.press("Home")
        assert pictures(page)[:2] == at_end[:2]
        assert pictures(page)[2] != at_end[2]
        assert page.asked == []
        assert page.errors == []
        print(f"key press to frame: median {statistics.median(delays):.1f} ms, most {max(delays):.1f} ms")


def test_a_finger_moves_it(pages):
    with browser.offline(pages / "strips.html", has_touch=True) as page:
        at_end, slider = pictures(page), page.get_by_role("slider").first
        box = slider.bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
        playwright.expect(slider).to_have_value(re.compile("^[23]$"))
        assert pictures(page)[0] != at_end[0]


def test_without_scripts_some_frames_stand_side_by_side(pages):
    with browser.offline(pages / "strips.html", java_script_enabled=False) as page:
        assert not page.get_by_role("slider").first.is_visible()
        row = page.locator(".moving").first.locator("img:visible")
        assert [image.get_attribute("alt") for image in row.all()] == [
            f"synthetic picture: texture, {value}" for value in ("0.00", "0.50", "1.00")
        ]
        page.screenshot(path=BUILD / "strip-still.png")


def test_it_moves_in_an_exported_notebook(pages):
    with browser.offline(pages / "notebook.html") as page:
        before, slider = pictures(page), page.get_by_role("slider")
        slider.press("Home")
        assert pictures(page) != before
        assert page.locator(".moving img:visible").count() == 1


# A kernel that is late, and at times silent about moves that leave its state as it was, as ipywidgets makes it be.
SIMULATION = """steps => {
    const screen = {shown: null}, queue = [];
    const frames = new Frames(frame => { screen.shown = frame; }, 6);
    let here = 0, kernel = 0, waiting = 0, wrong = 0;
    const run = () => {
        if (waiting !== kernel) queue.push(waiting);
        kernel = waiting;
    };
    const arrive = () => {
        frames.here = here;
        if (queue.length) frames.settle(queue[0], queue.shift());
    };
    frames.here = here;
    frames.settle(kernel, kernel);
    for (const [what, at] of steps) {
        if (what === "move") { here = at; waiting = at; frames.move(here); }
        if (what === "kernel") run();
        if (what === "arrive") arrive();
        if (what === "ahead") frames.add(at, at);
        if (what === "rest") {
            run();
            while (queue.length) arrive();
            wrong += screen.shown !== here;
        }
        wrong += frames.known.size > 9;
    }
    return wrong;
}"""


def test_no_stale_frame_stays_whatever_comes_when(pages):
    rng = random.Random(0)
    acts = ["move", "move", "kernel", "arrive", "ahead", "rest"]
    steps = [[rng.choice(acts), rng.randrange(12)] for _ in range(50_000)]
    with browser.offline(pages / "strips.html") as page:
        page.add_script_tag(content=read_script())
        assert page.evaluate(SIMULATION, steps) == 0
