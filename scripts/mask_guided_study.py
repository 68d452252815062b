"""Mask-Guided Portrait Editing, its settings and its rivals, trained alike: claims M1, M3, M5.

    python scripts/mask_guided_study.py runs/faces_calm_64 runs/study

Each variant goes through as many labelled pictures, at 32 px. Then held-out faces lend their looks to each other's
masks, and a parser that taught none of the variants, trained here on the same pictures, says how well the masks were
kept. Saves beside the weights mask_guided_study.csv (a row a variant) and mask_guided_study.npz (variant -> uint8
(masks, looks, H, W, 3), and the masks and looks themselves). Given names of variants, only those are made anew.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from swaplib import data, families, judges, metrics, weights
from swaplib.faces import Faces, relabel, to_uint8
from swaplib.families import Family
from swaplib.families.mask_guided import LOCAL, Config, inside
from swaplib.judges import fidelity, parsing, perceptual
from swaplib.training import recipes

OURS = Config.study()
VARIANTS = {
    "full": ("mask_guided", OURS),
    "setting 1": ("mask_guided", OURS.setting(1)),
    "setting 2": ("mask_guided", OURS.setting(2)),
    "no parsing loss": ("mask_guided", replace(OURS, parsing=0)),
    **{
        name: (name, replace(families.config(name, "demo"), size=32, blocks=2, batch=OURS.batch, steps=OURS.steps))
        for name in ("pix2pixhd", "bicyclegan")
    },
}
HELD_OUT, MASKS, LOOKS = 256, 6, 8


def main(faces: str, runs: str, *chosen: str) -> None:
    torch.set_num_threads(1)
    dataset = data.open(faces)
    held_out = dataset.split("val")[list(range(HELD_OUT))].resize(OURS.size)
    learned = dataset.split("train")
    parser = independent_parser(learned, Path(runs) / "parser")
    file = weights.FOLDER / "mask_guided_study.csv"
    rows = pd.read_csv(file).to_dict("records") if chosen and file.exists() else []
    rows = [row for row in rows if row["variant"] not in chosen]
    pictures = dict(np.load(file.with_suffix(".npz"))) if chosen and file.exists() else {}
    masks, looks = held_out[:MASKS], held_out[MASKS : MASKS + LOOKS]
    pictures |= {"masks": masks.labels.numpy(), "targets": to_uint8(masks.images), "looks": to_uint8(looks.images)}
    for variant in chosen or VARIANTS:
        name, config = VARIANTS[variant]
        place = Path(runs) / variant.replace(" ", "_")
        family = trained(name, config, learned, place)
        _, totals = recipes.result(name, config, place)
        found, shown = measure(family.eval(), held_out, parser)
        rows.append({"variant": variant, **found, "steps": totals["steps"], "seconds": totals["seconds"]})
        pictures[variant] = shown
        np.savez_compressed(file.with_suffix(".npz"), **pictures)
        pd.DataFrame(rows).round(5).to_csv(file, index=False)
        print(rows[-1], flush=True)


def trained(name: str, config: Any, learned: data.Dataset, place: Path) -> nn.Module:
    for _ in recipes.studied(name, config, learned, place):
        pass
    return recipes.result(name, config, place)[0]


def independent_parser(learned: data.Dataset, place: Path) -> parsing.Parser:
    """Another one than that which teaches: other channels, and none of its training."""
    config = replace(judges.config("parser", "demo"), size=OURS.size, width=20, grown=False, steps=1500)
    return trained("parser", config, learned, place).eval()


@torch.no_grad()
def measure(family: Family, faces: Faces, parser: parsing.Parser) -> tuple[dict[str, float], np.ndarray]:
    """How much filled masks look like faces, how well they keep masks and looks, and how various they are."""
    order = torch.arange(len(faces)).roll(-1)
    filled = torch.cat([fill(family, faces[rows], faces[order[rows]]) for rows in torch.arange(len(faces)).split(32)])
    itself = torch.cat([fill(family, faces[rows], faces[rows]) for rows in torch.arange(len(faces)).split(32)])
    found = {"frechet": fidelity.frechet(fidelity.gather(filled.split(32)), fidelity.gather(faces.images.split(32)))}
    for images, kind in ((filled, "filled"), (faces.images, "real")):
        kept = parsing.scores(parser.parse(images), faces.labels)
        found |= {f"pixels_{kind}": float(kept["accuracy"]), f"f1_{kind}": float(kept["f1"].nanmean())}
    mask = relabel(faces.labels, target="mgpe")
    for name, region in LOCAL.items():
        error = metrics.absolute_error(itself, faces.images, inside(mask, region))
        found[f"error_{name}"] = float(error.nanmean())  # of those that have it
    masks, looks = faces[:MASKS], faces[MASKS : MASKS + LOOKS]
    table = torch.stack([fill(family, masks[[k] * LOOKS], looks) for k in range(MASKS)])
    distance = perceptual.features(judges.load("identity_linear"))
    pairs = torch.combinations(torch.arange(LOOKS))
    found["diversity"] = float(torch.stack([distance(*(row[pairs[:, k]] for k in (0, 1))) for row in table]).mean())
    return found, np.stack([to_uint8(row) for row in table])


def fill(family: Family, masks: Faces, looks: Faces) -> torch.Tensor:
    """Pictures with the masks and backgrounds of some faces and all that vectors say of others."""
    vectors = [part.name for part in family.parts if len(part.shape) == 1]
    return family.swap(looks, masks, dict.fromkeys(vectors, 1.0))


if __name__ == "__main__":
    main(*sys.argv[1:])
