"""Commands that put weights where everything finds them: our own measured and released, published ones imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaplib.cli.shared import sentences


def release(
    name: Annotated[str, typer.Argument(help="Of the family, judge or generator.")],
    preset: Annotated[str, typer.Argument(help="smoke, demo, paper, photo, known, printed or views.")],
    file: Annotated[Path, typer.Argument(help="Weights with their card, as swaplib train saves them.")],
    pairs: Annotated[int, typer.Option(min=2, help="Rendered calm pairs that a family is measured on.")] = 200,
    notes: Annotated[str, typer.Option(help="Markdown for the card's end.")] = "",
    size: Annotated[int, typer.Option(min=64, max=512, help="Edge of the rendered pictures in pixels.")] = 128,
    data: Annotated[
        list[Path] | None, typer.Option(help="Prepared datasets to measure a judge or generator on.")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Folders of the runs that led to FILE, in order: their log is kept.")
    ] = None,
) -> None:
    """Measure the weights in FILE and make them the released ones of NAME at PRESET.

    What the weights before them measured is printed beside it: replace weights only by better ones.
    """
    with sentences():
        from swaplib.workbook import releasing

        made = releasing.release(
            name, preset, file, pairs=pairs, size=size, notes=notes, datasets=data or (), runs=run or ()
        )
        for column, value in made.results.items():
            typer.echo(f"{column:<32} {value:>8} {f'was {made.before[column]}' if column in made.before else ''}")
        typer.echo(made.file)


def import_(
    file: Annotated[
        Path | None, typer.Argument(help="A published file, or the folder of Mask-Guided Portrait Editing's.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A folder; by default the first of SWAPLIB_WEIGHTS, else among your own data."
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List all published files that load here, and by which Python.")
    ] = False,
) -> None:
    """Make published weights loadable at the preset "official". Nothing in the file is executed."""
    if not listed and file is None:
        raise typer.BadParameter("name FILE, or say --list")
    with sentences():
        if listed:
            from swaplib.weights import published

            typer.echo(published.official_text())
            return
        from swaplib.workbook import importing

        for made in importing.import_file(file, out):
            typer.echo(f"{made.name}: {made.parameters:,} parameters, preset official, {made.file}")
