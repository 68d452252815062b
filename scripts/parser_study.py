"""What generated faces bring a parser (Mask-Guided Portrait Editing, Table 3): claim M4.

    python scripts/parser_study.py photographs runs/faces_calm_64 runs/parsers

Parsers learn from labelled photographs; half of each batch may be generated faces, or rendered ones. A generated face
is a photograph's mask and background, filled by the released Mask-Guided Portrait Editing with another photograph's
components. Rendered faces are what that family itself learned from: they tell what a generated face brings besides.
All parsers see as many pictures, without augmentation, and are asked about photographs that neither they nor the
generator have seen; the parser that taught the generator has seen some. Saves parser_study.csv beside the weights: a
row for each parser.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from swaplib import data, families, judges, weights
from swaplib.faces import Faces
from swaplib.families import Family
from swaplib.training import recipes
from swaplib.training.model import Data

SIZE = 32  # pixels that the parsers see


def main(
    photographs: Annotated[Path, typer.Argument(help="A prepared dataset with labels.")],
    rendered: Annotated[Path, typer.Argument(help="A prepared dataset of rendered faces.")],
    runs: Annotated[Path, typer.Argument(help="Where the runs are kept.")],
    learned: Annotated[int, typer.Option(help="Photographs that are learned from; the others are asked about.")] = 400,
    seeds: Annotated[int, typer.Option(help="Parsers of each kind.")] = 3,
    steps: Annotated[int, typer.Option(help="Of each parser's training, 16 pictures each.")] = 400,
) -> None:
    """Train and measure the parsers."""
    torch.set_num_threads(1)
    family = families.load("mask_guided", "demo")
    everything = data.open(photographs)
    order = np.random.default_rng(0).permutation(len(everything))
    known, unknown = everything.where(order < learned), everything.where(order >= learned)
    generated = filled(family, known[list(range(learned))].resize(family.config.size))
    sets: dict[str, Data] = {
        "photographs": known,
        "photographs + generated": data.Mixed([known, generated], SIZE),
        "photographs + rendered": data.Mixed([known, data.open(rendered).split("train")], SIZE),
    }
    config = replace(judges.config("parser", "demo"), size=SIZE, augmented=False, grown=False, steps=steps)
    rows = []
    for seed in range(seeds):
        for name, faces in sets.items():
            place = runs / f"{name.replace(' + ', '_')}_{seed}"
            for _ in recipes.studied("parser", config, faces, place, seed=seed):
                pass
            parser, _ = recipes.result("parser", config, place)
            found = parser.eval().report(unknown)
            rows.append({"learned from": name, "seed": seed, **found, "photographs": learned, "asked": len(unknown)})
            pd.DataFrame(rows).round(5).to_csv(weights.FOLDER / "parser_study.csv", index=False)
            typer.echo(rows[-1])


@torch.no_grad()
def filled(family: Family, faces: Faces) -> Faces:
    """Each face's mask and background with another's components, twice."""
    whole, everything = [], dict.fromkeys(family.swap_plus, 1.0)
    for step in (1, 2):
        others = torch.arange(len(faces)).roll(step)
        for rows in torch.arange(len(faces)).split(32):
            target = faces[rows]
            whole.append(replace(target, images=family.swap(faces[others[rows]], target, everything)))
    return Faces.cat(whole)


if __name__ == "__main__":
    typer.run(main)
