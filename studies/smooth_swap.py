"""Smooth-Swap by two embedders at two weights of the identity, trained alike: claim S2, Figs 7, 8, Table 1's ablations.

    swaplib study smooth_swap runs/faces_calm_64 runs/study --seeds 3

Each variant sees the same pictures in the same order, at 32 px. The teachers were trained alike: as long, on the same
pictures of 64 px; the released smooth embedder, of 128 px, is its successor. Every 25 steps the swaps of held-out faces
are measured by an embedder that trained none of them (the classifying one). Saves smooth_swap.csv, and the swaps of
four pairs during training as smooth_swap.npz: variant -> uint8 (steps, pairs, H, W, 3).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from swaplib import data, judges, weights
from swaplib.faces import Faces, to_uint8
from swaplib.families.smooth_swap import Config, SmoothSwap
from swaplib.judges import perceptual
from swaplib.workbook import studies

VARIANTS = {
    "smooth, 4": ("smooth_swap", Config.study(embedder="identity", identity=4)),
    "smooth, 1": ("smooth_swap", Config.study(embedder="identity", identity=1)),
    "margin, 4": ("smooth_swap", Config.study(embedder="identity_margin", identity=4)),
    "margin, 1": ("smooth_swap", Config.study(embedder="identity_margin", identity=1)),
}
ALIKE = "a390efaca445fc3b9b31ed3a17370f461372f553ce972deb04c008a0418481b2"
"""SHA-256 of the smooth embedder that was trained as the margin-trained one was."""
EVERY = 25
SHOWN = (25, 50, 100, 200, 300)
"""Steps whose swaps are kept."""
Judge = Callable[[torch.Tensor], torch.Tensor]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def main(faces: studies.Faces, runs: studies.Runs, variants: studies.Chosen = None, seeds: studies.Seeds = 1) -> None:
    """Train Smooth-Swap by two teachers at two weights, and measure its swaps during training."""
    dataset = data.open(faces)
    held_out = dataset.split("val")[list(range(64))].resize(Config.study().size)
    shown = {"sources": to_uint8(held_out.images[:8:2]), "targets": to_uint8(held_out.images[1:8:2])}
    studies.save_pictures("smooth_swap.npz", shown)
    third = judges.load("identity_linear")
    scored = partial(measure, faces=held_out, third=third, distance=perceptual.feature_distance(third))
    with weights.searching(gather_teachers(runs / "teachers")):
        studies.make("smooth_swap", VARIANTS, scored, dataset.split("train"), runs, variants, seeds)


def gather_teachers(folder: Path) -> Path:
    """Put the smooth embedder that was trained like the other into a folder, under the name that it is asked for by."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights.find_released("identity", "demo", ALIKE), folder / "identity_demo.safetensors")
    return folder


def measure(run: studies.Run, faces: Faces, third: Judge, distance: Distance) -> studies.Found:
    """Train, and measure swaps of held-out faces during training."""
    rows, kept, sums = [], [], {}
    for step in run.steps():
        for term, value in step.losses["generator"].items():
            sums[term] = sums.get(term, 0) + value / EVERY
        if step.step % EVERY == 0:
            rows.append({"images": step.images, **sums, **score_swaps(step.model, faces, third, distance)})
            sums = {}
        if step.step in SHOWN:
            kept.append(to_uint8(step.model.swap(faces[:8:2], faces[1:8:2])))
    return studies.Found(rows, {run.title: np.stack(kept)})


@torch.no_grad()
def score_swaps(family: SmoothSwap, faces: Faces, third: Judge, distance: Distance) -> dict[str, float]:
    """Score identity by another judge: distance to the source, also relative; and the change of the target."""
    sources, targets = faces[::2], faces[1::2]
    swapped = family.swap(sources, targets)
    to_source, to_target = ((third(swapped) - third(one.images)).norm(dim=1) for one in (sources, targets))
    return {
        "distance": float(to_source.mean()),
        "relative": float((to_source / (to_source + to_target)).mean()),
        "looks": float(distance(swapped, targets.images).mean()),
    }
