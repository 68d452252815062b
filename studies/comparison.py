"""The one table: every system with weights, its driven variants, its opponents, trivial answers and ceilings.

    swaplib study comparison
    swaplib study comparison --world wild --name wild_500

Saves studies/results/NAME.csv: means, spreads, intervals.
"""

from __future__ import annotations

import time
from typing import Annotated

import pandas as pd
import typer

from swaplib import families, latent, metrics, provenance
from swaplib.families import Family
from swaplib.latent import reenactment
from swaplib.workbook import studies

VARIANTS = (
    "target", "landmarks", "rsgan", "mask_guided", "smooth_swap", "latent_swap", "e4s",
    "vae_gan", "ali", "alpha_gan",
)  # fmt: skip
DRIVEN = ("rsgan", "e4s", "mask_guided")
"""Systems that take the source's shot along, or whose paper drives it first, or whose masks may differ in pose."""


def main(
    name: Annotated[str, typer.Option(help="Of the table.")] = "comparison_500",
    pairs: Annotated[int, typer.Option(min=2, help="How many.")] = 500,
    world: Annotated[str, typer.Option(help="Which set of pairs.")] = "calm",
    preset: Annotated[str, typer.Option(help="Size of the systems.")] = "demo",
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Measure all systems on the same pairs and save their table."""
    start = time.perf_counter()
    table = measure(pairs, world, preset, jobs)
    with provenance.replacing(studies.results(f"{name}.csv")) as temporary:
        table.to_csv(temporary, float_format="%.6g")
    shown = ["psnr_face", "ssim_face_moved", "to_source", "nearer_source", "top_1", "gaze", "skin", "sharpness"]
    typer.echo(metrics.table_markdown(table, shown))
    typer.echo(f"\n{studies.results(f'{name}.csv')}, in {time.perf_counter() - start:.0f} s")


def measure(pairs: int, world: str, preset: str, jobs: int) -> pd.DataFrame:
    """Score all systems on the pairs of a set, and say which truth each one promises."""
    options = {"world": world, "preset": preset, "jobs": jobs, "ceilings": True, "people": 1000}
    table = metrics.summarise(metrics.measure(list_systems(preset), pairs, **options))
    table.insert(0, "promises", [tell_promise(system) for system in table.index])
    return table


def list_systems(preset: str) -> dict[str, Family]:
    """Return the systems with weights, also as their papers print them, driven by landmarks, and driven exactly."""
    systems = {name: families.load(name, preset) for name in VARIANTS if name in families.ready(preset)}
    for name, system in list(systems.items()):
        if system.swap_printed:
            systems[f"{name}, as printed"] = latent.Wrapped(system, name, system.swap_printed)
    for name in (one for one in DRIVEN if one in systems):
        for title, driver in (("driven by landmarks", "landmarks"), ("driven exactly", "exact")):
            systems[f"{name}, {title}"] = latent.Driven(systems[name], reenactment.load(driver))
    return systems


def tell_promise(system: str) -> str:
    """Say which truth a row's paper promises: the target's shot, or the source's."""
    name = system.split(",")[0]
    moved = name in families.NAMES and "driven" not in system and families.kind(name).moved
    return "the source's expression, pose and light" if moved else "the target's shot"
