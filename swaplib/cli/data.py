"""Commands that make prepared datasets: of photographs, of rendered faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaplib.cli.shared import Jobs, Seed, World, sentences


def prepare(
    folder: Annotated[Path, typer.Argument(help="Photographs, or a published dataset in its own layout.")],
    out: Annotated[Path, typer.Argument(help="Where the prepared dataset goes.")],
    layout: Annotated[str, typer.Option(help="auto, or the dataset's name.")] = "auto",
    kind: Annotated[
        str,
        typer.Option(
            help="Alignment: portrait (as the rendered faces), ffhq, celeba, rsgan, five_point, arcface or as_is."
        ),
    ] = "portrait",
    size: Annotated[int, typer.Option(min=16, help="Edge of the aligned pictures in pixels.")] = 256,
    jobs: Jobs = 2,
    backend: Annotated[str | None, typer.Option(help="joblib's backend, such as threading.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask cluster, such as tcp://host:8786: all its workers prepare.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many files.")] = None,
    parse: Annotated[bool, typer.Option("--parse", help="Label pictures without labels by the parser.")] = False,
) -> None:
    """Find, align and label the faces of a folder. Stopped and started again, it goes on where it was."""
    with sentences():
        from swaplib import data, judges

        parser = judges.load_for_photographs("parser").parse if parse else None
        options = {"limit": limit, "parser": parser}
        if scheduler is None:
            typer.echo(data.prepare(folder, out, layout, kind, size, jobs, backend=backend, **options))
            return
        with data.connect(scheduler):
            typer.echo(data.prepare(folder, out, layout, kind, size, jobs, backend="dask", **options))


def render(
    out: Annotated[Path, typer.Argument(help="Where the prepared dataset goes.")],
    count: Annotated[int, typer.Option(min=1, help="Number of faces.")] = 100,
    seed: Seed = 0,
    world: World = "calm",
    size: Annotated[int, typer.Option(min=64, max=512, help="Edge of the pictures in pixels.")] = 128,
    shots: Annotated[int, typer.Option(min=1, help="Pictures of each person.")] = 1,
    relatives: Annotated[int, typer.Option(min=1, help="People that share one skin: only heads tell them apart.")] = 1,
    crossed: Annotated[
        int, typer.Option(min=1, help="People in the same shots: each picture is the true swap of others.")
    ] = 1,
    jobs: Jobs = 2,
) -> None:
    """Render faces with their labels, landmarks, attributes and factors into a prepared dataset."""
    with sentences():
        from swaplib import data

        people = {"shots": shots, "relatives": relatives, "crossed": crossed}
        path = data.render(out, count, seed=seed, world=world, size=size, jobs=jobs, **people)
        typer.echo(f"{count} faces in {path}")
