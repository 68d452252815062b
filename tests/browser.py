"""A notebook in JupyterLab on this machine, driven by a real browser, for tests of what people click."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
playwright.expect.set_options(timeout=60_000)  # a busy machine answers late
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BUILD = Path(__file__).resolve().parent.parent / "build" / "tests"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# Follows a picture: when a key was pressed and when the picture changed, by the page's own clock.
WATCH = """image => {
    window.changes = [];
    window.addEventListener("keydown", event => { window.pressed = event.timeStamp; }, true);
    const changed = () => window.changes.push(performance.now());
    new MutationObserver(() => image.decode().then(changed, () => {}))
        .observe(image, {attributes: true, attributeFilter: ["src"]});
}"""
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install the system's package to run the browser test"),
]


@contextmanager
def lab(cells: Sequence[str], tmp_path_factory) -> Iterator[str]:
    """The address of a notebook with these cells in JupyterLab, on a free port of this machine."""
    folder, own = tmp_path_factory.mktemp("books"), tmp_path_factory.mktemp("own")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "studio.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": folder, "LabApp.expose_app_in_browser": True, "IdentityProvider.token": "test",
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyter", "lab", *(f"--{key}={value}" for key, value in options.items())]
    # Settings and workspaces of the person who runs the tests stay out of it; so does Jupyter's question about news.
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    news = own / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    environment = os.environ | {name: str(own / name) for name in places}
    with (own / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/status?token=test", server, own / "log")
            yield f"http://127.0.0.1:{port}/lab/tree/studio.ipynb?token=test&reset"
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@contextmanager
def opened(address: str, shown: str, name: str) -> Iterator:
    """The notebook's page, its first cell run, once an element that matches `shown` is there. name: of the app.

    JupyterLab's sidebar is open, as a person finds it.
    """
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(90_000)
        page.goto(address)
        try:
            page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
            _run_first_cell(page, f"{shown}, .jp-OutputArea-output.jp-mod-error, [data-mime-type*=stderr]")
            page.locator("img.swaplib-picture").wait_for(timeout=20_000)
        except playwright.TimeoutError:
            page.screenshot(path=BUILD / f"{name}-failed.png")
            told = page.locator(".jp-OutputArea").all_inner_texts()
            pytest.fail(f"the {name} did not appear (see build/tests/{name}-failed.png): {told}")
        yield page
        browser.close()


@contextmanager
def offline(path: Path, **options) -> Iterator:
    """A page of its own, from a file, in a browser without a network. options: of a Playwright context.

    page.asked lists what the page asked the network for, page.errors what its scripts complained of.
    """
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(offline=True, viewport={"width": 900, "height": 900}, **options)
        page = context.new_page()
        page.asked, page.errors = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda one: one.url.startswith(("file:", "data:")) or page.asked.append(one.url))
        page.goto(path.as_uri())
        yield page
        browser.close()


def press(page, key: str) -> float:
    """Press a key and wait until the watched picture has changed: milliseconds by the page's own clock."""
    count = page.evaluate("window.changes.length")
    page.keyboard.press(key)
    page.wait_for_function(f"window.changes.length > {count}", polling=5)
    return page.evaluate(f"window.changes[{count}] - window.pressed")


def _run_first_cell(page, wanted: str, seconds: float = 180) -> None:
    """Until something appears; a run that was begun may still be dropped while the kernel starts."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not page.locator(wanted).count():
        prompt = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").first.text_content()
        if prompt.split() in ([], ["[", "]:"]):
            run_cell(page, 0)
        page.wait_for_timeout(500)


def in_view(page, *elements) -> list[dict]:
    """The boxes of elements on the screen, each of which must lie wholly inside the notebook's part of it."""
    panel = page.locator(".jp-WindowedPanel-outer, .jp-Notebook").first.bounding_box()
    for element in elements:
        element.wait_for()
    boxes = [element.bounding_box() for element in elements]
    for box in boxes:
        assert panel["x"] <= box["x"], box
        assert panel["y"] <= box["y"], box
        assert box["x"] + box["width"] <= panel["x"] + panel["width"], box
        assert box["y"] + box["height"] <= panel["y"] + panel["height"], box
    return boxes


def scroll_to(page, app: str = ".swaplib-app") -> None:
    """Scroll the notebook so that an app begins at its top."""
    page.locator(app).first.evaluate("app => app.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(300)


NAMED = {
    "button",
    "slider",
    "textbox",
    "combobox",
    "spinbutton",
    "checkbox",
    "radio",
    "image",
    "application",
    "listbox",
}
# The contrast of an element's text with what lies behind it, as WCAG 2 counts it.
CONTRAST = """element => {
    const light = colour => colour.slice(0, 3).map(one => one / 255)
        .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, k) => sum + one * [0.2126, 0.7152, 0.0722][k], 0);
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    let behind = element, colour = [0, 0, 0, 0];
    while (behind && colour[3] === 0) {
        colour = parse(getComputedStyle(behind).backgroundColor);
        if (colour.length === 3) colour.push(1);
        behind = behind.parentElement;
    }
    const [low, high] = [light(parse(getComputedStyle(element).color)), light(colour)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}"""


def named(page, app: str = ".swaplib-app") -> list[tuple[str, str]]:
    """Roles and names of an app's controls and pictures, as the browser tells them to a screen reader."""
    client = page.context.new_cdp_session(page)
    document = client.send("DOM.getDocument")["root"]["nodeId"]
    node = client.send("DOM.querySelector", {"nodeId": document, "selector": app})["nodeId"]
    nodes = client.send("Accessibility.queryAXTree", {"nodeId": node})["nodes"]
    shown = [one for one in nodes if not one["ignored"] and one["role"]["value"] in NAMED]
    return [(one["role"]["value"], one.get("name", {}).get("value", "").strip()) for one in shown]


def use_theme(page, theme: str) -> None:
    """Change JupyterLab's theme: "Light" or "Dark"."""
    page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", f"JupyterLab {theme}")
    page.wait_for_function(f"document.body.dataset.jpThemeLight == '{'true' if theme == 'Light' else 'false'}'")
    page.wait_for_timeout(500)


def run_cell(page, index: int) -> None:
    """JupyterLab drops a run silently while it is still connecting, so press until the cell is running.

    On a busy machine it may also ask for a kernel that it has been told already.
    """
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    prompt = cell.locator(".jp-InputPrompt").first
    before = " ".join(prompt.text_content().split())
    for _ in range(10):
        for button in page.locator(".jp-Dialog button.jp-mod-accept").all():
            button.click()
        cell.locator(".jp-InputArea-editor").first.click()
        page.keyboard.press("Control+Enter")
        try:
            playwright.expect(prompt).not_to_have_text(before, timeout=2000)
            return
        except AssertionError:
            continue
    pytest.fail("JupyterLab did not run the cell")


def answer(page, index: int) -> str:
    """Run a cell and return what it prints."""
    run_cell(page, index)
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    playwright.expect(cell.locator(".jp-InputPrompt").first).not_to_have_text("[*]:")
    return cell.locator(".jp-OutputArea-output").first.inner_text()
