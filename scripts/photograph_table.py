"""RSGAN's Table 1 on photographs that nobody was trained on, by the released weights: claim R1's second half.

    python scripts/photograph_table.py celebahq --pairs 500

The folder is a prepared dataset with landmarks, whose split "val" is taken. All weights but rsgan's second file know
rendered faces only. Saves figures/rsgan/table1_photographs.
"""

from __future__ import annotations

from pathlib import Path

import typer

from swaplib import data, families, figures, metrics, weights

NAMES = ("landmarks", "vae_gan", "ali", "alpha_gan", "rsgan")


def main(folder: Path, pairs: int = 500, jobs: int = 2) -> None:
    """Measure them and save their table."""
    systems = {name: families.load(name) for name in NAMES} | {"rsgan, photo": families.load("rsgan", "photo")}
    found = metrics.measure(systems, pairs, jobs=jobs, photographs=data.open(folder).split("val"))
    table = metrics.summarise(found)
    caption = f"RSGAN and its opponents on {pairs} pairs of held-out photographs ({folder.name})."
    text = metrics.table_markdown(table)
    used = [weights.released(name, "demo") for name in NAMES[1:]] + [weights.released("rsgan", "photo")]
    figures.save_table(
        table, "rsgan/table1_photographs", "RSGAN Table 1", caption, markdown=text, checkpoints=used, seed=0
    )
    made = found.groupby("system", sort=False)["reconstruction_error"].apply(lambda column: column.notna().mean())
    typer.echo(f"share of pairs with a picture: {made.to_dict()}")
    typer.echo(metrics.table_markdown(table, ["to_source", "nearer_source", "detected", "twice_error"]))


if __name__ == "__main__":
    typer.run(main)
