"""RSGAN's variants at 32 px, trained alike: claims R5 to R7 and Figure A6 of the notebook 20_rsgan.

    swaplib study rsgan runs/faces_calm_64 runs/study

Each variant sees the same pictures in the same order. Saves rsgan.csv, the losses during training; rsgan_calm.csv and
rsgan_wild.csv, each variant's row of the comparison table on 200 pairs; and rsgan.npz, five swaps of each.
"""

from __future__ import annotations

from swaplib import data, metrics, synthetic
from swaplib.faces import to_uint8
from swaplib.families.rsgan import Config
from swaplib.workbook import recipes, studies

VARIANTS = {
    "paper": ("rsgan", Config.study()),
    "no_random": ("rsgan", Config.study(random_branch=False)),
    "plain": ("rsgan", Config.study(variational=False, random_branch=False)),
    "lstm": ("rsgan", Config.study(lstm=True)),
    "regional": ("rsgan", Config.study(regional=True)),
}
LOSSES = ["autoencoder/reconstruction", "autoencoder/face_reconstruction", "discriminators/classification"]
EVERY = 1600  # images over which losses are averaged
PAIRS = 200


def main(faces: studies.Faces, runs: studies.Runs, variants: studies.Chosen = None, seeds: studies.Seeds = 1) -> None:
    """Train RSGAN's variants, and keep their losses, scores and swaps. A stopped run is resumed."""
    learned = data.open(faces).split("train")
    studies.make("rsgan", VARIANTS, measure, learned, runs, variants, seeds, resume=True)


def measure(run: studies.Run) -> studies.Found:
    """Train, save the variant's rows of the comparison table, and return its losses during training and five swaps."""
    family, _ = run.train()
    for world in ("calm", "wild"):
        table = metrics.evaluate({run.title: family}, PAIRS, world=world, progress=False)
        studies.save_rows(f"rsgan_{world}.csv", run.title, [table.loc[run.title].to_dict()], VARIANTS, run.seed)
    shown = synthetic.render_faces(10, 0, metrics.HELD_OUT + 100, size=128).resize(family.config.size)
    source, target = shown[::2], shown[1::2]
    pictures = {"source": source.images, "target": target.images, run.title: family.swap(source, target)}
    log = recipes.read_log(run.name, run.config, run.folder)[["images", *LOSSES]]
    means = log.assign(images=log["images"] // EVERY * EVERY).groupby("images", sort=False).mean()
    kept = {name: to_uint8(images) for name, images in pictures.items()}
    return studies.Found(means.reset_index().to_dict("records"), kept)
