"""The one table: every system with weights, its driven variants, its opponents, trivial answers and ceilings.

    swaplib study comparison
    swaplib study comparison --world wild --name wild_500
    swaplib study comparison --only e4s --only latent_swap      after new weights of these

Saves studies/results/NAME.csv: means, spreads, intervals.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import pandas as pd
import typer

from swaplib import families, latent, metrics, provenance, weights
from swaplib.families import Family
from swaplib.latent import reenactment
from swaplib.workbook import studies

VARIANTS = (
    "target", "landmarks", "rsgan", "mask_guided", "smooth_swap", "latent_swap", "e4s",
    "vae_gan", "ali", "alpha_gan",
)  # fmt: skip
DRIVEN = ("rsgan", "e4s", "mask_guided")
"""Systems that take the source's shot along, or whose paper drives it first, or whose masks may differ in pose."""

SHOWN = ("rsgan", "latent_swap", "e4s")
"""Systems that draw the whole picture from codes: the true swap's own say how much of it these can hold."""


def main(
    name: Annotated[str, typer.Option(help="Of the table.")] = "comparison_500",
    pairs: Annotated[int, typer.Option(min=2, help="How many.")] = 500,
    world: Annotated[str, typer.Option(help="Which set of pairs.")] = "calm",
    preset: Annotated[str, typer.Option(help="Size of the systems.")] = "demo",
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="Measure this system; the table's other rows stay.")] = None,
) -> None:
    """Measure all systems on the same pairs and save their table."""
    start = time.perf_counter()
    table = measure(pairs, world, preset, jobs, only or ())
    if only:
        table = renew(pd.read_csv(studies.results(f"{name}.csv")).set_index("system"), table)
    with provenance.replacing(studies.results(f"{name}.csv")) as temporary:
        table.to_csv(temporary, float_format="%.6g")
    shown = ["psnr_face", "ssim_face_moved", "to_source", "nearer_source", "top_1", "gaze", "skin", "sharpness"]
    typer.echo(metrics.table_markdown(table, shown))
    typer.echo(f"\n{studies.results(f'{name}.csv')}, in {time.perf_counter() - start:.0f} s")


def measure(pairs: int, world: str, preset: str, jobs: int, only: Sequence[str] = ()) -> pd.DataFrame:
    """Score systems on the pairs of a set, all or some, and say which truth each one promises."""
    options = {"world": world, "preset": preset, "jobs": jobs, "ceilings": not only, "people": 1000}
    table = metrics.summarise(metrics.measure(list_systems(preset, only), pairs, **options))
    table.insert(0, "promises", [tell_promise(system) for system in table.index])
    return table


def renew(table: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the rows that were measured again, at their old places, and with new ones at its end.

    Raises ValueError where both were not measured on the same number of pairs.
    """
    if set(table["pairs"]) != set(fresh["pairs"]):
        raise ValueError(f"the table's rows are of {table['pairs'].iloc[0]} pairs: choose as many, or measure all")
    fresh = fresh.rename_axis(table.index.name)[table.columns]
    order = [*table.index, *(system for system in fresh.index if system not in table.index)]
    return pd.concat([table.drop(index=fresh.index, errors="ignore"), fresh]).loc[order]


def list_systems(preset: str, only: Sequence[str] = ()) -> dict[str, Family]:
    """Return the systems with weights; also as printed, told the truth, driven in two ways, and shown the truth.

    Raises ValueError for a name in `only` that is none of them.
    """
    for name in only:
        if name not in VARIANTS:
            raise ValueError(f"the table has no system {name!r}: choose among {', '.join(VARIANTS)}")
    ready = [name for name in VARIANTS if name in families.ready(preset) and (not only or name in only)]
    systems = {name: families.load(name, preset) for name in ready}
    for name in ready:
        if systems[name].swap_printed:
            systems[f"{name}, as printed"] = latent.Wrapped(systems[name], name, systems[name].swap_printed)
        if weights.find_released(name, "printed").exists():
            systems[f"{name}, as printed"] = families.load(name, "printed")
        if weights.find_released(name, "known").exists():
            systems[f"{name}, told the truth"] = families.load(name, "known")
    for name in (one for one in DRIVEN if one in systems):
        for title, driver in (("driven by landmarks", "landmarks"), ("driven exactly", "exact")):
            systems[f"{name}, {title}"] = latent.Driven(systems[name], reenactment.load(driver))
    for name in (one for one in SHOWN if one in systems):
        systems[f"{name}, shown the true swap"] = latent.Shown(systems[name])
    return systems


def tell_promise(system: str) -> str:
    """Say which truth a row's paper promises: the target's shot, or the source's."""
    name = system.split(",")[0]
    moved = name in families.NAMES and not {"driven", "shown"} & set(system.split()) and families.kind(name).moved
    return "the source's expression, pose and light" if moved else "the target's shot"
