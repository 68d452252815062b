"""E4S with and without two of its ideas, trained alike: claim E1, Table 1.

    swaplib study e4s runs/faces_calm_64 runs/study

Full, (C) without the multi-scale perceptual loss and (D) without the multi-scale encoder learn from the same pictures
in the same order, and then reconstruct held-out ones. The paper discards the loss as a whole; "one scale" keeps its
largest scale, which tells what several scales add. Saves e4s.csv (one row per variant) and e4s.npz (variant -> uint8
(faces, H, W, 3), and the faces themselves).
"""

from __future__ import annotations

from functools import partial

import torch

from swaplib import data, judges, metrics
from swaplib.faces import Faces, to_uint8, to_unit
from swaplib.families.e4s import ABLATIONS, E4S, Config
from swaplib.judges import fidelity, perceptual
from swaplib.workbook import studies

CHANGES = {"full": {}, **ABLATIONS, "one scale": {"scales": (1,)}}
VARIANTS = {name: ("e4s", Config.study(**changes)) for name, changes in CHANGES.items()}
HELD_OUT, SHOWN = 256, 6


def main(faces: studies.Faces, runs: studies.Runs, variants: studies.Chosen = None, seeds: studies.Seeds = 1) -> None:
    """Train E4S and its ablations, and measure how they reconstruct held-out faces. A stopped run is resumed."""
    dataset = data.open(faces)
    held_out = dataset.split("val")[list(range(HELD_OUT))].resize(Config.study().size)
    studies.save_pictures("e4s.npz", {"faces": to_uint8(held_out.images[:SHOWN])})
    scored, learned = partial(measure, faces=held_out), dataset.split("train")
    studies.make("e4s", VARIANTS, scored, learned, runs, variants, seeds, precision="fp32", resume=True)


def measure(run: studies.Run, faces: Faces) -> studies.Found:
    """Train, and measure how faces are reconstructed."""
    family, totals = run.train()
    scores, images = score_reconstructions(family, faces)
    row = {**scores, "steps": totals["steps"], "seconds": totals["seconds"]}
    return studies.Found([row], {run.title: to_uint8(images[:SHOWN])})


@torch.no_grad()
def score_reconstructions(family: E4S, faces: Faces) -> tuple[dict[str, float], torch.Tensor]:
    """Score how well faces are reconstructed: the paper's measures, and two distances of features."""
    shown = torch.cat([family.decode(family.encode(faces[rows])) for rows in torch.arange(len(faces)).split(32)])
    squares = (to_unit(shown) - to_unit(faces.images)).square().mean((1, 2, 3))
    distance = perceptual.feature_distance(judges.load("identity_linear"))
    return {
        "ssim": float(metrics.ssim(shown, faces.images).mean()),
        "psnr": float(metrics.psnr(shown, faces.images).mean()),
        "rmse": float(squares.sqrt().mean()),
        "frechet": fidelity.frechet_distance(
            fidelity.gather_features(shown.split(32)), fidelity.gather_features(faces.images.split(32))
        ),
        "perceptual": float(distance(shown, faces.images).mean()),
    }, shown
