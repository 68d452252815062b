"""The studio in a real browser: JupyterLab serves a notebook, a slider is moved by keyboard, the picture follows."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BUILD = Path(__file__).resolve().parent.parent / "build" / "tests"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
CELL = """
from swaplib import families, studio

app = studio.Studio(families.load("rsgan"))
app
"""
# Follows the picture: when it changed, by the page's own clock.
WATCH = """image => {
    window.changes = [];
    new MutationObserver(() => image.decode().then(() => window.changes.push(performance.now())))
        .observe(image, {attributes: true, attributeFilter: ["src"]});
}"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install the system's package to run the browser test"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a notebook with the studio in JupyterLab, on a free port of this machine."""
    folder, own = tmp_path_factory.mktemp("books"), tmp_path_factory.mktemp("own")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "studio.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.allow_root": True,
        "ServerApp.open_browser": False, "ServerApp.root_dir": folder, "IdentityProvider.token": "test",
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
            yield f"http://127.0.0.1:{port}/doc/tree/studio.ipynb?token=test&reset"
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def _run_first_cell(page) -> None:
    """JupyterLab drops a run silently while it is still connecting, so press until the cell is running."""
    prompt = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").first
    for _ in range(10):
        page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea-editor").first.click()
        page.keyboard.press("Control+Enter")
        try:
            playwright.expect(prompt).not_to_have_text("[ ]:", timeout=2000)
            return
        except AssertionError:
            continue
    pytest.fail("JupyterLab did not run the cell")


@pytest.fixture(scope="module")
def page(lab):
    """The notebook, its cell run and the widgets alive."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1160, "height": 940})
        page.set_default_timeout(40_000)
        page.goto(lab)
        try:
            page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
            _run_first_cell(page)
            page.locator(".noUi-handle, .jp-OutputArea-output.jp-mod-error, [data-mime-type*=stderr]").first.wait_for()
            page.locator("img.swaplib-picture").wait_for(timeout=5000)
        except playwright.TimeoutError:
            page.screenshot(path=BUILD / "studio-failed.png")
            told = page.locator(".jp-OutputArea").all_inner_texts()
            pytest.fail(f"the studio did not appear (see build/tests/studio-failed.png): {told}")
        yield page
        browser.close()


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
