"""Smooth-Swap by two embedders at two weights of the identity, trained alike: claim S2, Figs 7 and 8, Table 3.

    python scripts/smooth_swap_study.py runs/faces_calm_64 runs/study

Each variant goes through the same pictures in the same order, at 32 px. Every 25 steps its swaps of held-out faces are
measured by an embedder that trained none of them (the classifying one). Saves smooth_swap_study.csv beside the weights,
and the swaps of four pairs on the way as smooth_swap_study.npz: variant -> uint8 (steps, pairs, H, W, 3).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from swaplib import data, judges, weights
from swaplib.faces import to_uint8
from swaplib.families.smooth_swap import Config, SmoothSwap
from swaplib.judges import perceptual
from swaplib.training import recipes

VARIANTS = {
    "smooth, 4": {"embedder": "identity", "identity": 4},
    "smooth, 1": {"embedder": "identity", "identity": 1},
    "margin, 4": {"embedder": "identity_margin", "identity": 4},
    "margin, 1": {"embedder": "identity_margin", "identity": 1},
}
EVERY = 25
SHOWN = (25, 50, 100, 200, 300)
"""Steps whose swaps are kept."""


def main(faces: str, runs: str, *chosen: str) -> None:
    torch.set_num_threads(1)
    dataset = data.open(faces)
    learned, shown = dataset.split("train"), dataset.split("val")
    held_out = shown[list(range(64))].resize(Config.study().size)
    third = judges.load("identity_linear")
    seen = perceptual.features(judges.load("identity_linear"))
    file = weights.FOLDER / "smooth_swap_study.csv"
    rows = pd.read_csv(file).to_dict("records") if chosen and file.exists() else []
    rows = [row for row in rows if row["variant"] not in chosen]
    pictures = dict(np.load(file.with_suffix(".npz"))) if chosen and file.exists() else {}
    pictures |= {"sources": to_uint8(held_out.images[:8:2]), "targets": to_uint8(held_out.images[1:8:2])}
    for name in chosen or VARIANTS:
        config = Config.study(**VARIANTS[name])
        place = Path(runs) / name.replace(", ", "_")
        sums: dict[str, float] = {}
        kept = []
        for step in recipes.studied("smooth_swap", config, learned, place):
            for term, value in step.losses["generator"].items():
                sums[term] = sums.get(term, 0) + value / EVERY
            if step.step % EVERY == 0:
                rows.append(
                    {"variant": name, "images": step.images, **sums, **measure(step.family, held_out, third, seen)}
                )
                sums = {}
            if step.step in SHOWN:
                kept.append(to_uint8(step.family.swap(held_out[:8:2], held_out[1:8:2])))
        pictures[name] = np.stack(kept)
        np.savez_compressed(file.with_suffix(".npz"), **pictures)
        pd.DataFrame(rows).round(5).to_csv(file, index=False)
        print(rows[-1], flush=True)


@torch.no_grad()
def measure(family: SmoothSwap, faces, third, seen) -> dict[str, float]:
    """Identity by another judge: distance to the source, relative to that and the target's; change of the target."""
    sources, targets = faces[::2], faces[1::2]
    swapped = family.swap(sources, targets)
    to_source, to_target = ((third(swapped) - third(one.images)).norm(dim=1) for one in (sources, targets))
    return {
        "distance": float(to_source.mean()),
        "relative": float((to_source / (to_source + to_target)).mean()),
        "looks": float(seen(swapped, targets.images).mean()),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
