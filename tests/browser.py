"""A notebook in JupyterLab on this machine, driven by a real browser, for tests of what people click.

A busy machine answers late, and page and kernel each in their own time. So what is asserted is first waited for: by
`playwright.expect` where an element shows it, by `until` where it is read otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ports import find_port

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
PATIENCE = 240
"""Seconds that a page may take for anything; only what fails takes that long."""
playwright.expect.set_options(timeout=1000 * PATIENCE)
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
    port = find_port()
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
            try:
                server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
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
    with _launched(viewport={"width": 1280, "height": 900}) as page:
        try:
            page.goto(address)
            connect(page)
            run_cell(page, 0)
            page.locator(f"{shown}, {_FAILED}").first.wait_for()
            page.locator("img.swaplib-picture").wait_for()
        except playwright.TimeoutError:
            page.screenshot(path=BUILD / f"{name}-failed.png")
            told = page.locator(".jp-OutputArea").all_inner_texts()
            pytest.fail(f"the {name} did not appear (see build/tests/{name}-failed.png): {told}")
        yield page


_FAILED = ".jp-OutputArea-output.jp-mod-error, [data-mime-type*=stderr]"


@contextmanager
def offline(path: Path, **options) -> Iterator:
    """A page of its own, from a file, in a browser without a network. options: of a Playwright context.

    page.asked lists what the page asked the network for, page.errors what its scripts complained of.
    """
    with _launched(**{"offline": True, "viewport": {"width": 900, "height": 900}} | options) as page:
        page.asked, page.errors = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda one: one.url.startswith(("file:", "data:")) or page.asked.append(one.url))
        page.goto(path.as_uri())
        yield page


@contextmanager
def _launched(**options) -> Iterator:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=1000 * PATIENCE)
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(1000 * PATIENCE)
        yield page
        browser.close()


def until(page, read: Callable[[], Any], right: Callable[[Any], Any] = bool) -> Any:
    """Read something until it is right, and return it."""
    end = time.monotonic() + PATIENCE
    while not right(found := read()):
        assert time.monotonic() < end, found
        page.wait_for_timeout(100)
    return found


def press(handle, key: str) -> float:
    """Press a key on a handle and wait until the watched picture has changed: milliseconds by the page's own clock."""
    page = handle.page
    page.evaluate("window.pressed = Infinity")
    handle.press(key)
    page.wait_for_function("window.changes.at(-1) > window.pressed", polling=5)
    return page.evaluate("window.changes.find(one => one > window.pressed) - window.pressed")


# ------------------------------------------------------------------------------------------ notebook and kernel

_PANEL = "[...(window.jupyterapp?.shell.widgets('main') ?? [])].find(one => one.sessionContext)"
# On a busy machine JupyterLab may ask for a kernel that it has been told already.
_CONNECTED = f"""() => {{
    document.querySelector(".jp-Dialog button.jp-mod-accept")?.click();
    const kernel = {_PANEL}?.sessionContext.session?.kernel;
    return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}}"""
_RUN = f"""index => {{
    const panel = {_PANEL};
    jupyterapp.shell.activateById(panel.id);
    panel.content.deselectAll();
    panel.content.activeCellIndex = index;
    window.running = true;
    jupyterapp.commands.execute("notebook:run-cell").finally(() => {{ window.running = false; }});
}}"""
_START = f"""code => {{
    const future = {_PANEL}.sessionContext.session.kernel.requestExecute({{code, store_history: false}});
    Object.assign(window, {{running: true, printed: ""}});
    future.onIOPub = ({{header, content}}) => {{
        if (header.msg_type === "stream") window.printed += content.text;
        if (header.msg_type === "error") window.printed += content.traceback.join(" ");
    }};
    future.done.finally(() => {{ window.running = false; }});
}}"""


def connect(page) -> None:
    """Wait for the notebook's kernel: JupyterLab silently drops a cell that is run before."""
    until(page, lambda: page.evaluate(_CONNECTED))


