"""RSGAN's Table 1 at equal budget: four autoencoders, each trained for the same number of processor seconds.

    swaplib study equal_budget runs/fair --pairs 1000

The folder holds rsgan_demo.safetensors and the three others, by `swaplib train NAME --out runs/fair --steps …`.
Saves figures/rsgan/table1_equal and, given prepared photographs, the same table on them. RSGAN's demo has 128 px since
that table was made, the others have 64: to compare alike, train it with a config of 64 px.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from swaplib import data, families, figures, metrics, weights

VARIANTS = ("vae_gan", "ali", "alpha_gan", "rsgan")


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with the weights of the four.")],
    pairs: Annotated[int, typer.Option(help="Of the table.")] = 1000,
    photographs: Annotated[Path | None, typer.Option(help="A prepared dataset that none was trained on.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Measure the four and save their table."""
    files = {name: folder / f"{name}_demo.safetensors" for name in VARIANTS}
    cards = {name: weights.read_card(file) for name, file in files.items()}
    faces = None if photographs is None else data.open(photographs)
    table = measure(files, pairs, faces, jobs)
    budget = ", ".join(
        f"{name} {card['images']:,} images in {card['seconds'] / 60:.0f} min" for name, card in cards.items()
    )
    where = "photographs" if faces else "rendered pairs"
    name = "rsgan/table1_equal" + ("_photographs" if faces else "")
    caption = f"RSGAN's Table 1 at equal budget, {pairs} {where} ({budget})."
    text = metrics.table_markdown(table)
    figures.save_table(table, name, "RSGAN Table 1", caption, markdown=text, checkpoints=files.values(), seed=0)
    typer.echo(metrics.table_markdown(table, ["to_source", "reconstruction_error", "twice_error", "detected"]))


def measure(files: Mapping[str, Path], pairs: int, faces: data.Dataset | None, jobs: int) -> pd.DataFrame:
    """Measure the systems in some files of weights: on photographs where there are any, else on rendered pairs."""
    systems = {name: families.load(name, file=file) for name, file in files.items()}
    return metrics.evaluate(systems, pairs, jobs=jobs, photographs=faces)
