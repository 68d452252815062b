"""Swaps of photographs that nobody was trained on, by the released weights, as tables of lessons.

    python scripts/photograph_table.py celebahq --pairs 500
    python scripts/photograph_table.py celebahq --pairs 200 --lesson mask_guided

The folder is a prepared dataset with landmarks, whose split "val" is taken. All weights but rsgan's second file know
rendered faces only. Saves figures/LESSON/table_photographs (RSGAN's: table1_photographs), and enters RSGAN's
photographs into what the notebook 20_rsgan entered for R1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaplib import claims, data, families, figures, latent, metrics, weights

COLUMNS = ["to_source", "to_target", "nearer_source", "detected", "reconstruction_error", "reconstruction_ms_ssim"]
COLUMNS += ["twice_error", "twice_ms_ssim", "seconds"]
TRAINED = {"rsgan": ("vae_gan", "ali", "alpha_gan", "rsgan"), "mask_guided": ("rsgan", "mask_guided")}
"""Lesson -> whose weights are compared there."""


def main(
    folder: Path,
    pairs: int = 500,
    jobs: int = 2,
    lesson: Annotated[str, typer.Option(help=f"One of {', '.join(TRAINED)}.")] = "rsgan",
) -> None:
    """Measure them and save their table."""
    systems = {name: families.load(name) for name in ("landmarks", *TRAINED[lesson])}
    used = [weights.released(name, "demo") for name in TRAINED[lesson]]
    if lesson == "rsgan":
        systems["rsgan, photo"] = families.load("rsgan", "photo")
        used.append(weights.released("rsgan", "photo"))
    else:
        family = systems[lesson]
        systems[f"{lesson}+"] = latent.Wrapped(family, f"{lesson}+", family.swap_plus)
    found = metrics.measure(systems, pairs, jobs=jobs, photographs=data.open(folder).split("val"))
    table = metrics.summarise(found)
    keep = [name for name in table if name == "pairs" or name.startswith(tuple(COLUMNS))]
    caption = f"{lesson} and others on {pairs} pairs of held-out photographs ({folder.name})."
    file, paper = f"{lesson}/table_photographs", None
    if lesson == "rsgan":
        file, paper = "rsgan/table1_photographs", "RSGAN Table 1"
    text = metrics.table_markdown(table, COLUMNS)
    figures.save_table(table[keep], file, paper, caption, markdown=text, checkpoints=used, seed=0)
    if lesson == "rsgan":
        made = found.groupby("system", sort=False)["reconstruction_error"].apply(lambda column: column.notna().mean())
        complete(f"of {pairs} pairs of photographs {made['rsgan']:.1%} swapped, by landmarks {made['landmarks']:.1%}")
    typer.echo(metrics.table_markdown(table, ["to_source", "nearer_source", "detected", "twice_error"]))


def complete(told: str) -> None:
    """Put the photographs in the place of those that R1's entry has, if it has any."""
    entry = claims.results().get("R1")
    if entry is None:
        raise SystemExit("R1 has no entry yet: run 20_rsgan on rendered pairs first, then this again")
    rendered = entry["result"].partition("; of ")[0]
    claims.record(
        "R1", f"{rendered}; {told}", entry["spread"], entry["verdict"], entry["reason"], **entry["conditions"]
    )


if __name__ == "__main__":
    typer.run(main)
