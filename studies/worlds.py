"""How far the rendered world is from photographs: two measures that need no eye.

    swaplib study worlds calm2 wild2 --photographs lfw128 --masks masks128 --parser parser_demo.safetensors

- *Parsing*: a parser that learned from rendered faces alone, and saw no photograph, labels photographs whose labels are
  known. What it loses against held-out rendered faces is the gap between the worlds.
- *Descriptors*: Fréchet and kernel distance between rendered and photographed people in dlib's descriptors, whose
  network learned from photographs alone. Two halves of the photographs, of different people, give the floor.

Saves worlds.csv: a row for each measure and pair of sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from swaplib import data, judges, photos
from swaplib.judges import fidelity
from swaplib.provenance import replacing
from swaplib.workbook import studies

VARIANTS = ("parsing", "descriptors")
"""What is measured."""
Folders = Annotated[list[Path], typer.Argument(help="Prepared datasets of rendered faces.")]


def main(
    rendered: Folders,
    photographs: Annotated[list[Path], typer.Option(help="Prepared datasets of photographs.")],
    masks: Annotated[Path, typer.Option(help="A prepared dataset of photographs with labels.")],
    parser: Annotated[Path, typer.Option(help="Weights of a parser that learned from rendered faces alone.")],
    count: Annotated[int, typer.Option(help="Faces of each set.")] = 1000,
) -> None:
    """Measure, and save the table."""
    torch.set_num_threads(1)
    rows = [row for title in VARIANTS for row in measure(title, rendered, photographs, masks, parser, count)]
    with replacing(studies.results("worlds.csv")) as temporary:
        pd.DataFrame(rows).round(4).to_csv(temporary, index=False)
    typer.echo(pd.DataFrame(rows).round(4).to_string(index=False))


def measure(
    title: str, rendered: list[Path], photographs: list[Path], masks: Path, parser: Path, count: int
) -> list[dict]:
    """Return the rows of one of the two measures."""
    if title == "parsing":
        return compare_parsing(judges.load("parser", file=parser), rendered, masks, count)
    return compare_descriptors(rendered, photographs, count)


def compare_parsing(parser: judges.Parser, rendered: list[Path], masks: Path, count: int) -> list[dict]:
    """Report a parser on held-out rendered faces and on labelled photographs."""
    rows = []
    for folder in (*rendered, masks):
        faces = data.open(folder)
        faces = faces.split("val") if folder != masks else faces
        chosen = faces.where(np.arange(len(faces)) < count)
        for name, value in parser.report(chosen).items():
            rows.append({"measure": f"parser, {name}", "set": folder.name, "to": "", "value": value,
                         "faces": len(chosen)})  # fmt: skip
    return rows


def compare_descriptors(rendered: list[Path], photographs: list[Path], count: int) -> list[dict]:
    """Compare dlib's descriptors of rendered faces with those of photographed people, one picture of each."""
    codes = {}
    for folder in (*rendered, *photographs):
        faces = data.open(folder)
        one_each = ~faces.metadata["subject"].duplicated() | (faces.metadata["subject"] == "")
        faces = faces.where(one_each & (one_each.cumsum() <= 2 * count))
        found = torch.cat([photos.describe(batch) for batch in faces.batches(32)]).double()
        codes[folder.name] = found[found.isfinite().all(1)]
    rows = []
    for mine in codes:
        for theirs in (folder.name for folder in photographs):
            one, other = codes[mine], codes[theirs]
            if mine == theirs:
                one, other = one[::2], one[1::2]
            number = min(count, len(one), len(other), *(len(some) // 2 for some in codes.values()))
            one, other = one[:number], other[:number]
            to = f"{theirs}, other people" if mine == theirs else theirs
            for name, value in {
                "descriptors, Fréchet": fidelity.frechet_distance(one, other),
                "descriptors, kernel": fidelity.kernel_distance(one, other, min(1000, number))[0],
            }.items():
                rows.append({"measure": name, "set": mine, "to": to, "value": value, "faces": number})
    return rows
