"""RSGAN's Table 1 at equal budget: four autoencoders, each trained for as many processor seconds.

    python scripts/equal_budget.py runs/fair --pairs 1000

The folder holds rsgan_demo.safetensors and the three others, by `swaplib train NAME --out runs/fair --steps …`.
Saves figures/rsgan/table1_equal and, given prepared photographs, the same table on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaplib import data, families, figures, metrics, weights

NAMES = ("vae_gan", "ali", "alpha_gan", "rsgan")


def main(
    folder: Path,
    pairs: int = 1000,
    photographs: Annotated[Path | None, typer.Option(help="A prepared dataset that no one was trained on.")] = None,
    jobs: int = 2,
) -> None:
    """Measure the four and save their table."""
    files = {name: folder / f"{name}_demo.safetensors" for name in NAMES}
    systems = {name: families.load(name, file=file) for name, file in files.items()}
    cards = {name: weights.read_card(file) for name, file in files.items()}
    budget = ", ".join(
        f"{name} {card['images']:,} images in {card['seconds'] / 60:.0f} min" for name, card in cards.items()
    )
    faces = None if photographs is None else data.open(photographs)
    table = metrics.evaluate(systems, pairs, jobs=jobs, photographs=faces)
    where = "photographs" if faces else "rendered pairs"
    name = "rsgan/table1_equal" + ("_photographs" if faces else "")
    caption = f"RSGAN's Table 1 at equal budget, {pairs} {where} ({budget})."
    text = metrics.table_markdown(table)
    figures.save_table(table, name, "RSGAN Table 1", caption, markdown=text, checkpoints=files.values(), seed=0)
    typer.echo(metrics.table_markdown(table, ["to_source", "reconstruction_error", "twice_error", "detected"]))


if __name__ == "__main__":
    typer.run(main)
