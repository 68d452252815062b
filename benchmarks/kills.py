"""Kill long work at random moments, start it again, and ask whether the end is the same and nothing is left behind.

    python benchmarks/kills.py [--times 20] [--seed 0] [--work training --work film ...]

Each kind of work is run once without a stop. Then it is started, killed (SIGKILL) after a random share of that time,
and started again, until it has been killed as often as asked; then it may end. Compared are all files that it leaves:
their names, and what is in them, but for times and for what tells when and how often something ran.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from swaplib import figures, synthetic
from swaplib.faces import to_uint8
from swaplib.video import files

SWAPLIB = [sys.executable, "-m", "swaplib.cli"]


def prepare_inputs(folder: Path) -> None:
    """Render the pictures, the film and the data set that the work starts from."""
    photos = folder / "photos"
    photos.mkdir()
    for k, image in enumerate(synthetic.render_faces(12, 0, size=128, jobs=1).images):
        figures.save_picture(image, photos / f"{k:02}.png", "rendered")
    clip = synthetic.render_clip(2.0, 0, 3, size=128, fps=12, jobs=1)
    files.write(folder / "film.mp4", to_uint8(clip.images), 12)
    subprocess.run([*SWAPLIB, "render", str(folder / "faces"), "--count", "48", "--size", "64"], check=True)


def commands(inputs: Path, out: Path) -> dict[str, list[str]]:
    """Return the kinds of work: name -> command, whose results all lie in `out`."""
    photos, film = inputs / "photos", inputs / "film.mp4"
    return {
        "training": [
            *SWAPLIB, "train", "rsgan", "--preset", "smoke", "--data", str(inputs / "faces"), "--steps", "120",
            "--jobs", "1", "--resume", "-o", str(out),
        ],
        "preparation": [*SWAPLIB, "prepare", str(photos), str(out / "prepared"), "--size", "128", "--jobs", "1"],
        "film": [*SWAPLIB, "swap", str(photos / "00.png"), str(film), "-o", str(out / "film.mp4")],
        "workbook": [
            sys.executable, "-c", "import sys; from swaplib.workbook import runner;"
            "runner.run(['00_start', '10_prepare_faces'], 'smoke', out=sys.argv[1], jobs=1)", str(out / "run"),
        ],
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- comparing

PASSING = {"time", "seconds", "created", "date", "command", "minutes", "hardware", "commit", "duration"}
"""Fields that tell when, where and how long."""


def content(path: Path) -> object:
    """Return what a file holds, without what differs from run to run."""
    match path.suffix:
        case ".safetensors":
            return {name: value.tobytes() for name, value in load_file(path).items()}
        case ".png" | ".jpg":
            return np.asarray(Image.open(path)).tobytes()
        case ".mp4":
            return b"".join(frame.tobytes() for frame in files.frames(path))
        case ".json":
            return _without(json.loads(path.read_text()))
        case ".csv":
            rows = [line.split(",") for line in path.read_text().splitlines()]
            kept = [k for k, name in enumerate(rows[0]) if name not in PASSING]
            return [[row[k] for k in kept] for row in rows]
        case ".parquet":
            import pandas as pd

            return pd.read_parquet(path).to_json()
    return b""  # cards and notebooks tell times in sentences: only that they are there


def _without(found: object) -> object:
    if isinstance(found, dict):
        return {name: _without(value) for name, value in found.items() if name not in PASSING}
    return [_without(one) for one in found] if isinstance(found, list) else found


def survey(folder: Path) -> dict[str, object]:
    return {str(path.relative_to(folder)): content(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    names = sorted(set(one) | set(other))
    told = {name: "is left over" if name not in one else "is missing" for name in set(one) ^ set(other)}
    return [f"{name} {told.get(name, 'differs')}" for name in names if name in told or one[name] != other[name]]


# ---------------------------------------------------------------------------------------------- killing


def run_whole(command: list[str], folder: Path) -> float:
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")
    return time.monotonic() - start


def run_killed(command: list[str], folder: Path, waits: Sequence[float]) -> int:
    """Start the command, kill it after some seconds and start it again, or until it ends; return how often.

    Raises RuntimeError where it ends with an error.
    """
    for killed, seconds in enumerate(waits):
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            _, told = process.communicate(timeout=seconds)
            if process.returncode:
                raise RuntimeError(f"{' '.join(command)}, started again after {killed} kills: {told[-500:]}")
            return killed
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    run_whole(command, folder)
    return len(waits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", action="append", choices=("training", "preparation", "film", "workbook"))
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    print("| work | seconds | kills | differences |\n|---|---:|---:|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare_inputs(folder)
        for name in chosen.work or commands(folder, folder):
            whole, broken = folder / "whole", folder / "broken"
            for out in (whole, broken):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
            took = run_whole(commands(folder, whole)[name], folder)
            killed = 0
            while killed < chosen.times:  # work that ended is done again
                if killed:
                    shutil.rmtree(broken)
                    broken.mkdir()
                waits = took * rng.uniform(0.1, 0.9, chosen.times - killed)
                now = run_killed(commands(folder, broken)[name], folder, waits)
                found = differences(survey(whole), survey(broken))
                killed += now
                if found:
                    break
            print(f"| {name} | {took:.0f} | {killed} | {'; '.join(found) or 'none'} |", flush=True)


if __name__ == "__main__":
    main()
