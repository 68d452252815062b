"""Mask-Guided Portrait Editing, its settings and its rivals, trained alike: claims M1, M3, M5.

    swaplib study mask_guided runs/faces_calm_64 runs/study

Each variant sees the same number of labelled pictures, at 32 px. Then held-out faces lend their looks to each other's
masks, and a parser that taught none of the variants, trained here on the same pictures, says how well the masks were
kept. Saves mask_guided.csv (one row per variant) and mask_guided.npz (variant -> uint8 (masks, looks, H, W, 3), and the
masks and looks themselves).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from swaplib import data, families, judges, metrics
from swaplib.faces import Faces, relabel, to_uint8
from swaplib.families import Family
from swaplib.families.mask_guided import Config
from swaplib.families.mask_guided_regions import LOCAL, find_region
from swaplib.judges import fidelity, parsing, perceptual
from swaplib.training.model import Data
from swaplib.workbook import studies

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


def main(faces: studies.Faces, runs: studies.Runs, variants: studies.Chosen = None, seeds: studies.Seeds = 1) -> None:
    """Train the settings and the rivals, and measure how they fill held-out masks. A stopped run is resumed."""
    dataset = data.open(faces)
    held_out = dataset.split("val")[list(range(HELD_OUT))].resize(OURS.size)
    learned = dataset.split("train")
    parser = independent_parser(learned, runs / "parser")
    masks, looks = held_out[:MASKS], held_out[MASKS : MASKS + LOOKS]
    shown = {"masks": masks.labels.numpy(), "targets": to_uint8(masks.images), "looks": to_uint8(looks.images)}
    studies.save_pictures("mask_guided.npz", shown)
    scored = partial(measure, faces=held_out, parser=parser)
    studies.make("mask_guided", VARIANTS, scored, learned, runs, variants, seeds, resume=True)


def independent_parser(learned: Data, folder: Path) -> parsing.Parser:
    """Train a parser other than the teacher: with other channels, and nothing of its training."""
    config = replace(judges.config("parser", "demo"), size=OURS.size, width=20, grown=False, steps=1500)
    return studies.Run("parser", "parser", config, learned, folder, {"resume": True}).train()[0]


def measure(run: studies.Run, faces: Faces, parser: parsing.Parser) -> studies.Found:
    """Train, and measure how faces' masks are filled."""
    family, totals = run.train()
    scores, shown = score_filled(family, faces, parser)
    row = {**scores, "steps": totals["steps"], "seconds": totals["seconds"]}
    return studies.Found([row], {run.title: shown})


@torch.no_grad()
def score_filled(family: Family, faces: Faces, parser: parsing.Parser) -> tuple[dict[str, float], np.ndarray]:
    """Score how much filled masks look like faces, how well they keep masks and looks, and how diverse they are."""
    order = torch.arange(len(faces)).roll(-1)
    filled = torch.cat([fill(family, faces[rows], faces[order[rows]]) for rows in torch.arange(len(faces)).split(32)])
    itself = torch.cat([fill(family, faces[rows], faces[rows]) for rows in torch.arange(len(faces)).split(32)])
    found = {
        "frechet": fidelity.frechet_distance(
            fidelity.gather_features(filled.split(32)), fidelity.gather_features(faces.images.split(32))
        )
    }
    for images, kind in ((filled, "filled"), (faces.images, "real")):
        kept = parsing.score_labels(parser.parse(images), faces.labels)
        found |= {f"pixels_{kind}": float(kept["accuracy"]), f"f1_{kind}": float(kept["f1"].nanmean())}
    mask = relabel(faces.labels, target="mgpe")
    for name, region in LOCAL.items():
        error = metrics.absolute_error(itself, faces.images, find_region(mask, region))
        found[f"error_{name}"] = float(error.nanmean())  # over those that have it
    masks, looks = faces[:MASKS], faces[MASKS : MASKS + LOOKS]
    table = torch.stack([fill(family, masks[[k] * LOOKS], looks) for k in range(MASKS)])
    distance = perceptual.feature_distance(judges.load("identity_linear"))
    pairs = torch.combinations(torch.arange(LOOKS))
    found["diversity"] = float(torch.stack([distance(*(row[pairs[:, k]] for k in (0, 1))) for row in table]).mean())
    return found, np.stack([to_uint8(row) for row in table])


def fill(family: Family, masks: Faces, looks: Faces) -> torch.Tensor:
    """Return pictures with the masks and backgrounds of some faces and all vector codes of others."""
    vectors = [part.name for part in family.parts if len(part.shape) == 1]
    return family.swap(looks, masks, dict.fromkeys(vectors, 1.0))
