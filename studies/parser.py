"""What a parser gains from generated faces (Mask-Guided Portrait Editing, Table 3): claim M4.

    swaplib study parser photographs runs/faces_calm_64 runs/parsers

Parsers learn from labelled photographs; half of each batch may be generated faces, or rendered ones. A generated face
is a photograph's mask and background, filled by the released Mask-Guided Portrait Editing with another photograph's
components. Rendered faces are what that family itself learned from: they show what a generated face adds.
All parsers see the same number of pictures, without augmentation, and are tested on photographs that neither they nor
the generator have seen; the parser that taught the generator has seen some. Saves parser.csv: one row per parser.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from swaplib import data, families, judges
from swaplib.faces import Faces
from swaplib.families import Family
from swaplib.provenance import replacing
from swaplib.workbook import studies

VARIANTS = ("photographs", "photographs + generated", "photographs + rendered")
SIZE = 32  # pixels per side that the parsers see


def main(
    photographs: Annotated[Path, typer.Argument(help="A prepared dataset with labels.")],
    rendered: studies.Faces,
    runs: studies.Runs,
    learned: Annotated[int, typer.Option(help="Photographs to learn from; the others are for testing.")] = 400,
    seeds: Annotated[int, typer.Option(help="Parsers of each kind.")] = 3,
    steps: Annotated[int, typer.Option(help="Of each parser's training, 16 pictures each.")] = 400,
) -> None:
    """Train and measure the parsers. A stopped run is resumed."""
    torch.set_num_threads(1)
    family = families.load("mask_guided", "demo")
    everything = data.open(photographs)
    order = np.random.default_rng(0).permutation(len(everything))
    known, unknown = everything.where(order < learned), everything.where(order >= learned)
    sets = dict(zip(VARIANTS, (
        known,
        data.Mixed([known, fill(family, known[list(range(learned))].resize(family.config.size))], SIZE),
        data.Mixed([known, data.open(rendered).split("train")], SIZE),
    ), strict=True))  # fmt: skip
    config = replace(judges.config("parser", "demo"), size=SIZE, augmented=False, grown=False, steps=steps)
    rows = []
    for seed in range(seeds):
        for title, faces in sets.items():
            folder = runs / f"{title.replace(' + ', '_')}_{seed}"
            run = studies.Run(title, "parser", config, faces, folder, {"seed": seed, "resume": True})
            scores = measure(run, unknown)
            asked = {"photographs": learned, "asked": len(unknown)}
            rows.append({"learned from": title, "seed": seed, **scores, **asked})
            with replacing(studies.results("parser.csv")) as temporary:
                pd.DataFrame(rows).round(5).to_csv(temporary, index=False)
            typer.echo(rows[-1])


def measure(run: studies.Run, unknown: data.Dataset) -> dict[str, float]:
    """Train a parser, and measure it on photographs that it hasn't seen."""
    return run.train()[0].report(unknown)


@torch.no_grad()
def fill(family: Family, faces: Faces) -> Faces:
    """Fill each face's mask and background with another's components, twice."""
    whole, everything = [], dict.fromkeys(family.swap_plus, 1.0)
    for step in (1, 2):
        others = torch.arange(len(faces)).roll(step)
        for rows in torch.arange(len(faces)).split(32):
            target = faces[rows]
            whole.append(replace(target, images=family.swap(faces[others[rows]], target, everything)))
    return Faces.cat(whole)
