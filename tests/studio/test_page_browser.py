"""Pictures that are dropped or pasted, in a page without a kernel: what page.js sends."""

from __future__ import annotations

import browser
import pytest

from swaplib.studio.screen import read_shipped

# A page around page.js: the boxes of two faces, and a model that keeps what it is sent.
PAGE = """<!doctype html><meta charset="utf-8"><div class="swaplib-app">
<div class="swaplib-for-source"><button>upload</button></div>
<div class="swaplib-for-target"><img class="swaplib-target"></div>
<button class="elsewhere">elsewhere</button><div id="page"></div></div><script type="module">
SCRIPT
const values = { told: { target: "the target" }, key: "k", most: 100 };
window.sent = [];
const model = {
  get: (name) => values[name], on() {}, off() {},
  send: (content, _, buffers = []) => window.sent.push([content, buffers.map((one) => one.byteLength)]),
};
window.close = app.render({ model, el: document.getElementById("page") });
</script>"""
GIVE = """([where, what, name, size]) => {
    const transfer = new DataTransfer();
    if (name) transfer.items.add(new File([new Uint8Array(size)], name, { type: "image/png" }));
    const how = { bubbles: true, cancelable: true };
    const event = what === "paste" ? new ClipboardEvent(what, { ...how, clipboardData: transfer })
        : new DragEvent(what, { ...how, dataTransfer: transfer });
    return document.querySelector(where).dispatchEvent(event);
}"""
pytestmark = browser.MARKS


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE.replace("SCRIPT", read_shipped("page.js").replace("export default", "const app =")))
    with browser.offline(path) as page:
        # The element is looked for in its page a moment after it is made; a picture has its text once it was found.
        page.wait_for_selector("img[alt='the target']", state="attached")
        yield page


def test_a_dropped_or_pasted_picture_is_sent_with_its_role(page):
    assert not page.evaluate(GIVE, [".swaplib-for-target img", "dragover", "", 0]), "the page takes drops there"
    assert not page.evaluate(GIVE, [".swaplib-for-target img", "drop", "a.png", 30])
    assert not page.evaluate(GIVE, [".swaplib-for-source button", "paste", "image.png", 40])
    assert not page.evaluate(GIVE, [".swaplib-for-source button", "drop", "large.png", 101])
    page.wait_for_function("window.sent.length == 4")
    assert sorted(page.evaluate("window.sent.slice(1)"), key=str) == sorted([
        [{"do": "take", "role": "target", "name": "a.png", "size": 30}, [30]],
        [{"do": "take", "role": "source", "name": "image.png", "size": 40}, [40]],
        [{"do": "take", "role": "source", "name": "large.png", "size": 101}, []],
    ], key=str)  # fmt: skip
    assert page.errors == []


def test_what_is_no_file_or_falls_elsewhere_is_left_alone(page):
    assert page.evaluate(GIVE, [".elsewhere", "drop", "a.png", 30])
    assert page.evaluate(GIVE, [".elsewhere", "dragover", "", 0])
    assert page.evaluate(GIVE, [".swaplib-for-source button", "paste", "", 0]), "pasted text"
    assert not page.evaluate(GIVE, [".swaplib-for-target img", "drop", "last.png", 30])
    page.wait_for_function("window.sent.some(([content]) => content.name == 'last.png')")
    assert [one["do"] for one, _ in page.evaluate("window.sent")] == ["begin", "take"]
    page.evaluate("window.close()")
    assert page.evaluate(GIVE, [".swaplib-for-target img", "drop", "a.png", 30]), "a page that is closed takes none"
