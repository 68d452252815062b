"""Time the studio's sliders in a real browser, from the key press to the new frame.

    PYTHONPATH=tests python benchmarks/studio.py
    PYTHONPATH=tests python benchmarks/studio.py rsgan e4s --presses 100

JupyterLab and Debian's chromium run on this machine; times are by the page's own clock, from the key's event to the
decoded picture. For each family, in one page:

floor    a slider whose kernel sends one of two finished pictures: the round trip by itself
drawn    a new position, which the kernel has to draw
kept     a position that was drawn ahead, while the kernel is busy with something else
kernel   what of `drawn` the kernel spends on the frame: mix, decode, JPEG

And a strip, in a page of its own with the network off. Medians and 95th percentiles, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import browser
import pandas as pd

from swaplib import families, figures, studio

OPEN = """
import ipywidgets as widgets
import numpy as np
from IPython.display import display
from swaplib import families, studio
from swaplib.studio.renderer import jpeg

finished = [jpeg(np.random.default_rng(k).normal(128, 8, (256, 256, 3)).astype("uint8")) for k in range(2)]
picture, slider = widgets.Image(value=finished[0], format="jpeg"), widgets.FloatSlider(1, min=0, max=1, step=0.01)
picture.add_class("swaplib-floor")
slider.observe(lambda change: setattr(picture, "value", finished[round(100 * change["new"]) % 2]), "value")
app = studio.Studio(families.load("NAME", "PRESET"))
display(widgets.VBox([slider, picture]), app)
"""
ASK = """
import json, time
spent = []
for k in range(20):
    start = time.perf_counter()
    app.bench.frame(app.renderer.move(app.state, studio.Slider("along", ""), k / 20))
    spent.append(1000 * (time.perf_counter() - start))
print(json.dumps({"ahead": len(app.images["picture"]._sent), "spent": spent, "error": str(app.last_error or "")}))
"""
BLOCK = "import time; time.sleep(20)"
TOGETHER = ".noUi-handle[aria-label='all together']"


class Folders:
    """Folders for JupyterLab, as pytest gives them to a test."""

    def __init__(self, root: Path):
        self.root = root

    def mktemp(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=name, dir=self.root))


def press_keys(page, picture: str, handle: str, keys: list[str]) -> list[float]:
    """Press keys on a slider, each when the picture has followed the last one; return milliseconds."""
    page.locator(picture).first.evaluate(browser.WATCH)
    return [browser.press(page.locator(handle).first, key) for key in keys]


def time_family(name: str, preset: str, presses: int, root: Path) -> dict[str, list[float]]:
    """Time one family's studio in a page of its own."""
    cell = OPEN.replace("NAME", name).replace("PRESET", preset)
    times = {}
    with browser.lab([cell], Folders(root)) as address, browser.opened(address, ".noUi-handle", "benchmark") as page:
        page.wait_for_timeout(3000)  # what a page does when it opens
        times["floor"] = press_keys(page, "img.swaplib-floor", ".noUi-handle", ["ArrowLeft"] * presses)
        times["drawn"] = press_keys(page, "img.swaplib-picture", TOGETHER, ["ArrowLeft"] * presses)
        told = wait_for_frames(page)
        if told["ahead"] > 2:  # a slow family's studio draws nothing ahead
            browser.start(page, BLOCK)
            times["kept"] = press_keys(
                page, "img.swaplib-picture", TOGETHER, ["ArrowRight", "ArrowLeft"] * (presses // 2)
            )
        if told["error"]:
            raise RuntimeError(f"{name}: {told['error']}")
    return times | {"kernel": told["spent"]}


def wait_for_frames(page, seconds: int = 60) -> dict:
    """Wait until nothing more is drawn ahead; return what the kernel says."""
    before = -1
    for _ in range(seconds // 2):
        page.wait_for_timeout(2000)
        told = json.loads(browser.ask(page, ASK))
        if told["ahead"] == before:
            return told
        before = told["ahead"]
    raise RuntimeError(f"frames are still drawn ahead after {seconds} s")


def time_strip(preset: str, presses: int, root: Path) -> list[float]:
    """Time a strip in a page without a network."""
    page = root / "strip.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{studio.strip(families.load('rsgan', preset), 'face').html}")
    with browser.offline(page) as page:
        page.locator(".moving img[data-live]").evaluate(browser.WATCH)
        keys = (["ArrowLeft"] * 10 + ["ArrowRight"] * 10) * (presses // 20 + 1)
        return [browser.press(page.get_by_role("slider"), key) for key in keys[:presses]]


def summarise(times: dict[str, list[float]]) -> dict[str, str]:
    """Return median / 95th percentile of each kind of time."""
    return {
        kind: f"{statistics.median(some):.0f} / {statistics.quantiles(some, n=20)[-1]:.0f}"
        for kind, some in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="names of families; all that have weights")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--presses", type=int, default=60, help="of keys, for each kind of time")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as root:
        for name in options.families or families.ready(options.preset):
            size = families.config(name, options.preset).size
            rows[f"{name}, {size} px"] = summarise(time_family(name, options.preset, options.presses, Path(root)))
            print(name, rows[f"{name}, {size} px"], flush=True)
        rows["strip"] = summarise({"kept": time_strip(options.preset, options.presses, Path(root))})
    table = pd.DataFrame(rows).T.fillna("–").rename_axis("median / 95th percentile, ms")
    print(figures.markdown_table(table))


if __name__ == "__main__":
    main()