def run_cell(page, index: int) -> None:
    """Run a cell to its end."""
    counted = f"index => {_PANEL}.content.widgets[index].model.executionCount"
    for _ in range(3):
        page.evaluate(_RUN, index)
        finish(page)
        if page.evaluate(counted, index):
            return
    pytest.fail("JupyterLab did not run the cell")


def start(page, code: str) -> None:
    """Have the notebook's kernel run some code beside the notebook, which stays as it is."""
    page.evaluate(_START, code)


def finish(page) -> None:
    """Wait until the kernel is through with what it was started on."""
    page.wait_for_function("!window.running")


def ask(page, code: str) -> str:
    """Return what some code prints in the notebook's kernel, which answers after all that it was sent before."""
    start(page, code)
    finish(page)
    return page.evaluate("window.printed")


# ------------------------------------------------------------------------------------------ what a page shows

# The boxes of elements and of the notebook's part of the screen, once they are drawn. Hidden ones are empty.
_BOXES = """async elements => {
    for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
    const panel = document.querySelector(".jp-WindowedPanel-outer, .jp-Notebook");
    return [panel, ...elements].map(one => one.getBoundingClientRect().toJSON());
}"""


def resize(page, width: int) -> None:
    """Make the window that wide."""
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(f"window.innerWidth === {width}")


def in_view(page, *elements) -> list[dict]:
    """The boxes of elements on the screen, once they rest, each wholly inside the notebook's part of it."""
    handles, before = [element.element_handle() for element in elements], None

    def rests(boxes: list[dict]) -> bool:
        nonlocal before
        (panel, *inside), same, before = boxes, boxes == before, boxes
        return same and all(
            box["width"] and box["height"]
            and panel["left"] <= box["left"] and box["right"] <= panel["right"]
            and panel["top"] <= box["top"] and box["bottom"] <= panel["bottom"] for box in inside
        )  # fmt: skip

    return until(page, lambda: page.evaluate(_BOXES, handles), rests)[1:]


def scroll_to(page, app: str = ".swaplib-app") -> None:
    """Scroll the notebook so that an app begins at its top, until it stays there."""
    page.locator(app).first.wait_for()
    page.wait_for_function(
        """app => {
            const one = document.querySelector(app), before = window.scrolled;
            one.scrollIntoView({block: "start"});
            window.scrolled = one.getBoundingClientRect().top;
            return window.scrolled === before;
        }""",
        arg=app,
        polling=200,
    )


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
    """Roles and names of an app's controls and pictures, as the browser tells them to a screen reader.

    page.js names what is new when the next frame is drawn, so it waits until everything has a name.
    """
    client = page.context.new_cdp_session(page)

    def read() -> list[tuple[str, str]]:
        document = client.send("DOM.getDocument")["root"]["nodeId"]
        node = client.send("DOM.querySelector", {"nodeId": document, "selector": app})["nodeId"]
        nodes = client.send("Accessibility.queryAXTree", {"nodeId": node})["nodes"]
        shown = [one for one in nodes if not one["ignored"] and one["role"]["value"] in NAMED]
        return [(one["role"]["value"], one.get("name", {}).get("value", "").strip()) for one in shown]

    return until(page, read, lambda told: all(name for _, name in told))


def audit(page, part: str | None = None) -> list[str]:
    """What axe-core finds in a page that is serious or critical. part: looked at alone, a selector."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, part).response["violations"]
    return [
        f"{one['id']}: {node['html']} {node['failureSummary']}"
        for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]
    ]  # fmt: skip


def use_theme(page, theme: str) -> None:
    """Change JupyterLab's theme, "Light" or "Dark", and wait until every colour has come to rest."""
    page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", f"JupyterLab {theme}")
    page.wait_for_function(
        """light => document.body.dataset.jpThemeLight === light
            && document.getAnimations().every(one => !(one instanceof CSSTransition))""",
        arg="true" if theme == "Light" else "false",
    )
