"""Commands that tell what there is: models and their sizes, what is kept on disk."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from swaplib.cli.shared import sentences


def info(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    results: Annotated[bool, typer.Option("--results", help="Only the systems' results, from their cards.")] = False,
) -> None:
    """List families, generators, judges and networks, with their parts and sizes."""
    with sentences():
        from swaplib.workbook import inventory, releasing

        if results:
            typer.echo(releasing.results_markdown())
            return
        found = inventory.describe()
        typer.echo(json.dumps(found, indent=1) if as_json else inventory.tell(found))


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything that is kept.")] = False,
) -> None:
    """Tell what is kept on disk between runs (rendered faces, scores of swaps), or remove it."""
    from swaplib import cache

    with sentences():
        if clear:
            typer.echo(f"{cache.clear() / 1e6:,.0f} MB removed from {cache.folder()}")
        elif cache.folder() is None:
            typer.echo("nothing is kept: SWAPLIB_CACHE is empty")
        else:
            count, size = cache.usage()
            typer.echo(f"{count:,} results, {size / 1e6:,.0f} MB of {cache.limit() / 1e6:,.0f}, in {cache.folder()}")
