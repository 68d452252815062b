"""RSGAN's Table 1 on photographs that nobody was trained on, by the released weights: claim R1's second half.

    python scripts/photograph_table.py celebahq --pairs 500

The folder is a prepared dataset with landmarks, whose split "val" is taken. All weights but rsgan's second file know
rendered faces only. Saves figures/rsgan/table1_photographs, and enters the photographs into what the notebook 20_rsgan
entered for R1.
"""

from __future__ import annotations

from pathlib import Path

import typer

from swaplib import claims, data, families, figures, metrics, weights

NAMES = ("landmarks", "vae_gan", "ali", "alpha_gan", "rsgan")
COLUMNS = ["to_source", "to_target", "nearer_source", "detected", "reconstruction_error", "reconstruction_ms_ssim"]
COLUMNS += ["twice_error", "twice_ms_ssim", "seconds"]


def main(folder: Path, pairs: int = 500, jobs: int = 2) -> None:
    """Measure them and save their table."""
    systems = {name: families.load(name) for name in NAMES} | {"rsgan, photo": families.load("rsgan", "photo")}
    found = metrics.measure(systems, pairs, jobs=jobs, photographs=data.open(folder).split("val"))
    table = metrics.summarise(found)
    keep = [name for name in table if name == "pairs" or name.startswith(tuple(COLUMNS))]
    caption = f"RSGAN and its opponents on {pairs} pairs of held-out photographs ({folder.name})."
    text = metrics.table_markdown(table, COLUMNS)
    used = [weights.released(name, "demo") for name in NAMES[1:]] + [weights.released("rsgan", "photo")]
    figures.save_table(
        table[keep], "rsgan/table1_photographs", "RSGAN Table 1", caption, markdown=text, checkpoints=used, seed=0
    )
    made = found.groupby("system", sort=False)["reconstruction_error"].apply(lambda column: column.notna().mean())
    complete(f"of {pairs} pairs of photographs {made['rsgan']:.1%} swapped, by landmarks {made['landmarks']:.1%}")
    typer.echo(f"share of pairs with a picture: {made.to_dict()}")
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
