"""Swaps of photographs that no model was trained on, by the released weights: the tables of lessons.

    swaplib study photographs celebahq --pairs 500
    swaplib study photographs celebahq --pairs 150 --lesson mask_guided
    swaplib study photographs celebahq --pairs 100 --lesson e4s

The folder is a prepared dataset with landmarks, whose split "val" is used. All weights but those called "photo" were
trained on rendered faces only. The first table is RSGAN's Table 1; its column `detected` is what the notebook 20_rsgan
says of photographs beside claim R1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
import typer

from swaplib import data, families, figures, latent, metrics, weights
from swaplib.families import Family
from swaplib.latent import reenactment

COLUMNS = ["to_source", "to_target", "nearer_source", "detected", "reconstruction_error", "reconstruction_ms_ssim"]
COLUMNS += ["twice_error", "twice_ms_ssim", "seconds"]


def rsgan() -> dict[str, Family]:
    """Load RSGAN, from both its files, and its rivals."""
    names = ("landmarks", "vae_gan", "ali", "alpha_gan", "rsgan")
    return {name: families.load(name) for name in names} | {"rsgan, photo": families.load("rsgan", "photo")}


def mask_guided() -> dict[str, Family]:
    """Load Mask-Guided Portrait Editing, also as its paper swaps, without and with the hair, and others."""
    systems = {name: families.load(name) for name in ("landmarks", "rsgan", "mask_guided")}
    family = systems["mask_guided"]
    ways = {"as printed": family.swap_printed, "printed+": family.swap_plus}
    return systems | {f"mask_guided, {name}": latent.Wrapped(family, name, taken) for name, taken in ways.items()}


def e4s() -> dict[str, Family]:
    """Load E4S from both its files, with sources as they are and driven by landmarks, LatentSwap and others."""
    systems = {name: families.load(name) for name in ("landmarks", "rsgan", "latent_swap", "e4s")}
    systems["e4s, photo"] = families.load("e4s", "photo")
    driver = reenactment.load("landmarks")
    return systems | {f"{name}, landmarks": latent.Driven(systems[name], driver) for name in ("e4s", "e4s, photo")}


class Lesson(NamedTuple):
    """One lesson's table.

    systems: makes them; table: its name in the gallery; paper: what it regenerates; who: for the caption; files: of
    released weights, with their presets.
    """

    systems: Callable[[], dict[str, Family]]
    table: str
    paper: str | None
    who: str
    files: tuple[tuple[str, str], ...]


VARIANTS = {
    "rsgan": Lesson(
        rsgan, "rsgan/table1_photographs", "RSGAN Table 1", "RSGAN and its opponents",
        (("vae_gan", "demo"), ("ali", "demo"), ("alpha_gan", "demo"), ("rsgan", "demo"), ("rsgan", "photo")),
    ),
    "mask_guided": Lesson(
        mask_guided, "mask_guided/table_photographs", None, "Mask-Guided Portrait Editing and others",
        (("rsgan", "demo"), ("mask_guided", "demo")),
    ),
    "e4s": Lesson(
        e4s, "e4s/table_photographs", "E4S, comparison of swaps", "E4S, LatentSwap and others",
        (("rsgan", "demo"), ("latent_swap", "demo"), ("e4s", "demo"), ("e4s", "photo")),
    ),
}  # fmt: skip


def main(
    folder: Annotated[Path, typer.Argument(help="A prepared dataset with landmarks.")],
    pairs: Annotated[int, typer.Option(help="Of photographs.")] = 500,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    lesson: Annotated[str, typer.Option(help=f"One of {', '.join(VARIANTS)}.")] = "rsgan",
) -> None:
    """Measure a lesson's systems and save their table."""
    if lesson not in VARIANTS:
        raise ValueError(f"there is no lesson {lesson!r}: choose one of {', '.join(VARIANTS)}")
    chosen = VARIANTS[lesson]
    found = measure(chosen, data.open(folder).split("val"), pairs, jobs)
    table = metrics.summarise(found)
    keep = [name for name in table if name == "pairs" or name.startswith(tuple(COLUMNS))]
    caption = f"{chosen.who} on {pairs} pairs of held-out photographs ({folder.name})."
    text = metrics.table_markdown(table, COLUMNS)
    used = [weights.find_released(*file) for file in chosen.files]
    figures.save_table(table[keep], chosen.table, chosen.paper, caption, markdown=text, checkpoints=used, seed=0)
    typer.echo(metrics.table_markdown(table, ["to_source", "nearer_source", "detected", "twice_error"]))


def measure(lesson: Lesson, photographs: data.Dataset, pairs: int, jobs: int = 2) -> pd.DataFrame:
    """Measure a lesson's systems on pairs of photographs."""
    return metrics.measure(lesson.systems(), pairs, jobs=jobs, photographs=photographs)
