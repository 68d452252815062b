"""Put trained weights into the package: measured, with the row of the comparison table on their card.

    python scripts/release.py rsgan demo runs/rsgan_demo.safetensors --notes "What was tried, what falls short."
    python scripts/release.py parser demo runs/parser_demo.safetensors --data faces --data photographs

Families are measured on rendered pairs, judges and generators on the held-out part of prepared datasets.

The old weights' row, where there are any, is printed beside the new one: replace weights only by better ones.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from swaplib import data as datasets
from swaplib import metrics, weights
from swaplib.training import recipes
from swaplib.training.model import Teacher

COLUMNS = ("psnr_face", "ssim_face", "to_source", "nearer_source", "detected", "reconstruction_error",
           "reconstruction_ms_ssim", "twice_error", "twice_ms_ssim")  # fmt: skip


def main(
    name: str,
    preset: str,
    file: Path,
    pairs: Annotated[int, typer.Option(help="Rendered calm pairs that the row is measured on.")] = 200,
    notes: Annotated[str, typer.Option(help="Markdown for the card's end.")] = "",
    size: Annotated[int, typer.Option(help="Edge of the rendered pictures.")] = 128,
    data: Annotated[
        list[Path] | None, typer.Option(help="Prepared datasets to measure a judge or generator on.")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Folders of the runs that led to FILE, in order: their log is kept.")
    ] = None,
) -> None:
    """Measure the weights in FILE and save them as the released ones of the family or judge NAME at a preset."""
    family = recipes.registry(name).load(name, file=file)
    known = weights.read_card(file)
    if isinstance(family, Teacher):
        results = {}
        for folder in data or []:
            found = family.report(datasets.open(folder).split("val"))
            results |= {f"{key}, {folder.name}": round(value, 4) for key, value in found.items()}
    else:
        table = metrics.evaluate({name: family}, pairs, size=size, progress=False)
        results = {column: round(float(table.loc[name, column]), 4) for column in COLUMNS} | {"pairs": pairs}
    path = weights.find_released(name, preset)
    before = weights.read_card(path)["results"] if path.with_suffix(".md").exists() else {}
    for column, value in results.items():
        typer.echo(f"{column:<32} {value:>8} {f'was {before[column]}' if column in before else ''}")
    facts = {item.name: known[item.name] for item in fields(weights.Card) if item.name in known}
    facts |= {"results": results, "notes": notes}
    if run:
        log = whole_log(name, family.config, run)
        log.to_csv(path.with_suffix(".csv"), index=False)
        facts |= {
            "steps": int(log["step"].max()),
            "images": int(log["images"].max()),
            "seconds": float(log["seconds"].max()),
        }
    typer.echo(weights.save(family, path, weights.Card(**facts)))


def whole_log(name: str, preset: Any, runs: list[Path], rows: int = 300) -> pd.DataFrame:
    """The logs of runs that followed each other, counted through and averaged into about so many rows."""
    tables, before = [], {"step": 0, "images": 0, "seconds": 0.0}
    for number, folder in enumerate(runs, 1):
        table = recipes.log(name, preset, folder)
        for column, done in before.items():
            table[column] += done
        before = {column: table[column].iloc[-1] for column in before}
        tables.append(table.assign(run=number))
    whole = pd.concat(tables, ignore_index=True)
    width = -(-len(whole) // rows)
    groups = whole.groupby(["run", "stage", np.arange(len(whole)) // width], sort=False)
    last = groups[["step", "images", "seconds", "rate"]].last()
    means = groups[[column for column in whole if "/" in column]].mean()
    return last.join(means).reset_index(["run", "stage"]).round(6)


if __name__ == "__main__":
    typer.run(main)
