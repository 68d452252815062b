"""Measure how much of a distance between swaps and true swaps lies in which part of the face.

    python benchmarks/close_ups.py smooth_swap --pairs 24

Prints, for pixels and for the features of networks that have seen the whole portrait or a close-up of it
(`judges.perceptual`), which share of the distance goes where a part is replaced by the true one's, its edge softened.
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch
import torch.nn.functional as F

from swaplib import families, judges, latent, metrics, synthetic
from swaplib.faces import Faces, region
from swaplib.judges.perceptual import FeatureDistance, close_up

PARTS = {
    "nose": ("nose",),
    "eyes": ("left_eye", "right_eye"),
    "brows": ("left_brow", "right_brow"),
    "mouth": ("mouth", "upper_lip", "lower_lip"),
    "skin": ("skin",),
    "hair": ("hair",),
}


def replace_parts(swapped: torch.Tensor, truth: Faces, target: Faces) -> dict[str, torch.Tensor]:
    """Return the swaps (B, 3, S, S) with each part in turn taken from the truth, where that or the target has it."""
    found = {}
    for name, classes in PARTS.items():
        there = (region(truth.labels, *classes) | region(target.labels, *classes))[:, None].float()
        there = F.avg_pool2d(F.max_pool2d(there, 5, 1, 2), 5, 1, 2)
        found[name] = torch.lerp(swapped, truth.images, there)
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=families.NAMES)
    parser.add_argument("--pairs", type=int, default=24)
    chosen = parser.parse_args()
    family = families.load(chosen.family)
    faces = synthetic.render_faces(2 * chosen.pairs, 11, metrics.HELD_OUT + 200, size=family.config.size)
    source, target = faces[::2], faces[1::2]
    truth = synthetic.true_swap(source, target)
    swapped = latent.swap(family, source, target)
    changed = replace_parts(swapped, truth, target)
    rows = {"pixels, L1": lambda images: (images - truth.images).abs().mean()}
    for name in ("identity_linear", "identity", "parser"):
        distance = FeatureDistance(judges.load(name), own_size=True)
        rows[name] = lambda images, d=distance: d(images, truth.images).mean()
        rows[f"{name}, close-up"] = lambda images, d=distance: d(close_up(images), close_up(truth.images)).mean()
    table = pd.DataFrame.from_dict(
        {row: {name: 1 - float(far(one) / far(swapped)) for name, one in changed.items()} for row, far in rows.items()},
        orient="index",
    )
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
