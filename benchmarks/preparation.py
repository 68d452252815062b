"""What it costs to prepare photographs: processor seconds and bytes of one, and a plan for the papers' datasets.

    python benchmarks/preparation.py FOLDER [--count 24] [--cores 64]

FOLDER holds photographs of faces, one in each. They are brought to the sizes that the datasets have, found, aligned and
written as `swaplib prepare` does; times are processor time, which other load disturbs less than wall-clock time.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from PIL import Image

from swaplib import data
from swaplib.photos import reading

MOST = 250_000  # pictures in a prepared dataset at most: its table and its folder stay handy


class Set(NamedTuple):
    """A published dataset: pictures, their height, and how they are prepared."""

    name: str
    pictures: int
    height: int
    kind: str
    size: int
    picture: str


SETS = (
    Set("CelebA", 202_599, 218, "rsgan", 178, "png"),
    Set("FFHQ, 1024 px", 70_000, 1024, "ffhq", 1024, "png"),
    Set("FFHQ, 1024 px, as JPEG", 70_000, 1024, "ffhq", 1024, "jpg"),
    Set("VGGFace2", 3_311_286, 250, "ffhq", 256, "jpg"),
)


def measure(files: list[Path], one: Set, count: int) -> tuple[float, float]:
    """Return processor seconds and bytes of one prepared picture."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photos")
        folder.mkdir()
        for number, file in enumerate(itertools.islice(itertools.cycle(files), count)):
            photo = Image.fromarray(reading.read(file)[0])
            width = round(photo.width * one.height / photo.height)
            photo.resize((width, one.height), Image.Resampling.LANCZOS).save(folder / f"{number:04}.jpg", quality=95)
        start = time.process_time()
        report = data.prepare(
            folder, Path(place, "out"), kind=one.kind, size=one.size, jobs=1, picture=one.picture, progress=False
        )
        seconds = (time.process_time() - start) / count
        made = [file.stat().st_size for file in Path(place, "out").rglob("*") if file.is_file()]
    if not report.faces:
        raise typer.BadParameter(f"no faces found in {files[0].parent}: name a folder of portraits")
    return seconds, sum(made) / report.faces


def main(
    folder: Annotated[Path, typer.Argument(help="Photographs of faces, one in each.")],
    count: Annotated[int, typer.Option(min=1, help="How many are prepared for each dataset.")] = 24,
    cores: Annotated[int, typer.Option(min=1, help="Of the cluster that the plan is for.")] = 64,
) -> None:
    """Print the table of docs/scale.md."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise typer.BadParameter(f"{folder} holds no .jpg or .png: name a folder of photographs")
    print(f"| dataset | pictures | seconds each | kB each | core hours | hours on {cores} cores | GB | shards |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    measure(files, SETS[0], 1)  # the detector is loaded once
    for one in SETS:
        seconds, size = measure(files, one, count)
        hours = seconds * one.pictures / 3600
        each = f"{one.name} | {one.pictures:,} | {seconds:.2f} | {size / 1000:,.0f}"
        plan = f"{hours:,.1f} | {hours / cores:.1f} | {size * one.pictures / 1e9:,.0f} | {-(-one.pictures // MOST)}"
        print(f"| {each} | {plan} |")


if __name__ == "__main__":
    typer.run(main)
