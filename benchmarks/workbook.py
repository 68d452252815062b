"""Measure where the notebooks' time goes: seconds of processor time by notebook and by kind of work.

    python benchmarks/workbook.py [NOTEBOOK …] [--jobs N] [--preset demo] [--out FILE.csv]

Runs the notebooks as `swaplib run` does. Every process that they start (kernels, and what these start in their turn)
looks every 10 ms of its own processor time which function it is in; `KINDS` says what that is called.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

EVERY = 0.01  # seconds of processor time from one look to the next
# The first kind that holds anywhere on the stack: a rendering inside a training is training.
WHOLE = (
    ("imports", ("importlib._bootstrap",)),
    ("shape judge's basis", ("swaplib/judges/shape.py:_model",)),
    ("training", ("swaplib/training/loop",)),
    ("optimising codes", ("swaplib/latent/inversion", "swaplib/latent/reenactment")),
)
# Otherwise the first kind that holds, from the innermost function outwards.
KINDS = (
    ("drawing factors", ("swaplib/synthetic/factors",)),
    ("rendering", ("swaplib/synthetic/",)),
    ("dlib, photographs", ("swaplib/photos/",)),
    ("judges", ("swaplib/judges/",)),
    ("image measures", ("swaplib/metrics/image",)),
    ("figures", ("swaplib/figures/", "matplotlib/", "PIL/", "IPython/core/display", "IPython/core/formatters")),
    ("networks", ("swaplib/families/", "swaplib/generators/", "swaplib/networks/")),
    ("statistics", ("swaplib/metrics/", "pandas/", "sklearn/", "scipy/")),
)


def classify(stack: list[str]) -> str:
    """Return the kind of work of a stack of "file:function", innermost first."""
    for name, marks in WHOLE:
        if any(mark in frame for frame in stack for mark in marks):
            return name
    for frame in stack:
        for name, marks in KINDS:
            if any(mark in frame for mark in marks):
                return name
    return "other"


def make_looker(spent: Counter[str]):
    """Return a handler of signals that gives the time since its last call to the kind of work that it finds."""
    last = time.process_time()

    def look(number, frame) -> None:
        nonlocal last
        stack = []
        while frame is not None:
            stack.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
            frame = frame.f_back
        now = time.process_time()  # compiled code is not interrupted: one look may stand for many
        spent[classify(stack)] += now - last
        last = now

    return look


def watch(folder: Path) -> None:
    """Count the seconds of what this process does, in <folder>/<notebook>.<number>.json, until it ends."""
    spent: Counter[str] = Counter()
    run = json.loads(os.environ.get("SWAPLIB_RUN", '{"notebook": "runner"}'))
    path = folder / f"{run['notebook']}.{os.getpid()}.json"

    note, saved = make_looker(spent), 0.0

    def save() -> None:
        path.write_text(json.dumps(spent))

    def look(number, frame) -> None:
        nonlocal saved
        note(number, frame)
        if time.process_time() > saved + 0.5:  # a worker may be stopped without a word
            saved = time.process_time()
            save()

    def stop() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        save()

    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    atexit.register(stop)


def tabulate(folder: Path):
    """Return a table of seconds: notebooks × kinds of work, with sums."""
    import pandas as pd

    rows: dict[str, Counter[str]] = {}
    for path in sorted(folder.glob("*.json")):
        rows.setdefault(path.name.split(".")[0], Counter()).update(json.loads(path.read_text()))
    kinds = [name for name, _ in (*WHOLE, *KINDS)] + ["other"]
    table = pd.DataFrame.from_dict({book: dict(row) for book, row in rows.items()}, orient="index")
    table = table.reindex(columns=kinds).fillna(0)
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table.rename_axis("notebook").round(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--jobs", type=int, help="notebooks side by side")
    parser.add_argument("--out", type=Path, help="save the table as CSV")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        # Python imports sitecustomize at the start of every process.
        lines = ("import sys", f"sys.path.append({str(Path(__file__).parent)!r})", "import workbook, pathlib")
        (folder / "sitecustomize.py").write_text("\n".join((*lines, f"workbook.watch(pathlib.Path({text!r}))\n")))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (text, os.environ.get("PYTHONPATH"))))
        from swaplib.workbook import runner

        start = time.perf_counter()
        options = {} if chosen.jobs is None else {"jobs": chosen.jobs}
        report = runner.run(chosen.notebooks, chosen.preset, out=folder / "out", figures_folder=folder / "f", **options)
        wall = time.perf_counter() - start
        table = tabulate(folder)
        table["wall"] = table.index.map({**report.seconds, "all": round(wall, 1)})
    print(table.to_string())
    if chosen.out:
        table.to_csv(chosen.out)


if __name__ == "__main__":
    sys.exit(main())
