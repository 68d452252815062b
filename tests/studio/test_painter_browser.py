"""The painter in a real browser: strokes by mouse, undo and transforms by keyboard, the picture following."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import browser
import numpy as np
import pytest
from browser import BUILD, WATCH, playwright

from swaplib import studio
from swaplib.faces import CELEBAMASK_HQ
from swaplib.studio import masks

SIZE = 128
OPEN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import regional
from swaplib import studio

app = studio.Painter(2, regional.Regional(regional.Config({SIZE})))
app
"""
ASK = """
import hashlib, json
mask = hashlib.sha256(app.mask.tobytes()).hexdigest()
print(json.dumps({"mask": mask, "edits": [edit.record for edit in app.edits], "error": str(app.last_error or "")}))
"""
pytestmark = browser.MARKS


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The notebook, its cell run and the board alive."""
    with (
        browser.lab([OPEN], tmp_path_factory) as address,
        browser.opened(address, ".swaplib-board canvas", "painter") as page,
    ):
        page.locator("img.swaplib-picture").evaluate(WATCH)
        browser.until(page, lambda: pixel(page, 60, 20)[3] == 255)  # the picture lies behind the mask
        yield page


def python(page) -> dict:
    """What the kernel holds."""
    return json.loads(browser.ask(page, ASK))


def at(page, x: float, y: float) -> tuple[float, float]:
    """A point of the mask on the screen."""
    page.locator(".swaplib-board canvas").scroll_into_view_if_needed()
    box = page.locator(".swaplib-board canvas").bounding_box()
    return box["x"] + (x + 0.5) / SIZE * box["width"], box["y"] + (y + 0.5) / SIZE * box["height"]


def choose(page, group: str, name: str) -> None:
    page.locator(f".swaplib-board .{group} label").filter(has=page.get_by_text(name, exact=True)).click()


def drag(page, points: list[tuple[float, float]], release: bool = True) -> None:
    """Draw with the mouse along points of the mask."""
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, *point), steps=6)
    if release:
        page.mouse.up()


def following(page, act) -> float:
    """Do something and wait for the picture to change: milliseconds."""
    start = page.evaluate("performance.now()")
    act()
    page.wait_for_function(f"window.changes.at(-1) > {start}", polling=5)
    return page.evaluate(f"window.changes.find(one => one > {start})") - start


def pixel(page, x: float, y: float) -> list[int]:
    """The colour that the board shows at a point of the mask."""
    script = f"""canvas => {{
        const place = (value, side) => Math.round((value + 0.5) / {SIZE} * side);
        const [x, y] = [place({x}, canvas.width), place({y}, canvas.height)];
        return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
            done([...canvas.getContext("2d").getImageData(x, y, 1, 1).data]))));
    }}"""
    return page.locator(".swaplib-board canvas").evaluate(script)


def test_the_board_draws_strokes_as_python_does(page):
    text = (Path(studio.__file__).parent / "painter.js").read_text()
    load = (
        "async text => { window.own = await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'}))) }"
    )
    page.evaluate(load, text)
    rng = np.random.default_rng(0)
    for k in range(40):
        points = rng.uniform(-8, 56, (rng.integers(1, 6), 2)).round(2)
        points = points.round() if k % 4 == 0 else points  # on pixel centres, where distances are exact
        width = float(rng.integers(1, 14))
        script = """([points, width]) => {
            const labels = new Uint8Array(36 * 50);
            window.own.stroke(labels, [36, 50], 2, points, width);
            return [...labels];
        }"""
        drawn = np.array(page.evaluate(script, [points.tolist(), width]), np.uint8).reshape(36, 50)
        wanted = masks.stroke(np.zeros((36, 50), np.uint8), 2, points, width)
        assert np.array_equal(drawn, wanted), (points, width)


@pytest.mark.parametrize("width", [1280, 1000])
def test_board_and_picture_stand_side_by_side(page, width):
    browser.resize(page, width)
    browser.scroll_to(page)
    canvas, picture = page.locator(".swaplib-board canvas"), page.locator("img.swaplib-picture")
    palette = page.locator(".swaplib-board .regions")
    board, result, _ = browser.in_view(page, canvas, picture, palette)
    assert board["x"] + board["width"] < result["x"]
    assert abs(board["y"] - result["y"]) < 12
    assert abs(board["width"] - result["width"]) < 16
    assert result["width"] > 200
    page.screenshot(path=BUILD / f"painter-{width}.png")
    browser.resize(page, 1280)


def test_strokes_are_drawn_at_once_and_reach_mask_and_picture(page):
    before = python(page)
    picture = page.locator("img.swaplib-picture")
    assert before["edits"] == []
    choose(page, "regions", "hat")
    bare, source = pixel(page, 60, 20), picture.get_attribute("src")
    drag(page, [(40, 20), (80, 20)], release=False)
    page.mouse.move(*at(page, 80, 30))
    assert pixel(page, 60, 20) != bare, "drawn while the button is down"
    assert picture.get_attribute("src") == source, "and not sent yet"
    drawn = pixel(page, 60, 20)
    following(page, page.mouse.up)
    after = python(page)
    assert [(edit["do"], edit["region"]) for edit in after["edits"]] == [("stroke", "hat")]
    assert after["mask"] != before["mask"]
    assert after["error"] == ""
    assert pixel(page, 60, 20) == drawn, "what Python answers is what was drawn"
    delays = []
    for k in range(20):
        choose(page, "regions", ("hair", "hat")[k % 2])
        drag(page, [(30 + k, 30), (60, 14 + k), (90, 30)], release=False)
        delays.append(following(page, page.mouse.up))
    delays.sort()
    print(f"stroke end to new picture: median {statistics.median(delays):.0f} ms, 95th percentile {delays[18]:.0f} ms")
    assert len(python(page)["edits"]) == 21


def test_undo_and_redo_by_keyboard(page):
    before = python(page)
    following(page, lambda: drag(page, [(20, 8), (60, 4), (100, 10)]))
    following(page, lambda: page.keyboard.press("Control+z"))
    drawn = python(page)
    assert drawn == before, "the board has the keyboard after a stroke"
    board = page.locator(".swaplib-board canvas")
    following(page, lambda: board.press("Control+z"))
    undone = python(page)
    assert undone["edits"] == drawn["edits"][:-1]
    assert undone["mask"] != drawn["mask"]
    following(page, lambda: board.press("Control+y"))
    assert python(page) == drawn
    for name in ("reset the mask", "redo"):
        button = page.get_by_role("button", name=name)
        playwright.expect(button).to_have_attribute("aria-disabled", "false")
        following(page, lambda button=button: button.press("Enter"))
        if name != "redo":
            assert python(page)["edits"] == []
    assert python(page)["edits"] == drawn["edits"][:1]


def test_regions_are_chosen_and_changed_by_keyboard(page):
    choose(page, "regions", "skin")
    skin = page.get_by_role("radio", name="skin", exact=True)
    playwright.expect(skin, "the board has the keyboard after a click").to_be_focused()
    page.keyboard.press("ArrowDown")
    playwright.expect(page.get_by_role("radio", name="nose", exact=True)).to_be_checked()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "+"):
        following(page, lambda key=key: page.locator(".swaplib-board canvas").press(key))
    moved, grown = python(page)["edits"][-2:]
    assert moved == {"do": "move", "region": "nose", "dx": 2, "dy": 5}
    assert grown == {"do": "grow", "region": "nose", "by": 1}
    size = page.get_by_role("slider", name="brush")
    before = int(size.input_value())
    size.press("ArrowRight")
    playwright.expect(size).to_have_value(str(before + 1))


def test_outline_fill_and_pick(page):
    choose(page, "tools", "outline")
    choose(page, "regions", "hair")
    following(page, lambda: drag(page, [(10, 100), (40, 104), (24, 122)]))
    choose(page, "tools", "fill")
    choose(page, "regions", "mouth")
    following(page, lambda: page.mouse.click(*at(page, 24, 108)))
    outlined, filled = python(page)["edits"][-2:]
    assert (outlined["do"], outlined["region"], outlined["polygon"][0]) == ("paint", "hair", [10, 100])
    assert (filled["do"], filled["region"]) == ("fill", "mouth")
    choose(page, "regions", "hair")
    choose(page, "tools", "pick")
    page.mouse.click(*at(page, 24, 108))
    playwright.expect(page.get_by_role("radio", name="mouth", exact=True)).to_be_checked()
    assert {radio.get_attribute("value") for radio in page.locator(".regions input").all()} == set(CELEBAMASK_HQ)


def test_what_cant_be_done_shows_in_the_page(page):
    choose(page, "regions", "eye glasses")
    page.get_by_role("button", name="shrink").click()
    playwright.expect(page.get_by_role("status").filter(has_text="no eye_glasses to shrink")).to_be_visible()
    choose(page, "tools", "brush")
    choose(page, "regions", "hair")
    following(page, lambda: drag(page, [(20, 8), (60, 4), (100, 10)]))
    playwright.expect(page.get_by_role("status").filter(has_text="ms a frame")).to_be_visible()


def test_everything_on_the_board_has_a_name(page):
    told = browser.named(page)
    assert {"undo (Ctrl-Z)", "grow the chosen region by a pixel (+)"} <= {name for role, name in told}
    assert {name for role, name in told if role == "slider"} == {"brush", "opacity", "strength"}
    assert [name for role, name in told if role == "image" and name.startswith("synthetic picture: regional")]
    for theme in ("Dark", "Light"):
        browser.use_theme(page, theme)
        assert browser.audit(page, ".swaplib-app") == []


def test_a_reference_lends_its_texture(page):
    choose(page, "regions", "skin")
    following(page, lambda: page.locator(".noUi-handle").press("End"))
    playwright.expect(page.get_by_text("from references: skin 100 %")).to_be_visible()
    page.wait_for_function("document.querySelector('img.swaplib-reference').naturalWidth > 0")
    page.screenshot(path=BUILD / "painter.png")
