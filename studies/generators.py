"""Ways to teach a generator, each for the same time on one core: lesson 23's curves.

    swaplib study generators runs/faces_calm_64 runs/study --minutes 30

As an auto-encoder's second half, as the renderer's pupil, both with a projected discriminator that joins in the second
half, and by a discriminator alone (R3GAN's loss, as what is best for small pictures). Random pictures are compared with
held-out ones during training, as is another crowd of true faces (`frechet_true`). Saves generators.csv, and some of the
last pictures as generators.npz: variant -> uint8 (pictures, H, W, 3).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
import typer

from swaplib import data
from swaplib.faces import Faces, to_uint8
from swaplib.generators.stylegan2 import Config, StyleGAN2
from swaplib.judges import fidelity
from swaplib.metrics.details import average_sharpness
from swaplib.training.loop import Step
from swaplib.workbook import studies

SMALL = replace(
    Config.demo(), size=64, base=1536, most=160, z=128, w=160, pupil=False, projected=False, adversarial=0,
    last_rate=0.05
)  # fmt: skip
PUPIL, JUDGED = {"pupil": True}, {"projected": True, "adversarial": 0.1}
ALONE = {"read": 0, "adversarial": 1, "paired": True, "path": 0, "penalty_every": 8, "penalty": 4}  # γ = 1
CHANGES = {
    "auto-encoder": {}, "auto-encoder, discriminator": JUDGED, "pupil": PUPIL, "pupil, discriminator": PUPIL | JUDGED,
    "discriminator alone": ALONE,
}  # fmt: skip
VARIANTS = {name: ("stylegan2", replace(SMALL, **changes)) for name, changes in CHANGES.items()}
PICTURES, SHOWN, POINTS = 1000, 12, 6
Described = tuple[torch.Tensor, float]
"""A crowd: features (N, D), and how sharp its pictures are."""


def main(
    faces: studies.Faces,
    runs: studies.Runs,
    variants: studies.Chosen = None,
    minutes: Annotated[float, typer.Option(help="Of training, for each.")] = 30,
) -> None:
    """Train a generator in five ways, and compare its random pictures with held-out ones during training."""
    dataset = data.open(faces)
    held_out, other = dataset.split("val")[list(range(2 * PICTURES))].resize(SMALL.size).images.split(PICTURES)
    learned = dataset.split("train")
    fitted = learned[list(range(min(2000, len(learned))))]
    own = describe(held_out)
    floor = compare(other, own)["frechet"]
    scored = partial(measure, own=own, floor=floor, learned=fitted, every=60 * minutes / POINTS)
    studies.make("generators", VARIANTS, scored, learned, runs, variants, minutes=minutes)


def measure(run: studies.Run, own: Described, floor: float, learned: Faces, every: float) -> studies.Found:
    """Train, and compare random pictures with true ones at equal intervals of training time and at the end.

    own, floor: what `describe` says of the true ones, and the Fréchet distance of others from them.
    """
    rows, shown, due = [], None, every
    count, size = len(own[0]), run.config.size
    for images, seconds, step, last in _count_through(run):
        if seconds < due and not last:
            continue
        due += every
        drawn = draw(step.model, learned, count, size)
        rows.append({"images": images, "seconds": seconds, **compare(drawn, own), "frechet_true": floor})
        shown = to_uint8(drawn[:SHOWN])
    return studies.Found(rows, {run.title: shown})


def _count_through(run: studies.Run) -> Iterator[tuple[int, float, Step, bool]]:
    """Yield images and seconds of all stages together, the step, and whether it is the run's last."""
    before, ended, left = (0, 0.0), None, len(StyleGAN2.stages(run.config))
    for step in run.steps():
        if ended:
            before, ended = (before[0] + ended.images, before[1] + ended.seconds), None
        if step.end:
            ended, left = step, left - 1
        yield before[0] + step.images, before[1] + step.seconds, step, not left


@torch.no_grad()
def draw(model: StyleGAN2, learned: Faces, count: int, size: int) -> torch.Tensor:
    """Draw random pictures of a generator as it would be, were the training to end here."""
    model = copy.deepcopy(model).requires_grad_(True)  # averaged weights ask for no gradients
    model.on_train_end(learned.resize(model.config.size))
    return Faces(torch.cat([model(ws) for ws in model.sample(count, 0).split(32)])).resize(size).images


def describe(images: torch.Tensor) -> Described:
    """Return the features of pictures, and how sharp they are."""
    return fidelity.gather_features(images.split(32)), average_sharpness(images)


def compare(images: torch.Tensor, own: Described) -> dict[str, float]:
    """Score random pictures: Fréchet distance, precision, recall, and sharpness as a share of the true pictures'."""
    features, sharpness = describe(images)
    precision, recall = fidelity.precision_recall(features, own[0])
    return {
        "frechet": fidelity.frechet_distance(features, own[0]),
        "precision": precision,
        "recall": recall,
        "sharpness": sharpness / own[1],
    }
