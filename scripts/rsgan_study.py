"""RSGAN's variants at 32 px, trained alike: claims R5 to R7 and Figure A6 of the notebook 20_rsgan.

    python scripts/rsgan_study.py runs/faces_calm_64 runs/study

Each variant goes through the same pictures in the same order. Saves its weights into swaplib/checkpoints/ and the
curves of all into rsgan_study.csv beside them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import torch

from swaplib import data, weights
from swaplib.families.rsgan import Config
from swaplib.training import recipes

VARIANTS = {
    "paper": {},
    "no_random": {"random_branch": False},
    "plain": {"variational": False, "random_branch": False},
    "lstm": {"lstm": True},
    "regional": {"regional": True},
}


def main(faces: str, runs: str, *chosen: str) -> None:
    torch.set_num_threads(1)
    dataset = data.open(faces).split("train")
    for name in chosen or VARIANTS:
        config = Config.study(**VARIANTS[name])
        place = Path(runs) / name
        for _ in recipes.studied("rsgan", config, dataset, place, resume=True):
            pass
        family, totals = recipes.result("rsgan", config, place)
        card = weights.Card(
            data=f"{len(dataset):,} faces: {dataset.card['what']}",
            hardware=weights.hardware(),
            command="python scripts/rsgan_study.py",
            licence=", ".join(sorted(set(dataset.metadata["licence"]))),
            **totals,
        )
        print(weights.save(family, weights.FOLDER / f"rsgan_study_{name}.safetensors", card), totals, flush=True)
    found = {name: Path(runs) / name for name in VARIANTS if (Path(runs) / name).exists()}
    logs = [recipes.log("rsgan", Config.study(**VARIANTS[k]), v).assign(variant=k) for k, v in found.items()]
    columns = [
        "variant",
        "images",
        "autoencoder/reconstruction",
        "autoencoder/face_reconstruction",
        "judges/classification",
    ]
    table = pd.concat(logs)[columns]
    smooth = table.assign(images=table.images // 1600 * 1600).groupby(["variant", "images"], sort=False).mean()
    smooth.round(5).to_csv(weights.FOLDER / "rsgan_study.csv")


if __name__ == "__main__":
    main(*sys.argv[1:])
