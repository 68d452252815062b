"""E4S with and without two of its ideas, trained alike: claim E1, Table 1.

    python scripts/e4s_study.py runs/faces_calm_64 runs/study

Full, (C) without the multi-scale perceptual loss and (D) without the multi-scale encoder learn from the same pictures
in the same order, and then reconstruct held-out ones. Saves beside the weights e4s_study.csv (a row a variant) and
e4s_study.npz (variant -> uint8 (faces, H, W, 3), and the faces themselves). Given names of variants, only those are
made anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from swaplib import data, judges, metrics, weights
from swaplib.faces import Faces, to_uint8, to_unit
from swaplib.families.e4s import ABLATIONS, E4S, Config
from swaplib.judges import fidelity, perceptual
from swaplib.training import recipes

VARIANTS = {"full": {}, **ABLATIONS}
HELD_OUT, SHOWN = 256, 6


def main(faces: str, runs: str, *chosen: str) -> None:
    torch.set_num_threads(1)
    dataset = data.open(faces)
    held_out = dataset.split("val")[list(range(HELD_OUT))].resize(Config.study().size)
    file = weights.FOLDER / "e4s_study.csv"
    rows = pd.read_csv(file).to_dict("records") if chosen and file.exists() else []
    rows = [row for row in rows if row["variant"] not in chosen]
    pictures = dict(np.load(file.with_suffix(".npz"))) if chosen and file.exists() else {}
    pictures["faces"] = to_uint8(held_out.images[:SHOWN])
    for variant in chosen or VARIANTS:
        config, place = Config.study(**VARIANTS[variant]), Path(runs) / variant
        for _ in recipes.studied("e4s", config, dataset.split("train"), place, precision="fp32"):
            pass
        family, totals = recipes.result("e4s", config, place)
        found, images = measure(family.eval(), held_out)
        rows.append({"variant": variant, **found, "steps": totals["steps"], "seconds": totals["seconds"]})
        pictures[variant] = to_uint8(images[:SHOWN])
        np.savez_compressed(file.with_suffix(".npz"), **pictures)
        pd.DataFrame(rows).round(5).to_csv(file, index=False)
        print(rows[-1], flush=True)


@torch.no_grad()
def measure(family: E4S, faces: Faces) -> tuple[dict[str, float], torch.Tensor]:
    """How well it shows faces again: the paper's measures, and two distances of features."""
    shown = torch.cat([family.decode(family.encode(faces[rows])) for rows in torch.arange(len(faces)).split(32)])
    squares = (to_unit(shown) - to_unit(faces.images)).square().mean((1, 2, 3))
    distance = perceptual.features(judges.load("identity_linear"))
    return {
        "ssim": float(metrics.ssim(shown, faces.images).mean()),
        "psnr": float(metrics.psnr(shown, faces.images).mean()),
        "rmse": float(squares.sqrt().mean()),
        "frechet": fidelity.frechet(fidelity.gather(shown.split(32)), fidelity.gather(faces.images.split(32))),
        "perceptual": float(distance(shown, faces.images).mean()),
    }, shown


if __name__ == "__main__":
    main(*sys.argv[1:])
